"""Time `nbhelpers` against its peers: `make bench`, or `.venv/bin/python benchmarks/bench.py --help`.

Each tool runs in its own process; all processes stay alive and work in turn. A round runs every tool once, one right
after the other, so that other load on the machine affects all of them. Ratios are taken within a round, and the median
over the rounds is reported. Every step writes its measurements to results.json (on a GPU to results-cuda.json), which
is all that `report.py` reads. Ctrl-C keeps what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Before torch is imported, and for the workers, which inherit it: torch's threads would otherwise spin while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import host
import torch
import workloads
from tqdm import tqdm

from nbhelpers.embedded import embedded_folder

HERE = Path(__file__).parent
PEERS_PYTHON = HERE / ".venv/bin/python"
PEERS = ("lm-eval", "minicons")
BATCHES = {"cpu": (1, 4, 8, 16), "cuda": (8, 32, 128)}
# Functions of nbhelpers whose time a profile reports: encoding, forward passes, the attention in them, the spot check;
# on E, encoding and the head with its softmax.
PACKED_PARTS = ("_encode_jointly", "_read_chunk", "_block_attention", "require_agreement")
PARTS = {"A": PACKED_PARTS, "C": PACKED_PARTS, "E": ("encode_with_spans", "reduce_states")}
# The number of fresh processes per tool whose memory is measured.
MEMORY_ROUNDS = 3
# The number of questions for finding the best batch size (TRIAL), and for the peers in a round of all questions
# (SAMPLE: asked, of all). Peers repeat all work for every question, so a fifth of A takes them a fifth of the time; the
# report checks that. On a GPU they get all questions.
TRIAL = {"cpu": {"A": 4, "B": 8, "C": 8, "D": 12}, "cuda": {"A": 40, "B": 25, "C": 40, "D": 50}}
# A setting is tried again if its trial took at most this many times as long as the fastest.
CLOSE = 1.2
SAMPLE = {"A": (20, 100), "B": (50, 50), "C": (20, 100), "D": (100, 100)}


# Requests on which tools are known to differ; each list is one call.
CASES = [
    [("The capital of France is", " Paris")],
    [("x = 5\nret", "urn")],
    [("x = 5\nret", "urn the value")],
    [("The capital of France is ", "Paris")],
    [("The capital of France is", "")],
    [
        ("The capital of France is", " a city called Paris"),
        ("The capital of France is a", " city called Paris"),
        ("The capital of France is a city", " called Paris"),
    ],
]


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


def best_batch(workers: dict[str, Worker], workload: str, note: dict[str, Any]) -> tuple[str, int]:
    """The fastest peer on a part of the workload, and its batch size; close settings are run again on twice as much."""
    trials, finals = {}, {}
    size = note["trial_questions"]
    for peer in PEERS:
        workers[peer].run(workload, 1)
        for batch in BATCHES[workers[peer].device]:
            trials[peer, batch] = workers[peer].run(workload, size, batch)["seconds"]
    for peer, batch in trials:
        if trials[peer, batch] <= CLOSE * min(trials.values()):
            finals[peer, batch] = workers[peer].run(workload, 2 * size, batch)["seconds"]
    for name, times in (("trials", trials), ("finals", finals)):
        note[name] = {f"{peer}, batch {batch}": seconds for (peer, batch), seconds in times.items()}
    return min(finals, key=finals.get)


def compare(workers: dict[str, Worker], workload: str, rounds: int, full: bool, save: Any) -> dict[str, Any]:
    """Workload A, B, C or D: in rounds, our time, the best peer's and (on a CPU) the floor's."""
    device = workers["nbhelpers"].device
    sample, whole = SAMPLE[workload]
    sample = whole if full or device == "cuda" else sample
    found: dict[str, Any] = {
        "rounds": [],
        "peer_questions": sample,
        "questions": whole,
        "trial_questions": TRIAL[device][workload],
    }
    peer, batch = best_batch(workers, workload, found)
    found |= {"peer": peer, "batch": batch}
    for tool in {"nbhelpers", "floor"} & set(workers):
        workers[tool].run(workload, None if device == "cuda" else 2)  # a GPU prepares for every new size
    for _ in tqdm(range(rounds), desc=workload):
        ours = workers["nbhelpers"].run(workload)
        theirs = workers[peer].run(workload, sample, batch)
        times = {"ours": ours["seconds"], "peer": theirs["seconds"] * whole / sample}
        if "floor" in workers:
            times["floor"] = workers["floor"].run(workload)["seconds"]
        if device == "cuda":  # needs no fresh process, unlike on a CPU
            found["extra_bytes"] = {"ours": ours["extra_bytes"], "peer": theirs["extra_bytes"]}
        found["rounds"].append(times)
        save(found)
    found["ours"] = ours["results"]
    return found


def compare_perplexity(workers: dict[str, Worker], rounds: int, save: Any) -> dict[str, Any]:
    """Workload E: disjoint windows against lm-eval, a stride of 512 against the guide's loop."""
    found: dict[str, Any] = {"rounds": []}
    device = workers["nbhelpers"].device
    trials = {batch: workers["lm-eval"].run("E", batch=batch)["seconds"] for batch in BATCHES[device]}
    found["trials"] = {f"lm-eval, batch {batch}": seconds for batch, seconds in trials.items()}
    found["batch"] = min(trials, key=trials.get)
    for _ in tqdm(range(rounds), desc="E"):
        jobs = {
            "disjoint": workers["nbhelpers"].run("E", stride=1024),
            "lm-eval": workers["lm-eval"].run("E", batch=found["batch"]),
            "stride 512": workers["nbhelpers"].run("E", stride=512),
            "guide": workers["guide"].run("E", stride=512),
        }
        found["rounds"].append({name: answer["seconds"] for name, answer in jobs.items()})
        found["nats"] = {name: -answer["results"][0] for name, answer in jobs.items()}
        if device == "cuda":
            found["extra_bytes"] = {name: answer["extra_bytes"] for name, answer in jobs.items()}
        save(found)
    return found


