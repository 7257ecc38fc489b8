"""The backends that run in this process: nbhelpers, the usual loop over transformers, and lm-evaluation-harness.

Each takes the folder of a model and returns a `Score`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .asking import Score

Pairs = Sequence[tuple[str, str]]
BATCH = 8


def nbhelpers_backend(folder: Path, engine: str = "auto", dtype: str = "float32") -> Score:
    """`nbhelpers.score_answers`. `engine` as there."""
    from ..models import load_model
    from ..scoring import score_answers

    lm = load_model(folder, dtype=dtype)

    def score(pairs: Pairs) -> list[float]:
        prompts, answers = zip(*pairs, strict=True)
        return [found.total for found in score_answers(lm, prompts, answers, engine=engine)]

    return score


def transformers_backend(folder: Path, dtype: str = "float32") -> Score:
    """The usual loop: a padded batch, the log-softmax, and the tokens after as many as the prompt alone has."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")

    def score(pairs: Pairs) -> list[float]:
        return [total for begin in range(0, len(pairs), BATCH) for total in totals(pairs[begin : begin + BATCH])]

    @torch.inference_mode()
    def totals(pairs: Pairs) -> list[float]:
        batch = tokenizer([prompt + answer for prompt, answer in pairs], return_tensors="pt", padding=True)
        logprobs = model(**batch).logits.float().log_softmax(-1)  # (rows, tokens, vocabulary)
        results = []
        for row, (prompt, _) in enumerate(pairs):
            first, end = len(tokenizer(prompt)["input_ids"]), int(batch["attention_mask"][row].sum())
            if first == 0:
                raise ValueError("nothing stands before the answer's first token")
            places = torch.arange(first, end)
            results.append(logprobs[row, places - 1, batch["input_ids"][row, places]].sum().item())
        return results

    return score


def lm_eval_backend(folder: Path, name: str = "hf", arguments: str = "") -> Score:
    """A model of lm-evaluation-harness by its name there, with more of its arguments as on its command line."""
    try:
        import lm_eval.models  # noqa: F401 -- it fills the registry
        from lm_eval.api.instance import Instance
        from lm_eval.api.registry import get_model
    except ImportError as error:
        raise ImportError(f"lm-eval cannot be imported ({error}): run pip install 'lm-eval[hf]'") from error

    defaults = (
        f"pretrained={folder},dtype=float32,device=cpu,batch_size={BATCH}" if name == "hf" else f"pretrained={folder}"
    )
    model: Any = get_model(name).create_from_arg_string(",".join(filter(None, [defaults, arguments])))

    def score(pairs: Pairs) -> list[float]:
        asked = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
        return [total for total, _ in model.loglikelihood(asked, disable_tqdm=True)]

    return score
