"""The first table of README.md: what is claimed, what was found, and the run that each figure is from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from tables import table

PRECISIONS = ("float32", "bfloat16")
# How many times faster than the best peer. E over disjoint windows has no such target: there is nothing to share, and
# its time is held against the floor's.
TARGETS = {"A": 15, "B": 1.9, "C": 6, "D": 1.15, "E disjoint": None, "E stride 512": 1.1}
# Of the floor's time over ours.
FLOOR_TARGETS = {"A": 0.85, "B": 0.85, "C": 0.85, "D": 0.85, "E disjoint": 0.97}
MEMORY_TARGET, GENERATION_TARGET = 0.25, 2
# The keys of the peer's time and of ours in a round, where they are not "peer" and "ours".
NAMES = {"E disjoint": ("lm-eval", "disjoint"), "E stride 512": ("guide", "stride 512")}

Found = dict[str, Any]


def speed_of(part: str, found: Found) -> list[float]:
    """The peer's time divided by ours, in every round."""
    theirs, ours = NAMES.get(part, ("peer", "ours"))
    return [one[theirs] / one[ours] for one in found["rounds"]]


def share_of(part: str, found: Found) -> list[float]:
    """The floor's time divided by ours, in every round that has it."""
    ours = NAMES.get(part, ("", "ours"))[1]
    return [one["floor"] / one[ours] for one in found["rounds"] if "floor" in one and part in FLOOR_TARGETS]


def memory_of(workload: str, found: Found) -> list[float]:
    """Our peak divided by lm-eval's at batch size 1, in every round."""
    ours, theirs = found[f"{workload}: nbhelpers"], found[f"{workload}: lm-eval, batch 1"]
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def generation_of(found: Found) -> list[float]:
    return [one["loop"] / one["ours"] for one in found["rounds"]]


def claims(results: dict[str, Any]) -> str:
    """The table; `results` are those of `bench.py`."""
    rows = [
        ("Many questions after the same examples (A): times faster than the best peer", *_speed(results, "A")),
        ("The same with answers of one letter (C)", *_speed(results, "C")),
        ("Four endings to a context (B)", *_speed(results, "B")),
        ("Requests that share nothing (D)", *_speed(results, "D")),
        ("Perplexity with a stride of half the window (E)", *_speed(results, "E stride 512")),
        (
            "Perplexity over disjoint windows (E): share of a bare forward pass",
            *_row(results, "E", lambda found: share_of("E disjoint", found), FLOOR_TARGETS["E disjoint"]),
        ),
    ]
    for part in "ABCD":
        share = lambda found, part=part: share_of(part, found)  # noqa: E731
        rows.append((f"Share of the floor on {part}", *_row(results, part, share, FLOOR_TARGETS[part])))
    for part in "AE":
        ratio = lambda found, part=part: memory_of(part, found)  # noqa: E731
        name = f"Memory above the loaded model on {part}: share of lm-eval's at batch size 1"
        rows.append((name, *_row(results, "memory", ratio, MEMORY_TARGET, most=True)))
    rows.append(("Replies to chats (G): times faster than one after the other",
                 *_row(results, "G", generation_of, GENERATION_TARGET)))  # fmt: skip
    return table(["claim", *PRECISIONS, "target", "run"], rows)


def _speed(results: dict[str, Any], part: str) -> Iterator[str]:
    return _row(results, part[0], lambda found: speed_of(part, found), TARGETS[part])


def _row(
    results: dict[str, Any], part: str, values: Callable[[Any], list[float]], target: float, most: bool = False
) -> Iterator[str]:
    """The median in each precision with its verdict, the target, and the runs."""
    names = []
    for precision in PRECISIONS:
        found = results.get(precision, {}).get(part)
        got = values(found) if found else []
        if not got:
            yield "not measured"
            continue
        value = median(got)
        met = value <= target if most else value >= target
        yield f"{value:.2f} ({'met' if met else '**missed**'})"
        names.append(results["run_of"][f"{precision}/{part}"])
    yield f"{'at most' if most else 'at least'} {target}"
    yield ", ".join(f"`{name}`" for name in dict.fromkeys(names))
