"""Load one tool and time its jobs: `python worker.py TOOL MODEL_FOLDER PRECISION DEVICE`.

The benchmark (`bench.py`) starts one worker per tool, in the environment that has the tool, and exchanges lines of JSON
with it. A job names a workload, its size and a batch size; the answer holds seconds, peak memory and results.
"""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import workloads

if TYPE_CHECKING:
    import torch

THREADS = 2  # on a CPU
WINDOW = 1024
# A tool takes a job and returns one log-probability per request, their sum for the long text, or generated texts.
Tool = Callable[[dict[str, Any]], list[Any]]


def nbhelpers(folder: str, precision: str, device: str) -> Tool:
    import nbhelpers as nb

    return nbhelpers_on(nb.load_model(folder, device=device, dtype=precision))


def nbhelpers_on(lm: Any) -> Tool:
    import nbhelpers as nb

    def run(job: dict[str, Any]) -> list[Any]:
        if job["workload"] == "G":
            return [reply.text for reply in nb.generate(lm, workloads.chats(), workloads.NEW_TOKENS)]
        if job["workload"] == "E":
            return [-nb.perplexity(lm, workloads.long_text(), window=WINDOW, stride=job["stride"]).nats]
        prompts, answers = zip(*workloads.of(job), strict=True)
        return [score.total for score in nb.score_answers(lm, prompts, answers)]

    return run


def floor(folder: str, precision: str, device: str) -> Tool:
    import nbhelpers as nb

    return floor_on(nb.load_model(folder, device=device, dtype=precision))


# What the floor reads in one row: token ids, the places at which it computes logits, and the tokens it picks there.
Row = tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]


def floor_on(lm: Any) -> Tool:
    """A yardstick: plain forward passes over the workload's distinct tokens, the head at its distinct positions.

    The distinct tokens are cut into rows of 512, each read as a text of its own, without mask or cache, and with all
    its logits at once. On E the rows are the windows themselves, and the result is the log-probability of the text. A
    job's `batch` is the number of rows in a forward pass.
    """
    import torch

    def run(job: dict[str, Any]) -> list[float]:
        rows = _windows(lm) if job["workload"] == "E" else _pieces(lm, job)
        job["begun"] = time.perf_counter()  # encoding and the tree are not part of the floor
        sums = []
        with torch.inference_mode():
            for some in batches_of_equal_length(rows, job.get("batch", 1)):
                ids = torch.stack([row[0] for row in some]).to(lm.device)  # (rows, tokens)
                states = lm.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
                for state, (_, places, targets) in zip(states, some, strict=True):
                    logits = lm.model.lm_head(state[places.to(lm.device)]).float()  # (places, vocabulary)
                    picked = logits.gather(-1, targets.to(lm.device)[:, None])[:, 0]
                    sums.append((picked - logits.logsumexp(-1)).sum())
        return [float(part) for part in sums]

    return run


def _pieces(lm: Any, job: dict[str, Any]) -> list[Row]:
    """The distinct tokens in rows of 512. What is picked is each place's own token: only the time counts."""
    import numpy as np
    import torch

    from nbhelpers.engine.prefix_tree import build_tree, last_nodes

    pairs = workloads.of(job)
    read = [(lm.tokenizer(a + b)["input_ids"][:-1], len(lm.tokenizer(b)["input_ids"])) for a, b in pairs]
    tree = build_tree([ids for ids, _ in read])
    asked = [last_nodes(tree, end, count) for end, (_, count) in zip(tree.ends, read, strict=True)]
    wanted = torch.zeros(len(tree.tokens), dtype=torch.bool)
    wanted[torch.from_numpy(np.concatenate(asked))] = True
    tokens = torch.from_numpy(tree.tokens).long()
    places = [some.nonzero()[:, 0] for some in wanted.split(512)]
    return [(row, here, row[here]) for row, here in zip(tokens.split(512), places, strict=True)]


def _windows(lm: Any) -> list[Row]:
    """The disjoint windows that `nbhelpers.perplexity` reads; the last one begins earlier, so that it is full."""
    import torch

    from nbhelpers.tokens import own_prefix, with_context
    from nbhelpers.windows import sliding_windows

    ids = lm.tokenizer(workloads.long_text(), add_special_tokens=False, verbose=False)["input_ids"]
    tokens, first = with_context(lm, tuple(ids), 0, own_prefix(lm.tokenizer), "the text")
    row, found = torch.tensor(tokens), []
    for begin, scored, end in sliding_windows(len(row) - first, WINDOW, WINDOW):
        read = row[begin + first - 1 : end + first - 1]
        found.append((read, torch.arange(scored - begin, len(read)), row[scored + first : end + first]))
    return found


def batches_of_equal_length(rows: list[Row], batch: int) -> list[list[Row]]:
    """Neighbours of one length, as many as `batch` at a time."""
    found: list[list[Row]] = []
    for row in rows:
        if not found or len(found[-1]) == batch or len(found[-1][0][0]) != len(row[0]):
            found.append([])
        found[-1].append(row)
    return found


