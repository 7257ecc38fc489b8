"""Time workload A in one process of one thread, and in several that share it: `processes.py --help`.

`.venv/bin/python benchmarks/processes.py`, on a machine with nothing else to do and a core for each process. A round
runs one process and then all of them, each started anew with torchrun, one thread each. The time is that of the call of
`score_answers`, from when all processes are ready to when the last has all results; loading the model and a short
warm-up are not in it. The ratio is taken within a round, and the median counts. The tokens that each process reads are
counted in runs of their own. Results go to results-processes.json, a table to the screen.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import workloads

HERE = Path(__file__).parent
TARGET = 1.8  # for two processes
WARM_UP = 8  # requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="a folder or a Hub id (default: the embedded model)")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path, default=HERE / "results-processes.json")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    rounds = []
    for number in range(options.rounds):
        one, several = (run(count, options, counting=False) for count in (1, options.processes))
        rounds.append({"one": seconds(one), "several": seconds(several), "largest_difference": apart(one, several)})
        print(f"round {number}: {seconds(one):.2f} s, {seconds(several):.2f} s", flush=True)
    tokens = {count: [p["tokens"] for p in run(count, options, counting=True)] for count in (1, options.processes)}
    found = {
        "processes": options.processes,
        "questions": options.questions,
        "precision": options.precision,
        "device": options.device,
        "rounds": rounds,
        "tokens_of_one": tokens[1][0],
        "tokens_of_each": tokens[options.processes],
    }
    options.results.write_text(json.dumps(found, indent=1) + "\n")
    print(report(found))


def run(count: int, options: argparse.Namespace, counting: bool) -> list[dict[str, Any]]:
    """What each of `count` processes measured."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", __file__]
        command += ["--worker", folder, "--questions", str(options.questions), "--precision", options.precision]
        command += ["--device", options.device, *(["--model", options.model] if options.model else [])]
        settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "COUNT_TOKENS": str(int(counting))}
        done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=3_600)
        if done.returncode:
            sys.exit(f"{count} processes failed:\n{done.stderr[-3000:]}")
        return [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(count)]


def work(options: argparse.Namespace) -> None:
    """One process, started by torchrun."""
    import torch
    import torch.distributed

    import nbhelpers as nb

    if options.device == "cpu":
        torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    lm = nb.load_model(options.model, device=options.device, dtype=options.precision)
    prompts, answers = zip(*workloads.requests("A", options.questions), strict=True)
    # Before the engine is tried out, which a hook would have it do again.
    read = count_tokens(lm) if os.environ["COUNT_TOKENS"] == "1" else []
    nb.split_between_processes(False)
    nb.score_answers(lm, prompts[:WARM_UP], answers[:WARM_UP])  # tries the engine out
    nb.split_between_processes(True)
    nb.score_answers(lm, prompts[:1], answers[:1])  # the processes meet
    read.clear()
    torch.distributed.barrier()
    begun = time.perf_counter()
    scores = nb.score_answers(lm, prompts, answers)
    took = time.perf_counter() - begun
    measured = {"seconds": took, "tokens": sum(read), "totals": [score.total for score in scores]}
    (options.worker / f"{os.environ['RANK']}.json").write_text(json.dumps(measured))


def count_tokens(lm: Any) -> list[int]:
    """From now on, how many tokens each forward pass reads, the check of the engine included."""
    read: list[int] = []
    lm.model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    return read


def seconds(processes: list[dict[str, Any]]) -> float:
    """Until the last one is done."""
    return max(process["seconds"] for process in processes)


def apart(one: list[dict[str, Any]], several: list[dict[str, Any]]) -> float:
    """The largest difference between two totals, in nats; all processes of a run must have the same."""
    assert all(process["totals"] == several[0]["totals"] for process in several)
    return max(abs(a - b) for a, b in zip(one[0]["totals"], several[0]["totals"], strict=True))


def report(found: dict[str, Any]) -> str:
    ratios = sorted(one["one"] / one["several"] for one in found["rounds"])
    reach = f" ({'met' if median(ratios) >= TARGET else 'missed'})" if found["processes"] == 2 else ""
    each = found["tokens_of_each"]
    return "\n".join(
        [
            f"Workload A, {found['questions']} questions, {found['precision']}, {found['device']}: one process against "
            f"{found['processes']}, one thread each.",
            "",
            "| one | several | ratio | tokens read by one | by each of several |",
            "|---|---|---|---|---|",
            f"| {median(one['one'] for one in found['rounds']):.2f} s "
            f"| {median(one['several'] for one in found['rounds']):.2f} s "
            f"| **{median(ratios):.2f}**{reach} ({ratios[0]:.2f} to {ratios[-1]:.2f}) "
            f"| {found['tokens_of_one']:,} | {', '.join(f'{count:,}' for count in each)} |",
        ]
    )


if __name__ == "__main__":
    main()