def compare_generation(workers: dict[str, Worker], rounds: int, save: Any) -> dict[str, Any]:
    """Workload G: replies to chats, all at once compared with one after the other."""
    found: dict[str, Any] = {"rounds": []}
    for _ in tqdm(range(rounds), desc="G"):
        ours, loop = workers["nbhelpers"].run("G"), workers["guide"].run("G")
        found["rounds"].append({"ours": ours["seconds"], "loop": loop["seconds"]})
        same = sum(a == b for a, b in zip(ours["results"], loop["results"], strict=True))
        found |= {"chats": len(ours["results"]), "same": same}
        save(found)
    return found


def profile(workers: dict[str, Worker]) -> dict[str, dict[str, float]]:
    """Where our time goes: seconds inside some of our functions."""
    found = {}
    for workload, parts in PARTS.items():
        answer = workers["nbhelpers"].run(workload, stride=1024, profile=True)
        found[workload] = {"total": answer["seconds"], **{name: answer["inside"][name] for name in parts}}
    return found


def parity(workers: dict[str, Worker]) -> list[dict[str, Any]]:
    """The largest difference between each peer's log-probabilities and ours, on a part of every workload."""
    found = []
    for workload, size in TRIAL[workers["nbhelpers"].device].items():
        ours = workers["nbhelpers"].run(workload, size)["results"]
        for peer in PEERS:
            theirs = workers[peer].run(workload, size)["results"]
            apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
            found.append({"workload": workload, "peer": peer, "answers": len(ours), "apart": apart})
    return found


def failures(workers: dict[str, Worker]) -> list[dict[str, Any]]:
    """Each tool's answers to `CASES`: log-probabilities or an error."""
    asked = {
        "nbhelpers": lambda case: workers["nbhelpers"].run("", requests=case),
        "lm-eval, as it comes": lambda case: workers["lm-eval"].run("", requests=case, cache=True),
        "lm-eval, logits_cache=False": lambda case: workers["lm-eval"].run("", requests=case),
        "minicons": lambda case: workers["minicons"].run("", requests=case),
    }
    found = []
    for case in CASES:
        answers = {tool: ask(case) for tool, ask in asked.items()}
        found.append({"case": case, **{tool: a.get("results", a.get("error")) for tool, a in answers.items()}})
    return found


def lm_eval_batch(note: dict[str, Any]) -> int:
    """The batch size at which lm-eval was fastest in the trials of a workload."""
    trials = {name: seconds for name, seconds in note["trials"].items() if name.startswith("lm-eval")}
    return int(min(trials, key=trials.get).rpartition(" ")[2])


def peak_memory(start: Callable[[str], Worker], results: dict[str, Any], rounds: int, save: Any) -> None:
    """Peak memory above the loaded model in a fresh process, after one short request that loads the weights.

    Repeated in rounds, as the memory an allocator retains differs from run to run.
    """
    batches = {workload: lm_eval_batch(results[workload]) for workload in ("A", "E")}
    found: dict[str, list[int]] = {}
    for _ in tqdm(range(rounds), desc="memory"):
        for workload in ("A", "E"):
            for tool, batch in [("nbhelpers", 1), *(("lm-eval", batch) for batch in sorted({1, batches[workload]}))]:
                worker = start(tool)
                worker.run("D", 1)
                # lm-eval gets as many questions as in a round of A: its peak is that of a batch, and all take long.
                size = SAMPLE["A"][0] if tool == "lm-eval" else None
                label = tool if tool == "nbhelpers" else f"{tool}, batch {batch}"
                peak = worker.run(workload, size, batch, stride=1024)["extra_bytes"]
                found.setdefault(f"{workload}: {label}", []).append(peak)
                worker.close()
        save(found)


