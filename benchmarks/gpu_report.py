"""The tables of `gpu.py`, from its results: the targets first, then what they rest on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from tables import table

LEAST_ROUNDS = 3
# The most that the logits may take at once, in bytes.
LOGITS = 64e6
NAMES = {"8B": "Llama 3.1 8B", "1B": "Llama 3.2 1B", "135M": "the embedded model", "tiny": "a tiny model"}
# (shape, line of the table, what is wanted at least)
SPEED_TARGETS = [
    ("8B", "A", 10),
    ("8B", "B", 1.5),
    ("8B", "D", 1.3),
    ("8B", "E disjoint", 1.0),
    ("8B", "E stride 512", 1.9),
    ("1B", "A", 8),
    ("1B", "B", 1.5),
    ("1B", "E disjoint", 1.0),
]
FLOOR_TARGETS = [("8B", line, 0.7) for line in ("A", "B", "D", "E disjoint")]


@dataclass(frozen=True)
class Line:
    """One comparison: who was compared with, in seconds, round by round, and the bytes beside the model."""

    peer: str
    theirs: list[float]
    ours: list[float]
    floor: list[float]
    their_bytes: int | None
    our_bytes: int | None

    @property
    def ratio(self) -> float:
        return median(a / b for a, b in zip(self.theirs, self.ours, strict=True))

    @property
    def share(self) -> float | None:
        return median(a / b for a, b in zip(self.floor, self.ours, strict=True)) if self.floor else None


def lines(parts: dict[str, Any]) -> dict[str, Line]:
    """The comparisons of one shape that have at least one round."""
    found = {}
    for workload in "ABD":
        part = parts.get(workload, {})
        if part.get("rounds"):
            found[workload] = _line(part, f"{part['peer']}, batch {part['batch']}", "peer", "ours")
    part = parts.get("E", {})
    if part.get("rounds"):
        found["E disjoint"] = _line(part, f"{part['peer']}, batch {part['batch']}", part["peer"], "disjoint")
        found["E stride 512"] = _line(part, "guide, batch 1", "guide", "stride 512", floor=False)
    return found


def _line(part: dict[str, Any], peer: str, theirs: str, ours: str, floor: bool = True) -> Line:
    rounds, extra = part["rounds"], part.get("extra_bytes", {})
    return Line(
        peer,
        [one[theirs] for one in rounds],
        [one[ours] for one in rounds],
        [one["floor"] for one in rounds] if floor else [],
        extra.get(theirs),
        extra.get(ours),
    )


def verdict(value: float | None, target: float, rounds: int = LEAST_ROUNDS, most: bool = False) -> str:
    if value is None:
        return "not run"
    met = "met" if (value <= target if most else value >= target) else "**missed**"
    return met if rounds >= LEAST_ROUNDS else f"{met}, but in {rounds} of {LEAST_ROUNDS} rounds only"


def correct(results: dict[str, Any]) -> bool:
    found = results["parts"].get("all", {}).get("correctness")
    return bool(found) and all(verdict == "met" for _, _, verdict in correctness_rows(found))


def correctness_rows(found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What is wanted, what was found, and the verdict."""
    from gpu_correctness import SLACK, TOLERANCE

    full, half = found["float32"], found["bfloat16"]
    ours, theirs = (half[name] / max(1, half["tokens"]) for name in ("sum", "theirs_sum"))
    yield (
        f"float32: {full['wanted']} sets of requests within {TOLERANCE:g} nats a token of float64",
        f"{full['sets']} sets, {full['tokens']:,} tokens: {full['largest']:.1e} at most; "
        f"{len(full['wrong'])} answers are wrong",
        finished(full, full["largest"] <= TOLERANCE),
    )
    yield (
        f"bfloat16: {half['wanted']} sets, mean error at most {SLACK:g} times that of transformers",
        f"{half['sets']} sets: {ours:.4f} nats a token (largest {half['largest']:.2f}); transformers {theirs:.4f} "
        f"({half['theirs_largest']:.2f}); {half.get('not_packed', 0)} sets were not packed",
        finished(half, ours <= SLACK * theirs),
    )
    off = found["tf32"]
    yield (
        "TF32 is off",
        f"setting {off['setting']!r}; a product is {off['relative_error_of_a_product']:.0e} off",
        "met" if off["off"] else "**missed**",
    )


