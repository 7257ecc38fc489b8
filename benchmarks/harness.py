"""Time lm-evaluation-harness with our model against its own `hf`, as a person would run it: start-up included.

`.venv/bin/python benchmarks/harness.py --help`. It needs the extra `lm-eval`, and nothing from the network. A round
runs both models on one task, one right after the other, each in a fresh process. Ratios are taken within a round, and
the median counts. Beside the time on the clock stands the processor's, which other load on the machine changes little.
Before the rounds, `hf` runs a part of the task at several batch sizes, and the fastest takes part. Every log-likelihood
of both runs is compared. Results go to results-harness.json, with machine, versions and code; a table to the screen.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for the processes, which inherit it
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import runs
import workloads
import yaml
from bench import machine

from nbhelpers.embedded import embedded_folder

HERE = Path(__file__).parent
WINDOW = 1024
SHOTS = 5
# What is run, how many documents, how many of them for choosing hf's batch size, and the target for the ratio.
TASKS = {
    "shots_fixed": ("5 shots, the same for every question (as MMLU has them), 4 choices of 8 tokens", 100, 6, 10.0),
    "shots_drawn": ("5 shots, drawn for each question (the harness's default), 4 choices of 8 tokens", 25, 6, None),
    "zero_shot": ("no shots, 4 endings of 24 tokens", 50, 10, 1.5),
    "rolling": (f"rolling, 18,200 tokens in windows of {WINDOW}", 12, 2, 1.0),
}
BATCHES = {"cpu": (1, 4, 8, 16), "cuda": (8, 32, 128)}


def write_tasks(folder: Path, documents: dict[str, int]) -> None:
    """A YAML file and its data for every task."""
    (folder / "shots.jsonl").write_text(_lines(_questions("shots", SHOTS * 4, 45, 6)))
    questions = {"shots_fixed": (32, 6), "shots_drawn": (32, 6), "zero_shot": (45, 18)}
    for name, (context, answer) in questions.items():
        (folder / f"{name}.jsonl").write_text(_lines(_questions(name, documents[name], context, answer)))
        task: dict[str, Any] = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"train": "shots.jsonl", "test": f"{name}.jsonl"}},
            "output_type": "multiple_choice",
            "test_split": "test",
            "doc_to_text": "Passage: {{text}}\nNext:",
            "doc_to_target": "answer",
            "doc_to_choice": "choices",
            "num_fewshot": 0,
            "metric_list": [{"metric": "acc"}],
        }
        if name != "zero_shot":
            task |= {"training_split": "train", "fewshot_split": "train", "num_fewshot": SHOTS}
        if name == "shots_fixed":
            task["fewshot_config"] = {"sampler": "first_n"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    text = workloads.long_text()
    size = -(-len(text) // TASKS["rolling"][1])
    pieces = [text[begin : begin + size] for begin in range(0, len(text), size)][: documents["rolling"]]
    (folder / "rolling.jsonl").write_text(_lines([{"text": piece} for piece in pieces]))
    rolling = {
        "task": "rolling",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "rolling.jsonl"}},
        "output_type": "loglikelihood_rolling",
        "test_split": "test",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "bits_per_byte"}],
    }
    (folder / "rolling.yaml").write_text(yaml.safe_dump(rolling))


def _questions(seed: str, count: int, context: int, answer: int) -> list[dict[str, Any]]:
    import random

    rng = random.Random(seed)
    found = []
    for number in range(count):
        text, right = workloads._excerpt(rng, context, answer)
        choices = [workloads._excerpt(rng, 1, answer)[1] for _ in range(workloads.CHOICES - 1)]
        choices.insert(number % workloads.CHOICES, right)
        found.append({"text": text, "choices": choices, "answer": number % workloads.CHOICES})
    return found


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def run(
    tool: str, task: str, folder: Path, options: argparse.Namespace, *extra: str
) -> tuple[dict[str, float], list[float]]:
    """Seconds from start to end of the command, on the clock and of the processor, and its log-likelihoods in order."""
    arguments = f"pretrained={options.model},dtype={options.precision},max_length={WINDOW}"
    program = {
        "nbhelpers": "from nbhelpers.lm_eval_command import main; main()",
        "hf": "from lm_eval.__main__ import cli_evaluate; cli_evaluate()",
    }[tool]
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "-c", program, "run", "--model", tool, "--tasks", task, "--include_path", "."]
        command += ["--model_args", arguments, "--device", options.device, "--output_path", results, "--log_samples"]
        begun, used = time.perf_counter(), processor_seconds()
        done = subprocess.run([*command, *extra], cwd=folder, capture_output=True, text=True)
        seconds = {"clock": time.perf_counter() - begun, "processor": processor_seconds() - used}
        if done.returncode:
            sys.exit(f"{tool} on {task} failed:\n{done.stderr[-3000:]}")
        (samples,) = Path(results).rglob(f"samples_{task}_*.jsonl")
        rows = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda row: row["doc_id"])
    found = [response[0] for row in rows for response in row["resps"]]
    return seconds, [float(one[0] if isinstance(one, list) else one) for one in found]


def processor_seconds() -> float:
    """Of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def best_batch(task: str, folder: Path, options: argparse.Namespace) -> int:
    """hf's fastest batch size on the first documents of a task."""
    limit = str(TASKS[task][2])
    sizes = BATCHES["cuda" if options.device.startswith("cuda") else "cpu"]
    times = {}
    for size in sizes:
        seconds, _ = run("hf", task, folder, options, "--batch_size", str(size), "--limit", limit)
        times[size] = seconds["clock"]
        print(f"  {task}: hf, batch {size}, {limit} documents: {times[size]:.1f} s", flush=True)
    return min(times, key=times.__getitem__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, help="of each task, instead of its own number")
    parser.add_argument("--batch", type=int, help="hf's batch size, instead of the fastest of a trial")
    parser.add_argument("--model", default=None, help="a folder or Hub id (default: the embedded model)")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path, default=HERE / "results-harness.json")
    options = parser.parse_args()
    options.model = options.model or str(embedded_folder())
    table: list[dict[str, Any]] = []
    results: runs.Results = {"runs": {}, "run_of": {}, "tasks": table}
    about = {"machine": machine("cuda" if options.device.startswith("cuda") else "cpu"), **runs.code_in_use()}
    about["machine"]["lm-eval"] = version("lm-eval")
    name = runs.begin(results, about, {"rounds": options.rounds, "tasks": options.tasks})
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
        write_tasks(folder, {name: options.documents or TASKS[name][1] for name in TASKS})
        for task in options.tasks:
            batch = options.batch or best_batch(task, folder, options)
            rounds, furthest = [], 0.0
            for number in range(options.rounds):
                theirs, expected = run("hf", task, folder, options, "--batch_size", str(batch))
                ours, got = run("nbhelpers", task, folder, options)
                rounds.append({"hf": theirs, "nbhelpers": ours})
                furthest = max(furthest, *(abs(a - b) for a, b in zip(got, expected, strict=True)))
                print(
                    f"  {task}, round {number + 1}: hf {theirs['clock']:.1f} s, nbhelpers {ours['clock']:.1f} s",
                    flush=True,
                )
            table.append({"task": task, "batch": batch, "rounds": rounds, "largest_difference": furthest})
            runs.write(options.results, results)
    results["runs"][name]["finished"] = True
    runs.write(options.results, results)
    print(f"Run {name}.\n\n{report(table)}")


def report(table: list[dict[str, Any]]) -> str:
    """A Markdown table of what was measured."""
    lines = [
        "| task | hf at its best | ours | times faster | target | by processor time | largest difference (nats) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in table:
        what, _, _, target = TASKS[row["task"]]
        clock, processor = (
            [one["hf"][kind] / one["nbhelpers"][kind] for one in row["rounds"]] for kind in ("clock", "processor")
        )
        seconds = {tool: median(one[tool]["clock"] for one in row["rounds"]) for tool in ("hf", "nbhelpers")}
        met = "" if target is None else f"{target:g} ({'met' if median(clock) >= target else '**missed**'})"
        lines.append(
            f"| {what} | batch {row['batch']}, {seconds['hf']:.1f} s | {seconds['nbhelpers']:.1f} s | "
            f"**{median(clock):.2f}** ({min(clock):.2f} to {max(clock):.2f}) | {met} | {median(processor):.2f} | "
            f"{row['largest_difference']:.1g} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
