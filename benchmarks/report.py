"""Write what was measured into README.md, between its two markers, and draw ratios.png next to it.

No table mixes runs: where its parts come from several, there are several tables, the newest first. Each names its run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import claims
import gpu_report
import host as host_share
import matplotlib.pyplot as plt
import runs
import workloads
from claims import FLOOR_TARGETS, GENERATION_TARGET, MEMORY_TARGET, NAMES, PRECISIONS, TARGETS, share_of, speed_of
from tables import table
from transformers import AutoTokenizer

import nbhelpers as nb
from nbhelpers.embedded import embedded_folder
from nbhelpers.engine.prefix_tree import build_tree

HERE = Path(__file__).parent
# Between these two markers of README.md stands what this writes, for each name.
MARKERS = "<!-- begin: {}, written by report.py -->", "<!-- end: {} -->"
HOST_TARGET = 0.15  # milliseconds a request
GROWTH_TARGET, GROWTH_MEMORY_TARGET = 1.2, 1.5e9  # time a request, most over fewest requests; bytes
GPU_RESULTS = {
    "random weights in the shape of Llama 3.2 1B": HERE / "results-cuda-1b.json",
    "random weights in the embedded model's shape": HERE / "results-cuda.json",
}


def sizes() -> str:
    """The lengths of the requests, and how many of their tokens are distinct: preceded by tokens not seen before."""
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    rows = []
    for workload in workloads.REQUESTS:
        texts = ["".join(pair) for pair in workloads.requests(workload)]
        read = [tokenizer(text)["input_ids"][:-1] for text in texts]
        distinct, total = len(build_tree(read).tokens), sum(map(len, read))
        span = f"{min(map(len, read))} to {max(map(len, read))}"
        rows.append([workload, len(texts), span, f"{total:,}", f"{distinct:,}", f"{total / distinct:.1f}"])
    tokens = len(tokenizer(workloads.long_text(), verbose=False)["input_ids"])
    head = ["workload", "requests", "tokens of a request", "tokens to read one by one", "distinct", "ratio"]
    return table(head, rows) + f"\nE is one text of {tokens:,} tokens.\n"


def compared(mine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str, str]]:
    """Each timed workload: its name, its results, and the keys of the peer's time and of ours in a round."""
    for part in TARGETS:
        if part[0] in mine:
            yield part, mine[part[0]], *NAMES.get(part, ("peer", "ours"))


def ratios(mine: dict[str, Any]) -> dict[str, list[float]]:
    """For each workload, the peer's time divided by ours in every round."""
    return {part: speed_of(part, found) for part, found, _, _ in compared(mine)}


def speed(mine: dict[str, Any], on_gpu: bool = False) -> str:
    """The table of times: on a CPU with targets and shares of the floor, on a GPU with the memory of both tools."""
    rows = []
    for part, found, theirs, ours in compared(mine):
        rounds, values = found["rounds"], ratios(mine)[part]
        batch = 1 if theirs == "guide" else found["batch"]
        row = [
            part,
            f"{found.get('peer', theirs)}, batch {batch}",
            *(f"{median(r[tool] for r in rounds):.{2 if on_gpu else 1}f} s" for tool in (theirs, ours)),
            f"**{median(values):.2f}** ({min(values):.2f} to {max(values):.2f})",
        ]
        if on_gpu:
            row += [f"{found['extra_bytes'][tool] / 1e6:,.0f} MB" for tool in (theirs, ours)]
        else:
            row.append(_against(median(values), TARGETS[part]))
            share = share_of(part, found)
            row.append(_against(median(share), FLOOR_TARGETS[part], target_first=False) if share
                       else "not measured" if part == "E disjoint" else "")  # fmt: skip
        rows.append(row)
    more = ["its memory", "ours"] if on_gpu else ["target", "share of the floor"]
    return table(["workload", "best peer", "its time", "ours", "times faster", *more], rows)