def finished(found: dict[str, Any], good: bool) -> str:
    if found["wrong"] or not good:
        return "**missed**"
    return "met" if found["sets"] >= found["wanted"] else "not finished"


def targets(results: dict[str, Any]) -> str:
    parts = results["parts"]
    by_shape = {shape: lines(parts.get(shape, {})) for shape in ("8B", "1B")}
    rows: list[Iterable[Any]] = []
    found = parts.get("all", {}).get("correctness")
    rows += list(correctness_rows(found)) if found else [("the numbers are right", "", "not run")]
    for shape, name, target in SPEED_TARGETS:
        line = by_shape[shape].get(name)
        wanted = f"{shape}: {name} at least {target:.1f} times as fast"
        rows.append((wanted, f"{line.ratio:.2f} ({line.peer})", verdict(line.ratio, target, len(line.ours))) if line
                    else (wanted, "", "not run"))  # fmt: skip
    for shape, name, target in FLOOR_TARGETS:
        line = by_shape[shape].get(name)
        wanted = f"{shape}: {name} at {target:g} of the floor or more"
        rows.append((wanted, f"{line.share:.2f}", verdict(line.share, target, len(line.ours))) if line and line.share
                    else (wanted, "", "not run"))  # fmt: skip
    for shape in ("8B", "1B"):
        held = parts.get(shape, {}).get("head memory", {})
        most = max((one["largest"] for one in held.values()), default=None)
        wanted = f"{shape}: logits never above {LOGITS / 1e6:.0f} MB"
        rows.append((wanted, "" if most is None else f"{most / 1e6:.1f} MB", verdict(most, LOGITS, most=True)))
    return table(["target", "found", "verdict"], rows)


def speed(shape: str, parts: dict[str, Any]) -> str:
    rows = []
    for name, line in lines(parts).items():
        ratios = [a / b for a, b in zip(line.theirs, line.ours, strict=True)]
        rows.append([
            name, line.peer, f"{median(line.theirs):.3f} s", f"{median(line.ours):.3f} s",
            f"**{line.ratio:.2f}** ({min(ratios):.2f} to {max(ratios):.2f}; {len(ratios)} rounds)",
            "" if line.share is None else f"{line.share:.2f}",
            *("" if size is None else f"{size / 1e6:,.0f} MB" for size in (line.their_bytes, line.our_bytes)),
            f"{parts[name[0]].get('apart', float('nan')):.2g}" if name in "ABD" else "",
        ])  # fmt: skip
    head = ["workload", "best peer", "its time", "ours", "times faster", "share of the floor", "its memory", "ours"]
    text = table([*head, "largest difference of a total (nats)"], rows) if rows else "Nothing was measured.\n"
    load = parts.get("load", {})
    if load:
        text += f"\nModel: {load['model']}. Tokenizer: {load['tokenizer']}.\n"
    if load.get("missing"):
        names = " and ".join(load["missing"])
        text += f"\nWithout {names}, which this interpreter does not have" + (
            ": plain batching in transformers takes lm-eval's place.\n" if "lm-eval" in load["missing"] else ".\n"
        )
    warned = sorted({message for name in "ABDE" for message in parts.get(name, {}).get("warnings", [])})
    return text + "".join(f"\nnbhelpers warned: {message}\n" for message in warned)


