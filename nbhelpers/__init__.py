"""Log-probabilities of answers and perplexity of texts, on plain ``transformers``.

>>> import nbhelpers as nb
>>> lm = nb.load_model()
>>> nb.score_answers(lm, "The capital of France is", [" Paris", " London"])

Importing the package is cheap: torch, transformers and matplotlib are imported inside the functions
that need them. The ideas behind each function are explained in the book "Evaluating Language Models".
"""

from .generation import Generation, generate
from .models import LanguageModel, load_model, wrap_model
from .perplexity import Perplexity, perplexity
from .plots import TokenHeatmap, token_heatmap, use_house_style
from .scoring import AnswerScore, TokenScore, score_answers, token_scores

__version__ = "0.1.0"

__all__ = [
    "AnswerScore",
    "Generation",
    "LanguageModel",
    "Perplexity",
    "TokenHeatmap",
    "TokenScore",
    "generate",
    "load_model",
    "perplexity",
    "score_answers",
    "token_heatmap",
    "token_scores",
    "use_house_style",
    "wrap_model",
]