def generation(found: dict[str, Any]) -> str:
    values = claims.generation_of(found)
    return (
        f"{found['chats']} chats, {workloads.NEW_TOKENS} new tokens each: one after the other "
        f"{median(r['loop'] for r in found['rounds']):.1f} s, with `generate` "
        f"{median(r['ours'] for r in found['rounds']):.1f} s, **{median(values):.2f}** times faster "
        f"({min(values):.2f} to {max(values):.2f}; target {GENERATION_TARGET} "
        f"{_verdict(median(values) >= GENERATION_TARGET)}). "
        f"{found['same']} of {found['chats']} texts are equal.\n"
    )


def memory(mine: dict[str, Any]) -> str:
    found = mine["memory"]
    rows = []
    for label, peaks in found.items():
        shares = [ours / theirs for ours, theirs in zip(found[f"{label[0]}: nbhelpers"], peaks, strict=True)]
        share = "" if "nbhelpers" in label else f"{median(shares):.2f} {_verdict(median(shares) <= MEMORY_TARGET)}"
        spread = f"({min(peaks) / 1e6:,.0f} to {max(peaks) / 1e6:,.0f})"
        rows.append([label[0], label[3:], f"{median(peaks) / 1e6:,.0f} MB {spread}", share])
    return table(["workload", "tool", "peak above the loaded model", "ours over theirs"], rows)


def growth(found: dict[str, Any]) -> str:
    rows = [
        [f"{int(size):,}", f"{seconds:.1f} s", f"{seconds / int(size) * 1000:.0f} ms", f"{extra / 1e6:,.0f} MB"]
        for size, (seconds, extra) in ((size, run.values()) for size, run in found.items())
    ]
    return table(["questions of A", "time", "per question", "peak memory above the loaded model"], rows)


def linear(found: dict[str, Any]) -> str:
    """Whether a sample of the questions can stand for all: the peer's time on a few and on more of them."""
    few, many = found["trial_questions"], found["peer_questions"]
    part = found["trials"][f"{found['peer']}, batch {found['batch']}"]
    whole = median(r["peer"] for r in found["rounds"]) * many / found["questions"]
    return (
        f"On A, {found['peer']} needed {part:.1f} s for {few} questions and {whole:.1f} s for {many}: "
        f"{whole / part:.2f} times as long for {many / few:.0f} times as many.\n"
    )


def profile(found: dict[str, Any]) -> str:
    rows = []
    for workload in ("A", "C"):
        seconds = found[workload]
        encode, read, attention, check = (seconds[name] for name in list(seconds)[1:])
        rest = seconds["total"] - encode - read - check
        parts = (encode, read - attention, attention, rest, check)
        rows.append([workload, *(f"{part / seconds['total']:.0%}" for part in parts)])
    head = ["workload", "encoding", "forward passes without attention", "attention", "head, softmax, the rest"]
    total, *inside = found["E"].values()
    encode, read = (seconds / total for seconds in inside)
    return (
        table([*head, "spot check"], rows)
        + f"\nOn E, encoding takes {encode:.1%} and the head with its log-softmax {read:.0%} of our time. The rest is "
        "the model's own forward pass, which every tool has to run: windows share nothing that could be left out.\n"
    )


def host(sizes: list[dict[str, Any]]) -> str:
    """The host's share by step, and how it grows."""
    few = sizes[0]
    rows = [
        [
            step,
            f"{median(host_share.milliseconds(few, step)):.3f} ms",
            "model" if step in host_share.OF_THE_MODEL else "host",
        ]
        for step in (*host_share.STEPS, host_share.REST)
    ]
    share = median(host_share.share_of_host(few))
    text = table(["step", "a request", "whose"], rows)
    text += (
        f"\nThe host's share is **{share:.3f} ms** a request; target {HOST_TARGET} {_verdict(share <= HOST_TARGET)}.\n"
    )
    if len(sizes) > 1:
        totals = [median(sum(seconds.values()) for seconds in run["rounds"]) / run["requests"] for run in sizes]
        grown = [
            [
                f"{run['requests']:,}",
                f"{1_000 * total:.3f} ms",
                f"{median(host_share.share_of_host(run)):.3f} ms",
                f"{run['extra_bytes'] / 1e6:,.0f} MB",
            ]
            for run, total in zip(sizes, totals, strict=True)
        ]
        text += "\n" + table(["requests", "a request", "of it, the host's", "peak above the model"], grown)
        met = _verdict(totals[-1] <= GROWTH_TARGET * totals[0])
        text += (
            f"\nThe largest run takes {totals[-1] / totals[0]:.2f} times as long a request as the smallest; target "
            f"{GROWTH_TARGET} {met}. Its peak, texts and results included, has the target "
            f"{GROWTH_MEMORY_TARGET / 1e6:,.0f} MB {_verdict(sizes[-1]['extra_bytes'] <= GROWTH_MEMORY_TARGET)}.\n"
        )
    return text


