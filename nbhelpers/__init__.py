"""Log-probabilities of answers and perplexity of texts, on plain ``transformers``.

>>> import nbhelpers as nb
>>> lm = nb.load_model()
>>> nb.score_answers(lm, "The capital of France is", [" Paris", " London"])

Importing the package is cheap: torch, transformers, scipy and matplotlib are imported inside the functions that need
them. The book "Evaluating Language Models" explains the ideas behind each function.

From the bottom up: `embedded` brings the default model, `loading` and `models` load any; `engine` turns token ids into
log-probabilities; `runs` keeps results in a file (`stored`, under `fingerprints`) and shares work between `processes`,
for `request_scores` and `prompt_continuations`; `tokens`, `chats`, `prompts` and `boundary` turn text into ids;
`scoring`, `perplexity` and `generation` are what the package is for; `servers` asks models elsewhere; `judging` lets a
model judge; `checking` says whether an answer is right where a program can; `conformance` says whether any backend's
numbers are true; `plots` and `forest` draw. `lm_eval_adapter`, made of what is in `harness`, lets
lm-evaluation-harness use all this. `statistics` says how sure a number is, and `sandbox` runs programs that a model
wrote; both stand apart. Each module imports only from those below it; the contracts in pyproject.toml hold it to that.
"""

from .checking import (
    ChoiceRead,
    NumberRead,
    exact_match,
    extract_choice,
    extract_number,
    normalise_answer,
    same_expressions,
    token_f1,
)
from .forest import interval_plot
from .generation import Generation, generate
from .judging import JudgeAudit, PairVerdict, Template, Verdict, judge, judge_audit, judge_pairs, parse_verdict
from .models import LanguageModel, load_model, wrap_model
from .perplexity import perplexity
from .plots import TokenHeatmap, token_heatmap, use_house_style
from .processes import split_between_processes
from .results import AnswerScore, Perplexity, TokenScore
from .sandbox import ProgramRun, run_program
from .scoring import score_answers, token_scores
from .servers import Endpoint, Reply, complete
from .statistics import (
    BrierDecomposition,
    CalibrationError,
    Equivalence,
    Interval,
    Ratings,
    RiskCoverage,
    SelectionOptimism,
    VarianceComponents,
    adjust_p_values,
    best_of_k,
    bradley_terry,
    brier_decomposition,
    calibration_error,
    cohen_kappa,
    equivalence,
    flip_rate,
    items_needed,
    krippendorff_alpha,
    mcnemar,
    mean_interval,
    paired_difference,
    pass_at_k,
    pass_hat_k,
    prediction_powered_mean,
    proportion_interval,
    risk_coverage,
    rogan_gladen,
    selection_optimism,
    variance_components,
    wilson_interval,
)

__version__ = "0.1.0"

__all__ = [
    "AnswerScore",
    "BrierDecomposition",
    "CalibrationError",
    "ChoiceRead",
    "Endpoint",
    "Equivalence",
    "Generation",
    "Interval",
    "JudgeAudit",
    "LanguageModel",
    "NumberRead",
    "PairVerdict",
    "Perplexity",
    "ProgramRun",
    "Ratings",
    "Reply",
    "RiskCoverage",
    "SelectionOptimism",
    "Template",
    "TokenHeatmap",
    "TokenScore",
    "VarianceComponents",
    "Verdict",
    "adjust_p_values",
    "best_of_k",
    "bradley_terry",
    "brier_decomposition",
    "calibration_error",
    "cohen_kappa",
    "complete",
    "equivalence",
    "exact_match",
    "extract_choice",
    "extract_number",
    "flip_rate",
    "generate",
    "interval_plot",
    "items_needed",
    "judge",
    "judge_audit",
    "judge_pairs",
    "krippendorff_alpha",
    "load_model",
    "mcnemar",
    "mean_interval",
    "normalise_answer",
    "paired_difference",
    "parse_verdict",
    "pass_at_k",
    "pass_hat_k",
    "perplexity",
    "prediction_powered_mean",
    "proportion_interval",
    "risk_coverage",
    "rogan_gladen",
    "run_program",
    "same_expressions",
    "score_answers",
    "selection_optimism",
    "split_between_processes",
    "token_f1",
    "token_heatmap",
    "token_scores",
    "use_house_style",
    "variance_components",
    "wilson_interval",
    "wrap_model",
]
