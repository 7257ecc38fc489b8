"""Which tools return true log-probabilities? Writes a table to stdout, and all findings to stderr.

`python benchmarks/who_passes.py [MODEL ...]`, in an environment that has nbhelpers, lm-eval and minicons. A tool that
is missing is left out and named. About a minute on one core; nothing is fetched.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from nbhelpers.conformance import ARCHITECTURES, PROPERTIES, Conformance, Finding, check_backend, write_model
from nbhelpers.conformance.backends import lm_eval_backend, nbhelpers_backend, transformers_backend

BATCH = 8


def minicons_backend(folder: Path) -> Callable:
    from minicons.scorer import IncrementalLMScorer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    scorer = IncrementalLMScorer(model, "cpu", tokenizer=AutoTokenizer.from_pretrained(folder))

    def score(pairs):
        totals = []
        for begin in range(0, len(pairs), BATCH):
            prompts, answers = map(list, zip(*pairs[begin : begin + BATCH], strict=True))
            totals += scorer.conditional_score(prompts, answers, separator="", reduction=lambda x: x.sum().item())
        return totals

    return score


TOOLS = {
    "nbhelpers, packed": lambda folder: nbhelpers_backend(folder, "packed"),
    "nbhelpers, plain": lambda folder: nbhelpers_backend(folder, "plain"),
    "transformers, the usual loop": transformers_backend,
    "the same in bfloat16": lambda folder: transformers_backend(folder, "bfloat16"),
    "lm-eval `hf`, as it comes": lm_eval_backend,
    "lm-eval `hf`, logits_cache=False": lambda folder: lm_eval_backend(folder, "hf", "logits_cache=False"),
    "minicons": minicons_backend,
}


def check(tool: str, folder: Path, architecture: str) -> Conformance | None:
    try:
        report = check_backend(TOOLS[tool](folder), architecture)
    except (ImportError, RuntimeError) as error:
        print(f"{tool}: not run on {architecture}: {error}", file=sys.stderr)
        return None
    print(f"{tool} on {report}\n", file=sys.stderr, flush=True)
    return report


def main() -> None:
    warnings.simplefilter("ignore")
    names = sys.argv[1:] or list(ARCHITECTURES)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: write_model(Path(scratch) / name, name) for name in names}
        reports = {tool: [check(tool, folder, name) for name, folder in folders.items()] for tool in TOOLS}
    done = {tool: [report for report in made if report is not None] for tool, made in reports.items()}
    print(f"| tool | {' | '.join(PROPERTIES)} |\n|{' --- |' * (len(PROPERTIES) + 1)}")
    for tool, made in done.items():
        if made:
            print(f"| {tool} | {' | '.join(cell([report[name] for report in made]) for name in PROPERTIES)} |")
    print("\n| tool | property | the smallest request | expected | got |\n| --- | --- | --- | --- | --- |")
    for tool, made in done.items():
        for name in PROPERTIES:
            failed = [(report.architecture, report[name]) for report in made if report[name].verdict == "fails"]
            if failed:
                print(f"| {tool} | {name} | {example(*min(failed, key=lambda pair: pair[1].request.tokens))} |")


def cell(findings: list[Finding]) -> str:
    """The largest error over the models; bold where the property fails on some."""
    failed = [finding for finding in findings if finding.verdict != "holds"]
    largest = max(finding.largest_error for finding in failed or findings)
    error = f"{largest:.0e}" if 0 < largest < 0.01 else f"{largest:.2g}"
    error = "no number" if math.isinf(largest) else error
    verdicts = " and ".join(sorted({finding.verdict for finding in failed}))
    on = "" if len(failed) in (0, len(findings)) else f" on {len(failed)} of {len(findings)}"
    return f"**{verdicts}**{on} ({error})" if failed else error


def example(architecture: str, finding: Finding) -> str:
    asked = [f"`{request}`" for request in (*finding.beside, finding.request)]
    shown = f"{asked[-1]} ({architecture})" + (f", asked together with {asked[0]}" if len(asked) == 2 else "")
    expected = "an error" if math.isnan(finding.expected) else f"{finding.expected:.3f}"
    return (
        f"{shown} | {expected} | {finding.got.rstrip(': ') if isinstance(finding.got, str) else f'{finding.got:.3f}'}"
    )


if __name__ == "__main__":
    main()