def half(results: dict[str, Any]) -> str:
    full, low = (results[precision]["A"] for precision in ("float32", "bfloat16"))
    full, low = full["ours"], low["ours"]
    apart = [abs(a - b) for a, b in zip(full, low, strict=True)]
    best = [[max(range(4), key=run[q : q + 4].__getitem__) for q in range(0, len(run), 4)] for run in (full, low)]
    flips = sum(a != b for a, b in zip(*best, strict=True))
    return (
        f"Of {len(apart)} log-probabilities of answers, each over some 8 tokens, the median moves by "
        f"{median(apart):.3f} nats and the largest by {max(apart):.3f}. The best of four choices changes in {flips} of "
        f"{len(best[0])} questions.\n"
    )


def parity(found: list[dict[str, Any]]) -> str:
    rows = [[row["workload"], row["peer"], row["answers"], f"{row['apart']:.1g}"] for row in found]
    return table(["workload", "peer", "answers compared", "largest difference of a total (nats)"], rows)


def failures(found: list[dict[str, Any]]) -> str:
    tools = [name for name in found[0] if name != "case"]
    rows = []
    for entry in found:
        asked = "<br>".join(f"`{prompt!r}` + `{answer!r}`" for prompt, answer in entry["case"])
        rows.append([asked, *(_answers(entry[tool]) for tool in tools)])
    return table(["prompt + answer", *tools], rows)


def _answers(found: list[float] | str) -> str:
    if isinstance(found, str):
        return found.partition(":")[0] + (": " + found.partition(": ")[2][:70] if ": " in found else "")
    return "<br>".join(f"{value:.3f}" for value in found)


def _against(value: float, target: float | None, target_first: bool = True) -> str:
    if target is None:
        return ""
    return f"{target if target_first else f'{value:.2f}'} {_verdict(value >= target)}"


def _verdict(met: bool) -> str:
    return "(met)" if met else "(**missed**)"


def draw(results: dict[str, Any]) -> None:
    """The newest run of each precision."""
    nb.use_house_style()
    fig, ax = plt.subplots(figsize=(7, 3.6))
    for shift, (precision, marker) in zip((-0.15, 0.15), (("float32", "o"), ("bfloat16", "s")), strict=True):
        found = next(iter(runs.of_one_run(results, precision, "ABCDE").values()), None)
        if found is None:
            continue
        for part, values in ratios(found).items():
            place = list(TARGETS).index(part)
            ax.plot([place + shift] * len(values), values, marker, color=f"C{marker == 's':d}", alpha=0.5, ms=5)
        ax.plot([], [], marker, color=f"C{marker == 's':d}", label=precision)
    wanted = [(place, target) for place, target in enumerate(TARGETS.values()) if target is not None]
    ax.plot(*zip(*wanted, strict=True), "_", color="0.3", ms=40, label="target")
    ax.set_xticks(range(len(TARGETS)), TARGETS)
    ax.set_yscale("log")
    ax.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    ax.axhline(1, color="0.5", lw=1)
    ax.set_xlabel("workload")
    ax.set_ylabel("times faster than the best peer")
    ax.set_title("Each mark is one round")
    ax.legend()
    fig.savefig(HERE / "ratios.png", dpi=130, bbox_inches="tight")


