"""Does a GPU give the right numbers? Random sets of requests against float64, on four small models.

float32 is held to 1e-4 nats a token, as the tests are. bfloat16 has no such bound: with opinionated models its rounding
moves a log-probability by tenths of a nat. There, our error is compared with that of transformers, one request at a
time, on the same weights and the same device: both are measured against float64.
"""

from __future__ import annotations

import copy
import os
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import nbhelpers as nb
from nbhelpers.engine import head

ARCHITECTURES = ("gpt2", "llama", "olmo2", "gpt_neox")
TOLERANCE = 1e-4  # nats a token, float32 against float64
# In bfloat16, our mean error may be this many times that of transformers.
SLACK = 1.5
USUAL_SLICES = {"SLICE_ON_CPU": head.SLICE_ON_CPU, "SLICE_ELSEWHERE": head.SLICE_ELSEWHERE}


def correctness(device: str, sets: int, save: Callable[[Any], None]) -> dict[str, Any]:
    sys.path.append(str(Path(__file__).parent.parent / "tests"))  # behind everything else
    os.environ.setdefault("NBHELPERS_DEVICE", device)
    found: dict[str, Any] = {"tf32": tf32(device)}
    for name in ("float32", "bfloat16"):
        found[name] = {"wanted": sets, "sets": 0, "tokens": 0, "wrong": [], "largest": 0.0, "sum": 0.0}
    found["bfloat16"] |= {"theirs_largest": 0.0, "theirs_sum": 0.0}
    for dtype in (torch.float32, torch.bfloat16):
        mine = found[str(dtype).removeprefix("torch.")]
        for number, architecture in enumerate(ARCHITECTURES):
            lm, truth = model_and_truth(architecture, dtype, device)
            for seed in range(number, sets, len(ARCHITECTURES)):
                one_set(lm, truth, seed // len(ARCHITECTURES), mine)
            save(found)
    return found


def model_and_truth(architecture: str, dtype: torch.dtype, device: str) -> tuple[nb.LanguageModel, Truth]:
    from tiny_models import make_model, make_tokenizer

    tokenizer = make_tokenizer(bos=architecture == "llama", trim_offsets=architecture == "olmo2")
    model = make_model(architecture, len(tokenizer)).to(dtype)
    truth = Truth(copy.deepcopy(model).double())
    return nb.wrap_model(model.to(device), tokenizer, f"tiny {architecture}"), truth


class Truth:
    """The oracle's forward passes on the CPU, each text read once: the sets are cut from few texts."""

    def __init__(self, model64: Any) -> None:
        self.model64, self.device, self.read = model64, "cpu", {}

    def __call__(self, ids: torch.Tensor) -> Any:
        key = tuple(ids[0].tolist())
        if key not in self.read:
            self.read[key] = self.model64(ids)
        return self.read[key]


def one_set(lm: nb.LanguageModel, truth: Truth, seed: int, found: dict[str, Any]) -> None:
    """Score a set and add its errors to what was found; the set is the one that `make fuzz` has under this seed."""
    import oracle
    from cases import random_requests, start_tokens

    prompts, answers = random_requests(seed, 12)
    rng = random.Random(seed)
    budget = rng.choice([1, 2, 3, 5, 8, 13, 30, 64, 1_000])
    sliced = rng.choice([(1, 400), (3, 37), (7, 133), (256, 2_048)])
    exact = lm.dtype == torch.float32
    # In bfloat16 a tiny model may fail the trial of packing by rounding alone; then the plain engine answers.
    engine = ("packed" if exact else "auto") if seed % 4 else "plain"
    try:
        for name in USUAL_SLICES:
            setattr(head, name, sliced)
        with warnings.catch_warnings(record=True) as caught:
            scores = nb.score_answers(lm, prompts, answers, engine=engine, token_budget=budget)
    finally:
        for name, size in USUAL_SLICES.items():
            setattr(head, name, size)
    found["sets"] += 1
    found["not_packed"] = found.get("not_packed", 0) + bool(caught)
    for prompt, answer, score in zip(prompts, answers, scores, strict=True):
        ids, expected, greedy, straddles = oracle.answer(truth, lm.tokenizer, prompt, answer, *start_tokens(lm))
        errors = [abs(a - b) for a, b in zip(score.logprobs, expected, strict=True)]
        found["tokens"] += len(errors)
        found["sum"] += sum(errors)
        found["largest"] = max(found["largest"], *errors)
        same = list(score.token_ids) == ids and score.merged_boundary == straddles
        if not same or (exact and (max(errors) > TOLERANCE or score.is_greedy != greedy)):
            found["wrong"].append([lm.name, seed, prompt, answer, max(errors)])
        if not exact:
            theirs = [
                abs(a - b) for a, b in zip(by_transformers(lm, truth, ids, prompt, answer), expected, strict=True)
            ]
            found["theirs_sum"] += sum(theirs)
            found["theirs_largest"] = max(found["theirs_largest"], *theirs)


@torch.inference_mode()
def by_transformers(lm: nb.LanguageModel, truth: Truth, ids: list[int], prompt: str, answer: str) -> list[float]:
    """transformers on one request, in the model's precision and on its device, with the log-softmax in float32."""
    from cases import start_tokens

    before, stand_in = start_tokens(lm)
    whole = lm.tokenizer.encode(prompt + answer, add_special_tokens=False)
    row = (before or ([stand_in] if len(whole) == len(ids) else [])) + whole
    key = ("bfloat16", *row)
    if key not in truth.read:
        truth.read[key] = lm.model(torch.tensor([row], device=lm.device)).logits[0].float().log_softmax(-1).cpu()
    return [truth.read[key][len(row) - len(ids) + k - 1, token].item() for k, token in enumerate(ids)]


def tf32(device: str) -> dict[str, Any]:
    """Whether float32 products are computed in TF32: what the settings say, and what a product shows."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 512, 512, dtype=torch.float64)
    product = (a.float().to(device) @ b.float().to(device)).double().cpu()
    exact = a.float().double() @ b.float().double()
    error = ((product - exact).norm() / exact.norm()).item()
    return {
        "setting": torch.get_float32_matmul_precision(),
        "relative_error_of_a_product": error,
        "off": error < 1e-5,  # TF32 gives some 3e-4
    }
