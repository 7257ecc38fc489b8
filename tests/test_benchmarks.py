"""What the benchmark names in strings exists, so that a renamed function does not end a run of hours."""

import ast
import math
from pathlib import Path

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