def all_runs(results: dict[str, Any]) -> str:
    """The runs that tables are from."""
    rows = []
    for name, run in reversed(results["runs"].items()):
        parts = [part for part, of in results["run_of"].items() if of == name]
        if parts:
            about = ", ".join(f"{key} {value}" for key, value in run["machine"].items())
            took = f"{sum(run['seconds'].values()) / 3600:.1f} h" if "seconds" in run else ""
            rows.append([f"`{name}`", run.get("begun", ""), run.get("commit", ""), about, took])
    return table(["run", "begun", "commit", "machine and versions", "took"], rows)


def from_bench(results: dict[str, Any]) -> Iterator[str]:
    yield from ("Runs:\n", all_runs(results), "### Size of the workloads\n", sizes())
    for precision in PRECISIONS:
        for run, mine in runs.of_one_run(results, precision, "ABCDE").items():
            yield from (f"### Speed, {precision}\n", f"Run `{run}`, two threads.\n", speed(mine))
            if mine.get("A", {}).get("rounds"):
                yield linear(mine["A"])
        if "G" in results.get(precision, {}):
            yield from _headed(results, precision, "G", "Generation (G)", generation)
    yield "![Ratios of all rounds, on a logarithmic axis, with the targets as dashes](ratios.png)\n"
    for precision in PRECISIONS:
        yield from _headed(results, precision, "profile", "Where our time goes", profile)
        yield from _headed(results, precision, "growth", "Growth", growth)
        title = "The host's share: a model of one layer, one thread"
        yield from _headed(results, precision, "host", title, host)
        yield from _headed(results, precision, "parity", "Agreement with the peers", parity)
        yield from _headed(results, precision, "memory", "Memory", lambda found: memory({"memory": found}))
        part = results.get(precision, {}).get("E", {})
        if "nats" in part:
            theirs, ours = (part["nats"][name] for name in (part.get("peer", "lm-eval"), "disjoint"))
            yield (
                f"On E, {precision}, lm-eval's rolling log-likelihood and ours are {abs(theirs - ours):.2g} nats "
                f"apart, of {ours:,.1f} (run `{results['run_of'][f'{precision}/E']}`).\n"
            )
    both = [results["run_of"].get(f"{precision}/A") for precision in PRECISIONS]
    if both[0] is not None and both[0] == both[1]:
        yield from ("### What bfloat16 changes on A\n", f"Run `{both[0]}`.\n", half(results))
    yield from _headed(results, "float32", "failures", "Where tools differ", failures)
    yield from _headed(results, "float32", "who", "Who returns true log-probabilities", lambda found: found["tables"])


def _headed(
    results: dict[str, Any], precision: str, part: str, title: str, write: Callable[[Any], str]
) -> Iterator[str]:
    """A table of one part, with its run; nothing where it was not measured."""
    if part in results.get(precision, {}):
        run = results["run_of"][f"{precision}/{part}"]
        yield from (f"### {title}, {precision}\n", f"Run `{run}`.\n", write(results[precision][part]))


def from_gpus() -> Iterator[str]:
    newest = HERE / "results-gpu.json"
    if newest.exists():
        yield gpu_report.tables(runs.read(newest))
    for name, file in GPU_RESULTS.items():
        found = runs.read(file)
        about = next(reversed(found["runs"].values()))["machine"]
        machine = ", ".join(f"{key} {about[key]}" for key in ("gpu", "python", "torch", "transformers"))
        yield from (f"### On a GPU, bfloat16: {name}\n", f"Measured on: {machine}.\n")
        yield speed(found["bfloat16"], on_gpu=True)


def put(page: str, name: str, text: str) -> str:
    """The page with this text between the markers of this name."""
    begin, end = (marker.format(name) for marker in MARKERS)
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    return f"{before}{begin}\n\n{text.rstrip()}\n\n{end}{after}"


def main() -> None:
    results = runs.read(HERE / "results.json")
    readme = HERE / "README.md"
    page = put(readme.read_text(), "claims", claims.claims(results))
    page = put(page, "tables", "\n".join([*from_bench(results), *from_gpus()]))
    readme.write_text(page)
    draw(results)
    print(f"wrote {readme} and {HERE / 'ratios.png'}")


if __name__ == "__main__":
    main()
