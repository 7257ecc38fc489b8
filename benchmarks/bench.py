"""Time `nbhelpers` against its peers: `make bench`, or `.venv/bin/python benchmarks/bench.py --help`.

Each tool runs in its own process; all processes stay alive and work in turn. A round runs every tool once, one right
after the other, so that other load on the machine affects all of them. Ratios are taken within a round, and the median
over the rounds is reported. Every round is written to results.json (on a GPU to results-cuda.json), which is all that
`report.py` reads. After Ctrl-C, `--resume` goes on in the middle of a part, if machine, versions, code and model are
still the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Before torch is imported, and for the workers, which inherit it: torch's threads would otherwise spin while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import host
import runs
import torch
import workloads
from comparisons import (
    MEMORY_ROUNDS,
    PEERS,
    PLANS,
    compare,
    compare_generation,
    compare_perplexity,
    failures,
    growth,
    parity,
    peak_memory,
    profile,
)

from nbhelpers.embedded import embedded_folder

HERE = Path(__file__).parent
PEERS_PYTHON = HERE / ".venv/bin/python"
PRECISIONS = ["float32", "bfloat16"]
ALL_PARTS = [*"ABCDEG", "profile", "parity", "failures", "memory", "growth", "host", "who"]
ONCE = ("growth", "host", "who")  # in the first precision only
ON_CPU = ("profile", "memory", "host", "who")  # and nowhere else
ALONE = ("memory", "growth", "host", "who")  # in processes of their own, when no other is there
ROUNDS = 5
# Seconds of a part in float32, and of each of its rounds, on two cores: sums over the rounds of earlier results. They
# only serve to say how long a run will take.
COST = {
    "A": (351, 107),
    "B": (102, 66),
    "C": (228, 40),
    "D": (94, 112),
    "E": (174, 267),
    "G": (0, 54),
    "profile": (65, 0),
    "parity": (100, 0),
    "failures": (15, 0),
    "memory": (0, 340),
    "growth": (320, 0),
    "host": (300, 0),
    "who": (45, 0),
}


class Worker:
    """A tool in its own process: it reads jobs and writes answers as lines of JSON."""

    def __init__(self, tool: str, precision: str, model: str, device: str) -> None:
        python = str(PEERS_PYTHON) if tool in (*PEERS, "guide") else sys.executable
        command = [python, str(HERE / "worker.py"), tool, model, precision, device]
        self.tool, self.device = tool, device
        self.log = open(HERE / f"worker-{tool}.log", "w")  # noqa: SIM115 (open until `close`)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.tool} stopped: benchmarks/worker-{self.tool}.log says why")
        return json.loads(line)

    def run(self, workload: str, size: int | None = None, batch: int = 1, **job: Any) -> dict[str, Any]:
        print(
            json.dumps(job | {"workload": workload, "size": size, "batch": batch}), file=self.process.stdin, flush=True
        )
        answer = self._answer()
        if "error" in answer and "requests" not in job:
            raise SystemExit(f"{self.tool} on workload {workload}: {answer['error']}")
        return answer

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


def who_passes() -> dict[str, str]:
    """The tables of who_passes.py, made by the interpreter that has the other tools."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with open(HERE / "worker-who.log", "w") as log:
        command = [PEERS_PYTHON, HERE / "who_passes.py"]
        made = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    if made.returncode:
        raise SystemExit("who_passes.py stopped: benchmarks/worker-who.log says why")
    return {"tables": made.stdout}