def trace(found: dict[str, Any]) -> str:
    whole, traced = found["seconds"], found.get("traced_seconds")
    text = f"A takes {whole:.3f} s; {found['profiled_seconds']:.3f} s under Python's profiler"
    text += f", {traced:.3f} s under torch's.\n\n" if traced else ".\n\n"
    if "busy_seconds" in found:
        idle = max(0.0, traced - found["busy_seconds"])
        rows = [
            ("the GPU computes or copies", f"{found['busy_seconds']:.3f} s", f"{found['busy_seconds'] / traced:.0%}"),
            ("the GPU waits for the host", f"{idle:.3f} s", f"{idle / traced:.0%}"),
            (f"the host launches {found['launches']:,} kernels", f"{found['launch_seconds']:.3f} s", ""),
            ("the host waits for the GPU", f"{found['wait_seconds']:.3f} s", ""),
        ]
        text += table(["of the traced run", "time", "share"], rows) + "\n"
    rows = [(name, f"{s:.3f} s", f"{s / found['profiled_seconds']:.0%}") for name, s in found["host"].items()]
    text += table(["the host is in (one may hold another)", "time", "share"], rows) + "\n"
    rows = [(f"`{name[:70]}`", f"{count:,}", f"{seconds * 1e3:.1f} ms") for name, count, seconds in found["kernels"]]
    return text + table(["kernel (operation, on a CPU)", "times", "in all"], rows)


def levers(parts: dict[str, Any]) -> Iterator[str]:
    for workload, times in parts.get("tokens in a pass", {}).items():
        yield f"Tokens in a forward pass on {workload}: {_times(times)}.\n"
    if parts.get("slices of the head"):
        yield f"Slices of the head (states x words) on E: {_times(parts['slices of the head'])}.\n"
    if parts.get("attention in blocks"):
        found = parts["attention in blocks"]
        times = _times({size: one["seconds"] for size, one in found.items()})
        apart = max(one["apart"] for one in found.values())
        yield f"Attention in blocks of queries on A: {times}; totals differ by {apart:.1g} nats at most.\n"
    if parts.get("FlexAttention"):
        rows = [
            (
                f"{one['queries']:,} x {one['keys']:,}",
                f"{one['pairs_visible']:.1%}",
                f"{one['blocks_visited']:.1%}",
                f"{one['sdpa_seconds'] * 1e3:.2f} ms",
                f"{one['flex_seconds'] * 1e3:.2f} ms",
                f"{one['block_mask_seconds'] * 1e3:.1f} ms",
                f"{one['flex_first_call_seconds']:.1f} s",
                f"{one['apart']:.1g}",
            )
            for one in parts["FlexAttention"]
        ]
        head = ["queries x keys of a chunk of A", "pairs visible", "blocks of 128 x 128 visited", "sdpa with the mask"]
        yield table([*head, "FlexAttention", "its block mask", "its first call", "apart"], rows)


def _times(times: dict[str, float]) -> str:
    return ", ".join(f"{size}: {seconds * 1e3:.0f} ms" for size, seconds in times.items())


def tables(results: dict[str, Any]) -> str:
    name, run = next(reversed(results["runs"].items()))
    machine = ", ".join(f"{key} {value}" for key, value in run["machine"].items())
    text = [f"Run {name} on: {machine}; bfloat16.\n", "### GPU: the targets\n", targets(results)]
    for shape, parts in results["parts"].items():
        if shape == "all":
            continue
        text += [f"### GPU: speed, shape of {NAMES[shape]}\n", speed(shape, parts)]
        if "host" in parts.get("trace", {}) and "kernels" in parts["trace"]:
            text += [f"### GPU: where the time of A goes, {NAMES[shape]}\n", trace(parts["trace"])]
        held = parts.get("head memory", {})
        for workload, one in held.items():
            peak = f", {one['peak'] / 1e6:.1f} MB with everything temporary" if "peak" in one else ""
            text.append(f"The head on {workload}: logits of {one['largest'] / 1e6:.1f} MB at once{peak}.\n")
        text += levers(parts)
    if results["left_out"]:
        text += ["### GPU: left out\n", table(["part", "why"], results["left_out"].items())]
    seconds = ", ".join(f"{part} {spent:.0f} s" for part, spent in results["seconds"].items())
    return "\n".join([*text, f"Time: {seconds}."])
