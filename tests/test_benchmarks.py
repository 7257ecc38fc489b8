"""What the benchmark names in strings exists, so that a renamed function does not end a run of hours."""

import ast
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from nbhelpers.embedded import embedded_folder

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import bench

    return bench


def test_every_function_of_the_profile_is_one_of_the_package(bench):
    trees = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "nbhelpers").rglob("*.py")]
    functions = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    named = {name for parts in bench.PARTS.values() for name in parts}
    assert named and named <= functions


@pytest.mark.embedded
def test_our_tools_run_and_the_report_counts_tokens(bench):
    """They import from inside the engine, which the rest of the package does not."""
    import report
    import worker

    for tool in ("nbhelpers", "floor"):
        run = worker.TOOLS[tool](str(embedded_folder()), "float32", "cpu")
        assert all(math.isfinite(total) and total < 0 for total in run({"workload": "D", "size": 1}))
    assert "| A | 400 |" in report.sizes()


def test_the_tasks_of_the_harness_s_benchmark_are_written_and_its_report_counts_rounds(bench, tmp_path):
    import harness
    import yaml

    harness.write_tasks(tmp_path, dict.fromkeys(harness.TASKS, 3))
    for name in harness.TASKS:
        task = yaml.safe_load((tmp_path / f"{name}.yaml").read_text())
        assert task["task"] == name
        for file in task["dataset_kwargs"]["data_files"].values():
            assert (tmp_path / file).read_text().count("\n") >= 3, file
    rounds = [{"hf": {"clock": hf, "processor": hf}, "nbhelpers": {"clock": 10, "processor": 5}} for hf in (20, 30, 90)]
    table = harness.report([{"task": "zero_shot", "batch": 8, "rounds": rounds, "largest_difference": 0.0003}])
    assert "| batch 8, 30.0 s | 10.0 s | **3.00** (2.00 to 9.00) | 1.5 (met) | 6.00 | 0.0003 |" in table


def test_the_report_of_scoring_through_vllm(bench):
    import through_vllm
    import workloads

    counts = through_vllm.count_tokens(
        SimpleNamespace(tokenizer=lambda text: {"input_ids": list(text)}), [("ab", "c"), ("ab", "d")]
    )
    assert counts == {"all": 6, "distinct": 4}
    assert len(workloads.shared_examples(20)) == 80
    form = {name: {"clock": 1.0, "processor": 0.5, "bytes": 2000} for name in through_vllm.FORMS}
    rounds = [
        {
            "vllm": {"clock": theirs, "processor": 2 * theirs},
            "nbhelpers": {"clock": 5, "processor": 10},
            "largest_difference": 0.0002,
            "forms": form,
        }
        for theirs in (100, 50, 200)
    ]
    table = through_vllm.report({"requests": 80, "tokens": {"all": 40000, "distinct": 3000}, "rounds": rounds})
    assert "| 80 | 40,000 | 3,000 | 100.0 s | 5.0 s | **20.0** (10.0 to 40.0) | 20.0 | 0.0002 nats |" in table
    assert table.count("| 2 | 0.50 | 1.00 s |") == len(through_vllm.FORMS)
