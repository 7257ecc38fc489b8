"""What the benchmark measures: our time, the peers' and the floor's in rounds, where ours goes, memory, agreement.

It must not know how a tool is run: `bench.py` starts a process for each, `gpu.py` has all in one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import workloads
from tqdm import tqdm

PEERS = ("lm-eval", "minicons")
# Functions of nbhelpers whose time a profile reports: encoding, forward passes, the attention in them, the spot check;
# on E, encoding and the head with its softmax.
PACKED_PARTS = ("_encode_jointly", "_read_chunk", "_block_attention", "require_agreement")
PARTS = {"A": PACKED_PARTS, "C": PACKED_PARTS, "E": ("encode_with_spans", "reduce_states")}
# The number of fresh processes per tool whose memory is measured.
MEMORY_ROUNDS = 3
# A setting is tried again if its trial took at most this many times as long as the fastest.
CLOSE = 1.2


@dataclass(frozen=True)
class Plan:
    """How much of a workload is run.

    Attributes
    ----------
    trial, asked, whole : int
        Questions for finding the best batch size, for the peers in a round, and for us. Peers repeat all work for every
        question, so a fifth of A takes them a fifth of the time; the report checks that. On a GPU they get all.
    batches : tuple of int
        The peers' batch sizes, of which the fastest counts.
    rows : tuple of int
        The floor's rows in a forward pass, of which the fastest counts.
    """

    trial: int
    asked: int
    whole: int
    batches: tuple[int, ...]
    rows: tuple[int, ...]


def _plans(trial: dict[str, int], batches: tuple[int, ...], rows: tuple[int, ...], **asked: int) -> dict[str, Plan]:
    whole = {"A": 100, "B": 50, "C": 100, "D": 100, "E": 0}  # E is one text
    return {name: Plan(trial.get(name, 0), asked.get(name, n), n, batches, rows) for name, n in whole.items()}


PLANS = {
    "cpu": _plans({"A": 4, "B": 8, "C": 8, "D": 12}, (1, 4, 8, 16), (1,), A=20, C=20),
    "cuda": _plans({"A": 40, "B": 25, "C": 40, "D": 50}, (8, 32, 128), (1, 8, 32)),
}


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


class Runs(Protocol):
    """A tool that runs jobs: in a process of its own (`Worker`), or in this one (`gpu.py`)."""

    device: str

    def run(self, workload: str, size: int | None = None, batch: int = 1, **job: Any) -> dict[str, Any]: ...


Workers = Mapping[str, Runs]
Save = Callable[[Any], None]


def best_batch(workers: Workers, workload: str, plan: Plan, note: dict[str, Any]) -> tuple[str, int]:
    """The fastest peer on a part of the workload, and its batch size; close settings are run again on twice as much."""
    trials, finals = {}, {}
    for peer in [peer for peer in PEERS if peer in workers] or ["plain"]:
        workers[peer].run(workload, 1)
        for batch in plan.batches:
            trials[peer, batch] = workers[peer].run(workload, plan.trial, batch)["seconds"]
    for peer, batch in trials:
        if trials[peer, batch] <= CLOSE * min(trials.values()):
            finals[peer, batch] = workers[peer].run(workload, min(2 * plan.trial, plan.whole), batch)["seconds"]
    for name, times in (("trials", trials), ("finals", finals)):
        note[name] = {f"{peer}, batch {batch}": seconds for (peer, batch), seconds in times.items()}
    return min(finals, key=finals.__getitem__)


def best_rows(floor: Runs, workload: str, plan: Plan) -> int:
    """The number of rows in a forward pass with which the floor is fastest."""
    if len(plan.rows) == 1:
        return plan.rows[0]
    times = {}
    for rows in plan.rows:
        floor.run(workload, plan.whole, rows)  # a GPU prepares for every new size
        times[rows] = floor.run(workload, plan.whole, rows)["seconds"]
    return min(times, key=times.__getitem__)


def compare(
    workers: Workers, workload: str, plan: Plan, rounds: int, save: Save, found: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Workload A, B, C or D: in rounds, our time, the best peer's and the floor's. `found` are rounds to go on from."""
    device = workers["nbhelpers"].device
    if not found:
        found = {
            "rounds": [],
            "peer_questions": plan.asked,
            "questions": plan.whole,
            "trial_questions": plan.trial,
            "ours": [],
        }
        found["peer"], found["batch"] = best_batch(workers, workload, plan, found)
        found["floor_rows"] = best_rows(workers["floor"], workload, plan)
        save(found)
    peer = found["peer"]
    for tool, batch in (("nbhelpers", 1), ("floor", found["floor_rows"])):
        workers[tool].run(workload, plan.whole if device == "cuda" else 2, batch)  # a GPU prepares for every new size
    for _ in tqdm(range(len(found["rounds"]), rounds), desc=workload):
        ours = workers["nbhelpers"].run(workload, plan.whole)
        theirs = workers[peer].run(workload, plan.asked, found["batch"])
        floor = workers["floor"].run(workload, plan.whole, found["floor_rows"])
        times = {
            "ours": ours["seconds"],
            "peer": theirs["seconds"] * plan.whole / plan.asked,
            "floor": floor["seconds"],
        }
        if device == "cuda":  # needs no fresh process, unlike on a CPU
            found["extra_bytes"] = {"ours": ours["extra_bytes"], "peer": theirs["extra_bytes"]}
        found["rounds"].append(times)
        found["ours"] = ours["results"]
        found["apart"] = max(abs(a - b) for a, b in zip(ours["results"], theirs["results"], strict=False))
        save(found)
    return found