def lm_eval(folder: str, precision: str, device: str) -> Tool:
    import logging

    logging.disable(logging.WARNING)
    from lm_eval.models.huggingface import HFLM

    return lm_eval_on(HFLM(folder, device=device, dtype=precision, logits_cache=False))


def lm_eval_on(model: Any) -> Tool:
    def run(job: dict[str, Any]) -> list[float]:
        model.batch_size_per_gpu = job["batch"]
        if job["workload"] == "E":
            model._max_length, model.logits_cache = WINDOW, False
            requests = [SimpleNamespace(args=(workloads.long_text(),))]
            return model.loglikelihood_rolling(requests, disable_tqdm=True)
        # Its cache lets one-token answers share a forward pass, and the cache's fault does not affect them.
        model.logits_cache = job["workload"] == "C" or job.get("cache", False)
        requests = [SimpleNamespace(args=pair) for pair in workloads.of(job)]
        return [total for total, _ in model.loglikelihood(requests, disable_tqdm=True)]

    return run


def minicons(folder: str, precision: str, device: str) -> Tool:
    return minicons_on(*_load(folder, precision, device), device)


def minicons_on(model: Any, tokenizer: Any, device: str) -> Tool:
    from minicons.scorer import IncrementalLMScorer

    scorer = IncrementalLMScorer(model, device, tokenizer=tokenizer)

    def run(job: dict[str, Any]) -> list[float]:
        totals = []
        for batch in workloads.in_batches(workloads.of(job), job["batch"]):
            prompts, answers = map(list, zip(*batch, strict=True))
            totals += scorer.conditional_score(prompts, answers, separator="", reduction=lambda x: x.sum().item())
        return totals

    return run


def guide(folder: str, precision: str, device: str) -> Tool:
    return guide_on(*_load(folder, precision, device), device)


def guide_on(model: Any, tokenizer: Any, device: str) -> Tool:
    """Plain loops over transformers. E is the loop of the Hugging Face guide: one window at a time, with labels of -100
    for tokens already scored. G replies to one chat after the other."""
    import torch

    def replies() -> list[str]:
        texts = []
        for chat in workloads.chats():
            inputs = tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
            ).to(device)
            written = model.generate(**inputs, max_new_tokens=workloads.NEW_TOKENS, do_sample=False)
            texts.append(tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
        return texts

    def run(job: dict[str, Any]) -> list[Any]:
        if job["workload"] == "G":
            return replies()
        ids = tokenizer(workloads.long_text(), return_tensors="pt", verbose=False).input_ids.to(device)
        total, scored = 0.0, 0
        with torch.no_grad():
            for begin in range(0, ids.shape[1], job["stride"]):
                end = min(begin + WINDOW, ids.shape[1])
                window = ids[:, begin:end]
                labels = window.clone()
                labels[:, : scored - begin] = -100
                loss = model(window, labels=labels).loss
                # The loss averages over the labels that a token of the window predicts: all but the first. (The guide
                # subtracts one in every window, even if the first label is -100 and does not count anyway.)
                total -= loss.item() * (labels[:, 1:] != -100).sum().item()
                scored = end
                if end == ids.shape[1]:
                    break
        return [total]

    return run


def _load(folder: str, precision: str, device: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=precision).to(device).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def start_of_memory(device: str) -> int:
    """Reset the peak of memory and return the bytes in use now."""
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    import torch

    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def peak_of_memory(device: str) -> int:
    """Peak bytes in use since :func:`start_of_memory`; on a GPU, of the GPU's memory."""
    if device == "cpu":
        return _status("VmHWM")
    import torch

    return torch.cuda.max_memory_allocated()


def _status(name: str) -> int:
    """A line of Linux's /proc/self/status, in bytes: VmRSS (now) or VmHWM (peak)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def seconds_inside(profile: cProfile.Profile) -> dict[str, float]:
    """Cumulative seconds per function name, summed over calls."""
    stats = pstats.Stats(profile).stats
    inside: dict[str, float] = {}
    for (_, _, name), (_, _, _, cumulative, _) in stats.items():
        inside[name] = inside.get(name, 0.0) + cumulative
    return inside


TOOLS = {"nbhelpers": nbhelpers, "floor": floor, "lm-eval": lm_eval, "minicons": minicons, "guide": guide}


def main() -> None:
    name, folder, precision, device = sys.argv[1:]
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # send what a tool prints to stderr, apart from the answers
    # Before torch is imported: its threads would otherwise spin while they wait.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    if device == "cpu":
        torch.set_num_threads(THREADS)
    tool = TOOLS[name](folder, precision, device)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        before = start_of_memory(device)
        job["begun"] = time.perf_counter()
        profile = cProfile.Profile()
        try:
            results = profile.runcall(tool, job) if job.get("profile") else tool(job)
            seconds = time.perf_counter() - job["begun"]
            answer = {"seconds": seconds, "extra_bytes": peak_of_memory(device) - before, "results": results}
            if job.get("profile"):
                answer["inside"] = seconds_inside(profile)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".strip().splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
