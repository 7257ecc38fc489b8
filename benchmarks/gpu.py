"""Everything there is to know about a GPU, in one run of less than 8 minutes: `python benchmarks/gpu.py --help`.

It needs nbhelpers and a CUDA device, no network and no model files: the models have random weights in the shapes of
Llama 3.1 8B, Llama 3.2 1B and the embedded model, whose own weights are used where they are cached. lm-eval and
minicons take part if this interpreter has them. If it lacks lm-eval, plain batching in transformers takes its place,
and the tables say so. All tools share one model in one process, so that 8 billion weights are made once.

Parts, in this order: correctness (float32 against float64, bfloat16 within its rounding, the state of TF32); for each
shape the workloads A, B, D and E in bfloat16, the memory of the head, and a trace; then trials of what could be faster
(tokens in a forward pass, slices of the head, attention). A part that would begin after the limit is left out, one
that reaches it is cut off; both are named. Every round is written to the results at once.

`--device cpu --shapes tiny` runs the same code in less than a minute and measures nothing of interest.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported
os.environ["HF_HUB_OFFLINE"] = "1"

import gpu_correctness
import gpu_levers
import gpu_report
import gpu_tools
import gpu_trace
import runs
import torch
from bench import machine
from comparisons import PLANS, Plan, compare, compare_perplexity
from random_model import SHAPES

HERE = Path(__file__).parent
# No part may take longer, in seconds: an unforeseen slow one must not cost the others their turn.
LONGEST_PART = 150
# Less than this is not worth beginning anything with.
SHORTEST_PART = 5

Save = Callable[[Any], None]
Part = Callable[[Save], Any]


def age_of_process() -> float:
    """Seconds since this process began: loading torch counts too."""
    began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return float(Path("/proc/uptime").read_text().split()[0]) - began


BEGUN = time.monotonic() - age_of_process()


class OutOfTime(BaseException):
    """Not an Exception, because tools catch those."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise OutOfTime when the time is up. Python notices between two of its steps, not inside a call of CUDA."""

    def stop(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def order(options: argparse.Namespace) -> Iterator[tuple[str, str, Part]]:
    """All parts as (shape, name, what to do). What could be faster comes last, when all shapes have been measured."""
    tools: dict[str, gpu_tools.InProcess] = {}  # of the shape at hand
    yield "", "correctness", partial(gpu_correctness.correctness, options.device, options.sets)
    for shape in options.shapes:
        yield shape, "load", partial(load, shape, options, tools)
        yield from ((shape, workload, partial(speed, workload, options, tools)) for workload in "ABDE")
        for name, measure in (("head memory", gpu_trace.head_memory), ("trace", gpu_trace.trace)):
            yield shape, name, partial(of_ours, measure, options, tools)
    for shape in options.shapes:
        if len(options.shapes) > 1:
            yield shape, "load again", partial(load, shape, options, tools)
        for name, measure in gpu_levers.LEVERS.items():
            yield shape, name, partial(of_ours, measure, options, tools)


def load(shape: str, options: argparse.Namespace, tools: dict[str, gpu_tools.InProcess], save: Save) -> dict[str, Any]:
    tools.clear()
    free(options.device)
    begun = time.perf_counter()
    made, missing = gpu_tools.load(shape, options.device, options.tokenizer)
    tools.update(made)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "missing": missing, **gpu_tools.about(tools)}


def speed(workload: str, options: argparse.Namespace, tools: dict[str, gpu_tools.InProcess], save: Save) -> Any:
    plan = plans(options)[workload]
    if workload == "E":
        found = compare_perplexity(tools, plan, options.rounds, save)
    else:
        found = compare(tools, workload, plan, options.rounds, save)
    return found | {"warnings": gpu_tools.warnings_of(tools)}


def of_ours(
    measure: Callable[..., Any], options: argparse.Namespace, tools: dict[str, gpu_tools.InProcess], save: Save
) -> Any:
    return measure(tools["nbhelpers"], plans(options)["A"].whole, save)


def plans(options: argparse.Namespace) -> dict[str, Plan]:
    return gpu_tools.TINY_PLANS if options.device == "cpu" else PLANS["cuda"]


def run(options: argparse.Namespace, results: dict[str, Any], save_all: Callable[[], None]) -> None:
    failed = set()
    for shape, name, part in order(options):
        label = f"{shape} {name}".strip()
        left = options.limit - (time.monotonic() - BEGUN)
        if left < SHORTEST_PART or shape in failed:
            results["left_out"][label] = "no time was left" if left < SHORTEST_PART else f"{shape} was not loaded"
            continue
        begun, mine = time.monotonic(), results["parts"].setdefault(shape or "all", {})

        def save(found: Any, mine: dict[str, Any] = mine, name: str = name) -> None:
            mine[name] = found
            save_all()

        print(f"[{begun - BEGUN:5.0f} s] {label} ...", flush=True)
        try:
            with at_most(min(left, LONGEST_PART)):
                save(part(save))
        except OutOfTime:
            results["left_out"][label] = f"cut off after {time.monotonic() - begun:.0f} s; what it found is kept"
        except Exception as error:  # the other parts are worth having
            results["left_out"][label] = f"{type(error).__name__}: {str(error)[:300]}"
        if name.startswith("load") and label in results["left_out"]:
            failed.add(shape)
        results["seconds"][label] = round(time.monotonic() - begun, 1)
        save_all()
        free(options.device)


def free(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--shapes", nargs="+", default=["8B", "1B", "135M"], choices=SHAPES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sets", type=int, default=240, help="random sets of requests against float64 (default 240)")
    parser.add_argument("--limit", type=float, default=470, help="seconds for everything, start included (default 470)")
    parser.add_argument("--tokenizer", type=Path, help="a folder with a tokenizer (default: see random_model.py)")
    parser.add_argument("--results", type=Path, default=HERE / "results-gpu.json")
    parser.add_argument("--report", action="store_true", help="print the tables of earlier results, and stop")
    options = parser.parse_args()
    if options.report:
        print(gpu_report.tables(runs.read(options.results)))
        return 0
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("this machine has no CUDA device: --device cpu --shapes tiny tries the code out")
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {"runs": {}, "run_of": {}, "parts": {}, "left_out": {}, "seconds": {}}
    about = {"machine": machine(options.device), **runs.code_in_use(), "peers": gpu_tools.installed_peers()}
    chosen = {name: getattr(options, name) for name in ("shapes", "rounds", "sets", "limit")}
    name = runs.begin(results, about, chosen)

    def save_all() -> None:
        results["runs"][name]["total_seconds"] = round(time.monotonic() - BEGUN, 1)
        runs.write(options.results, results)

    run(options, results, save_all)
    results["runs"][name]["finished"] = True
    save_all()
    print(gpu_report.tables(results))
    print(f"\n{time.monotonic() - BEGUN:.0f} s in all. Results: {options.results}")
    return 0 if gpu_report.correct(results) else 1


if __name__ == "__main__":
    sys.exit(main())