def compare_perplexity(
    workers: Workers, plan: Plan, rounds: int, save: Save, found: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Workload E: disjoint windows against lm-eval and against a bare forward pass, a stride of 512 against the guide.

    The bare forward pass reads the same windows and computes the same number by the shortest code in torch.
    """
    device = workers["nbhelpers"].device
    peer = "lm-eval" if "lm-eval" in workers else "plain"
    if not found:
        trials = {batch: workers[peer].run("E", batch=batch)["seconds"] for batch in plan.batches}
        found = {
            "rounds": [],
            "peer": peer,
            "trials": {f"{peer}, batch {batch}": seconds for batch, seconds in trials.items()},
            "batch": min(trials, key=trials.__getitem__),
            "floor_rows": best_rows(workers["floor"], "E", plan),
        }
        save(found)
    if device == "cuda":
        for stride in (1024, 512):
            workers["nbhelpers"].run("E", stride=stride)
    for _ in tqdm(range(len(found["rounds"]), rounds), desc="E"):
        jobs = {
            "disjoint": workers["nbhelpers"].run("E", stride=1024),
            "floor": workers["floor"].run("E", batch=found["floor_rows"]),
            peer: workers[peer].run("E", batch=found["batch"]),
            "stride 512": workers["nbhelpers"].run("E", stride=512),
            "guide": workers["guide"].run("E", stride=512),
        }
        found["rounds"].append({name: answer["seconds"] for name, answer in jobs.items()})
        found["nats"] = {name: -answer["results"][0] for name, answer in jobs.items() if name != "floor"}
        if device == "cuda":
            found["extra_bytes"] = {name: answer["extra_bytes"] for name, answer in jobs.items()}
        save(found)
    return found


def compare_generation(
    workers: Workers, rounds: int, save: Save, found: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Workload G: replies to chats, all at once compared with one after the other."""
    found = found or {"rounds": []}
    for _ in tqdm(range(len(found["rounds"]), rounds), desc="G"):
        ours, loop = workers["nbhelpers"].run("G"), workers["guide"].run("G")
        found["rounds"].append({"ours": ours["seconds"], "loop": loop["seconds"]})
        same = sum(a == b for a, b in zip(ours["results"], loop["results"], strict=True))
        found |= {"chats": len(ours["results"]), "same": same}
        save(found)
    return found


def profile(workers: Workers) -> dict[str, dict[str, float]]:
    """Where our time goes: seconds inside some of our functions."""
    found = {}
    for workload, parts in PARTS.items():
        answer = workers["nbhelpers"].run(workload, stride=1024, profile=True)
        found[workload] = {"total": answer["seconds"], **{name: answer["inside"][name] for name in parts}}
    return found


def parity(workers: Workers) -> list[dict[str, Any]]:
    """The largest difference between each peer's log-probabilities and ours, on a part of every workload."""
    found = []
    for workload in workloads.REQUESTS:
        size = PLANS[workers["nbhelpers"].device][workload].trial
        ours = workers["nbhelpers"].run(workload, size)["results"]
        for peer in PEERS:
            theirs = workers[peer].run(workload, size)["results"]
            apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
            found.append({"workload": workload, "peer": peer, "answers": len(ours), "apart": apart})
    return found


def failures(workers: Workers) -> list[dict[str, Any]]:
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


def peak_memory(start: Callable[[str], Any], results: dict[str, Any], rounds: int, save: Save) -> dict[str, list[int]]:
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
                size = PLANS["cpu"]["A"].asked if tool == "lm-eval" else None
                label = tool if tool == "nbhelpers" else f"{tool}, batch {batch}"
                peak = worker.run(workload, size, batch, stride=1024)["extra_bytes"]
                found.setdefault(f"{workload}: {label}", []).append(peak)
                worker.close()
        save({label: list(peaks) for label, peaks in found.items()})
    return found


def growth(start: Callable[[str], Any]) -> dict[str, Any]:
    """Our time and memory on A from 100 to 1,600 questions."""
    found = {}
    for size in tqdm((100, 400, 1600), desc="growth"):
        worker = start("nbhelpers")  # a fresh process, whose memory has not grown yet
        worker.run("D", 1)
        answer = worker.run("A", size)
        found[size] = {"seconds": answer["seconds"], "extra_bytes": answer["extra_bytes"]}
        worker.close()
    return found