def machine(device: str) -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if "model name" in line] or [platform.machine()]
    versions = {name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")}
    found = {"cpu": names[0], "cores": str(os.cpu_count()), "python": platform.python_version(), **versions}
    return found | ({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {})


def peers_versions() -> dict[str, str]:
    """Those of the peers and of what they run on, in their environment."""
    code = (
        f"from importlib.metadata import version as v; [print(n, v(n)) for n in {('torch', 'transformers', *PEERS)!r}]"
    )
    made = subprocess.run([PEERS_PYTHON, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return dict(line.split() for line in made.stdout.splitlines())


def expected_seconds(options: dict[str, Any], done: Iterable[str] = ()) -> float:
    """How long what is left of a run takes on two cores of the machine in the README, in seconds."""
    total = 0.0
    for precision in options["precisions"]:
        again = precision != options["precisions"][0]
        for part in options["parts"]:
            if f"{precision}/{part}" in done or (again and part in ONCE):
                continue
            rounds = min(options["rounds"], MEMORY_ROUNDS) if part == "memory" else options["rounds"]
            fixed, each = COST.get(part, (0, 0))
            total += (fixed + each * rounds) * (0.6 if precision == "bfloat16" else 1)
    return total


def clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help=f"how often every tool runs each workload (default {ROUNDS})")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, help="default: both")
    parser.add_argument("--parts", nargs="+", choices=ALL_PARTS, help="what to measure (default: all)")
    parser.add_argument("--full", action="store_true", help="give the peers all questions of A and C (hours)")
    parser.add_argument("--resume", action="store_true", help="go on with the run that stopped, with its own options")
    parser.add_argument("--estimate", action="store_true", help="say how long it would take, and stop")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="where (default cpu)")
    parser.add_argument("--model", help="a model's folder (default: the embedded model's)")
    parser.add_argument("--results", type=Path, help="file to keep (default: results.json or results-cuda.json)")
    options = parser.parse_args()
    if options.resume and (options.rounds or options.precisions or options.parts or options.full):
        parser.error("--resume goes on with the options that the run began with: leave out the others")
    if not sys.platform.startswith("linux"):
        parser.error("memory is read from /proc, which only Linux has: run this on Linux")
    on_gpu = options.device == "cuda"
    if on_gpu and set(ON_CPU) & set(options.parts or ()):
        parser.error(f"{', '.join(ON_CPU)}: these parts are about a CPU, and on a GPU every part reports its memory")
    if options.model and not options.results:
        parser.error("--model needs --results: the usual file holds the embedded model's results, and would lose them")
    options.rounds = ROUNDS if options.rounds is None else options.rounds
    options.precisions = options.precisions or PRECISIONS
    options.parts = options.parts or [
        part for part in ALL_PARTS if not on_gpu or part not in ("profile", "memory", "who")
    ]
    options.results = options.results or HERE / ("results-cuda.json" if on_gpu else "results.json")
    return parser, options


def main() -> None:
    parser, options = arguments()
    chosen = {name: getattr(options, name) for name in ("rounds", "precisions", "parts", "full")}
    if options.estimate:
        print(f"About {clock(expected_seconds(chosen))} on two cores of the machine in README.md.")
        return
    if not PEERS_PYTHON.exists():
        parser.error("the peers are not installed: `make bench` does it")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has no CUDA device")
    results = runs.read(options.results)
    about = {
        "machine": machine(options.device),
        "peers": peers_versions(),
        "model": Path(options.model).name if options.model else None,
        "node": hashlib.sha256(platform.node().encode()).hexdigest()[:8],  # two machines may be of one kind
        **runs.code_in_use(),
    }
    if options.resume:
        try:
            run = runs.go_on(results, about)
        except ValueError as problem:
            parser.error(str(problem))
        chosen = results["runs"][run]["options"]
    else:
        known = {precision: {*chosen["parts"], *results.get(precision, {})} for precision in chosen["precisions"]}
        if "memory" in chosen["parts"] and not all({"A", "E"} <= parts for parts in known.values()):
            parser.error("--parts memory needs the batch sizes found by A and E: add them")
        run = runs.begin(results, about, chosen)
    done = results["runs"][run]["seconds"]
    print(f"Run {run}: about {clock(expected_seconds(chosen, done))} on two cores of the machine in README.md", end="")
    print(f"; {len(done)} parts are done" if options.resume else "", flush=True)
    for precision in chosen["precisions"]:
        measure(results, run, precision, chosen, options)
    results["runs"][run]["finished"] = True
    runs.write(options.results, results)
    print(f"Run {run} is complete, in {clock(sum(done.values()))} of measuring: {options.results}")


def measure(
    results: dict[str, Any], run: str, precision: str, chosen: dict[str, Any], options: argparse.Namespace
) -> None:
    """All parts of a run in one precision that are not done yet."""
    rounds, done = chosen["rounds"], results["runs"][run]["seconds"]
    once = [] if precision == chosen["precisions"][0] else ONCE
    left = [part for part in chosen["parts"] if f"{precision}/{part}" not in done and part not in once]
    if not left:
        return
    model = options.model or str(embedded_folder())
    start = partial(Worker, precision=precision, model=model, device=options.device)
    needed = ["nbhelpers", "floor", *PEERS, "guide"] if set(left) - set(ALONE) else []
    print(f"== {precision}: loading {', '.join(needed) or 'nothing'}", flush=True)
    workers = {tool: start(tool) for tool in needed}
    plans = PLANS[options.device]
    if chosen["full"]:
        plans = {name: replace(plan, asked=plan.whole) for name, plan in plans.items()}
    for part in sorted(left, key=lambda part: part in ALONE):
        if part in ALONE:
            close(workers)
        found, spent = runs.so_far(results, run, precision, part)
        begun = time.perf_counter() - spent

        def save(found: Any, complete: bool = False, part: str = part, begun: float = begun) -> None:
            runs.keep(results, run, precision, part, found, time.perf_counter() - begun, complete)
            runs.write(options.results, results)

        if part in workloads.REQUESTS:
            found = compare(workers, part, plans[part], rounds, save, found)
        elif part == "E":
            found = compare_perplexity(workers, plans["E"], rounds, save, found)
        elif part == "G":
            found = compare_generation(workers, rounds, save, found)
        elif part == "profile":
            found = profile(workers)
        elif part == "parity":
            found = parity(workers)
        elif part == "failures":
            found = failures(workers)
        elif part == "growth":
            found = growth(start)
        elif part == "memory":
            found = peak_memory(start, results[precision], min(rounds, MEMORY_ROUNDS), save)
        elif part == "host":
            found = host.measure_sizes()
        elif part == "who":
            found = who_passes()
        save(found, complete=True)
        print(f"== {precision} {part}: {clock(done[f'{precision}/{part}'])}; about ", end="")
        print(f"{clock(expected_seconds(chosen, done))} left", flush=True)
    close(workers)


def close(workers: dict[str, Worker]) -> None:
    for worker in workers.values():
        worker.close()
    workers.clear()


if __name__ == "__main__":
    main()
