"""The tools of `gpu.py`: those of `worker.py`, all with one model in one process."""

from __future__ import annotations

import math
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import worker
import workloads
from comparisons import PEERS, Plan
from random_model import SHAPES, make_model, make_tokenizer
from transformers import AutoModelForCausalLM

import nbhelpers as nb
from nbhelpers.cache import cache_folder
from nbhelpers.embedded import FOLDER

# A trial of the code on a CPU, not a measurement.
TINY_PLANS = {name: Plan(2, 4, 4, (4,), (1, 4)) for name in "ABD"} | {"E": Plan(0, 0, 0, (4,), (1,))}


class InProcess:
    """A tool that runs in this process. Out of memory is a time without end: the batch size is not chosen."""

    def __init__(self, tool: worker.Tool, lm: nb.LanguageModel) -> None:
        self.tool, self.lm, self.device = tool, lm, lm.device.type
        self.warned: set[str] = set()

    def run(self, workload: str, size: int | None = None, batch: int = 1, **job: Any) -> dict[str, Any]:
        job |= {"workload": workload, "size": size, "batch": batch}
        before = worker.start_of_memory(self.device)
        job["begun"] = time.perf_counter()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                results = self.tool(job)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return {"seconds": math.inf, "extra_bytes": 0, "results": []}
        if self.device == "cuda":
            torch.cuda.synchronize()  # whatever a tool has left running is its own time
        seconds = time.perf_counter() - job["begun"]
        self.warned |= {str(warning.message)[:200] for warning in caught}
        return {"seconds": seconds, "extra_bytes": worker.peak_of_memory(self.device) - before, "results": results}


def installed_peers() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for peer in PEERS:
        try:
            found[peer] = version(peer)
        except PackageNotFoundError:
            found[peer] = None
    return found


def load(shape: str, device: str, tokenizer_folder: Path | None) -> tuple[dict[str, InProcess], dict[str, str]]:
    """Every tool with one model of this shape in bfloat16, and why peers are missing."""
    tokenizer = make_tokenizer(SHAPES[shape][5], tokenizer_folder)
    embedded = cache_folder() / FOLDER
    if shape == "135M" and (embedded / "config.json").exists():
        model = AutoModelForCausalLM.from_pretrained(embedded, dtype=torch.bfloat16).to(device).eval()
        lm = nb.wrap_model(model, tokenizer, "the embedded model")
    else:
        model = make_model(shape, torch.bfloat16, device)
        lm = nb.wrap_model(model, tokenizer, f"random weights, {shape}")
    tools = {
        "nbhelpers": worker.nbhelpers_on(lm),
        "floor": worker.floor_on(lm),
        "guide": worker.guide_on(model, tokenizer, device),
    }
    missing = {}
    try:
        from lm_eval.models.huggingface import HFLM

        tools["lm-eval"] = worker.lm_eval_on(HFLM(model, tokenizer=tokenizer, logits_cache=False, device=device))
    except Exception as error:  # whatever keeps a peer from starting: it is named, and the rest goes on
        missing["lm-eval"] = f"{type(error).__name__}: {error}"
    try:
        tools["minicons"] = worker.minicons_on(model, tokenizer, device)
    except Exception as error:
        missing["minicons"] = f"{type(error).__name__}: {error}"
    if "lm-eval" not in tools:
        tools["plain"] = plain_on(model, tokenizer, device)
    return {name: InProcess(tool, lm) for name, tool in tools.items()}, missing


def plain_on(model: Any, tokenizer: Any, device: str) -> worker.Tool:
    """Stands in for peers that are not installed: padded batches of similar length, the log-softmax, the answer's
    tokens; on E, batches of windows."""

    @torch.inference_mode()
    def totals(rows: list[tuple[list[int], int]]) -> list[float]:
        """The sum of log-probabilities of the last tokens of each row, as many as its second entry says."""
        longest = max(len(ids) for ids, _ in rows)
        batch = torch.zeros(len(rows), longest, dtype=torch.long)  # (rows, tokens)
        for row, (ids, _) in enumerate(rows):
            batch[row, : len(ids)] = torch.tensor(ids)
        lengths = torch.tensor([len(ids) for ids, _ in rows])
        mask = (torch.arange(longest) < lengths[:, None]).long()
        batch, mask = batch.to(device), mask.to(device)
        logprobs = model(batch, attention_mask=mask, use_cache=False).logits.float().log_softmax(-1)
        picked = logprobs[:, :-1].gather(-1, batch[:, 1:, None])[..., 0].cpu()  # (rows, tokens - 1)
        return [picked[i, len(ids) - 1 - count : len(ids) - 1].sum().item() for i, (ids, count) in enumerate(rows)]

    def run(job: dict[str, Any]) -> list[float]:
        if job["workload"] == "E":
            ids = tokenizer(workloads.long_text(), verbose=False)["input_ids"]
            starts = range(0, len(ids) - 1, worker.WINDOW)
            rows = [(ids[i : i + worker.WINDOW + 1], len(ids[i : i + worker.WINDOW + 1]) - 1) for i in starts]
        else:
            asked = workloads.of(job)
            rows = [(tokenizer(a + b)["input_ids"], len(tokenizer(b)["input_ids"])) for a, b in asked]
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i][0]))
        found = [0.0] * len(rows)
        for begin in range(0, len(rows), job["batch"]):
            some = order[begin : begin + job["batch"]]
            for i, total in zip(some, totals([rows[i] for i in some]), strict=True):
                found[i] = total
        return [sum(found)] if job["workload"] == "E" else found

    return run


def about(tools: dict[str, InProcess]) -> dict[str, str]:
    """Which weights and which tokenizer these are."""
    lm = tools["nbhelpers"].lm
    made = "of a folder" if lm.tokenizer.name_or_path else "trained on the spot"
    return {"model": lm.name, "tokenizer": f"{len(lm.tokenizer):,} tokens, {made}"}


def warnings_of(tools: dict[str, InProcess]) -> list[str]:
    """What nbhelpers has warned of: that it does not pack, above all, would explain a slow run."""
    return sorted(tools["nbhelpers"].warned)