def growth(start: Callable[[str], Worker]) -> dict[str, Any]:
    """Our time and memory on A from 100 to 1,600 questions."""
    found = {}
    for size in tqdm((100, 400, 1600), desc="growth"):
        worker = start("nbhelpers")  # a fresh process, whose memory has not grown yet
        worker.run("D", 1)
        answer = worker.run("A", size)
        found[size] = {"seconds": answer["seconds"], "extra_bytes": answer["extra_bytes"]}
        worker.close()
    return found


def machine(device: str) -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if "model name" in line] or [platform.machine()]
    versions = {name: version(name) for name in ("torch", "transformers")}
    found = {"cpu": names[0], "cores": str(os.cpu_count()), "python": platform.python_version(), **versions}
    return found | ({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often every tool runs each workload (default 5)")
    precisions = ["float32", "bfloat16"]
    parser.add_argument("--precisions", nargs="+", default=precisions, choices=precisions)
    parts = [*"ABCDEG", "profile", "parity", "failures", "memory", "growth", "host"]
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts, help="what to measure (default: all)")
    parser.add_argument("--full", action="store_true", help="give the peers all questions of A and C (hours)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="where (default cpu)")
    parser.add_argument("--model", help="a model's folder (default: the embedded model's)")
    parser.add_argument("--results", type=Path, help="file to keep (default: results.json or results-cuda.json)")
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("memory is read from /proc, which only Linux has: run this on Linux")
    if not PEERS_PYTHON.exists():
        parser.error("the peers are not installed: `make bench` does it")
    on_gpu = options.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has no CUDA device")
    if on_gpu and options.parts == parts:
        options.parts = [*"ABCDEG", "parity", "failures", "growth"]
    if on_gpu and {"profile", "memory", "host"} & set(options.parts):
        parser.error("profile, memory and host are about a CPU: on a GPU every part reports its memory")
    if options.model and not options.results:
        parser.error("--model needs --results: the usual file holds the embedded model's results, and would lose them")
    kept_in = options.results or HERE / ("results-cuda.json" if on_gpu else "results.json")
    results = json.loads(kept_in.read_text()) if kept_in.exists() else {}
    about = {"machine": machine(options.device), "model": Path(options.model).name if options.model else None}
    if any(results.get(name) != value for name, value in about.items()):
        results = about  # never mix machines, versions of torch or models in one table
    model = options.model or str(embedded_folder())
    tools = ["nbhelpers", *([] if on_gpu else ["floor"]), *PEERS, "guide"]

    for precision in options.precisions:
        mine = results.setdefault(precision, {})
        if "memory" in options.parts and not {"A", "E"} <= {*options.parts, *mine}:
            parser.error("--parts memory needs the batch sizes found by A and E: add them")

        def save(part: str, found: Any, mine: dict[str, Any] = mine) -> None:
            mine[part] = found
            written = kept_in.with_suffix(".part")
            written.write_text(json.dumps(results, indent=1) + "\n")
            written.replace(kept_in)

        print(f"== {precision}: loading {', '.join(tools)}", flush=True)
        start = partial(Worker, precision=precision, model=model, device=options.device)
        workers = {tool: start(tool) for tool in tools}
        for part in options.parts:
            if part in workloads.REQUESTS:
                save(
                    part,
                    compare(workers, part, options.rounds, options.full, lambda found, part=part: save(part, found)),
                )
            elif part == "E":
                save(part, compare_perplexity(workers, options.rounds, lambda found: save("E", found)))
            elif part == "G":
                save(part, compare_generation(workers, options.rounds, lambda found: save("G", found)))
            elif part == "profile":
                save(part, profile(workers))
            elif part == "parity":
                save(part, parity(workers))
            elif part == "failures":
                save(part, failures(workers))
            elif part == "growth" and precision == options.precisions[0]:
                save(part, growth(start))
            elif part == "host" and precision == options.precisions[0]:
                save(part, host.measure_sizes())
        for worker in workers.values():
            worker.close()
        if "memory" in options.parts:
            peak_memory(start, mine, min(options.rounds, MEMORY_ROUNDS), lambda found: save("memory", found))


if __name__ == "__main__":
    main()
