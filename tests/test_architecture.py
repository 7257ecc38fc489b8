"""The package keeps to the layers in pyproject.toml, and what they promise is true of the code."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nbhelpers"
LONGEST = 350  # lines of a module


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_every_module_imports_only_from_the_layers_below():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "module, planted, contract",
    [
        ("tokens", "from .scoring import score_answers", "only from the layers below it"),
        ("models", "from .engine import score_requests", "only from the layers below it"),
        ("engine/head", "from ..tokens import own_prefix", "only from the layers below it"),
        ("engine/plain", "from .run import score_requests", "A module of the engine"),
        ("engine/memory", "from ..embedded import cache_folder", "The engine imports nothing but"),
        ("scoring", "from .engine.path_cache import PathCache", "The rest of the package enters the engine"),
        ("engine/run", "from .subtrees import whole_subtrees", "A module of the engine"),
        ("runs", "from .tokens import own_prefix", "only from the layers below it"),
        ("stored", "from .runs import open_run", "only from the layers below it"),
        ("servers/endpoint", "from .transport import send", "A module of servers"),
        ("servers/transport", "from ..models import load_model", "Servers import nothing but"),
        ("servers/prompt_logprobs", "from ..boundary import pair", "Servers import nothing but"),
        ("served", "from .scoring import score_answers", "only from the layers below it"),
        ("statistics/checks", "from .intervals import Interval", "A module of statistics"),
        ("statistics/ratings", "from ..units import perplexity_of", "Statistics imports nothing but"),
        ("sandbox/isolation", "from .running import run_program", "A module of sandbox"),
        ("sandbox/plain_data", "from ..warn import warn_caller", "only from the layers below it"),
        ("conformance/forward", "from .truth import expected", "A module of conformance"),
        ("conformance/truth", "from ..scoring import score_answers", "The numbers of conformance"),
        ("harness/options", "from .replies import write_replies", "A module of harness"),
        ("harness/differences", "from ..statistics import Interval", "The harness imports nothing but"),
        ("generation", "from .lm_eval_adapter import HarnessLM", "only from the layers below it"),
        ("checking/plain", "from .numbers import extract_number", "A module of checking"),
        ("checking/overlap", "from ..models import load_model", "Checking imports nothing but"),
    ],
)
def test_an_upward_import_is_noticed(tmp_path, module, planted, contract):
    shutil.copytree(PACKAGE, tmp_path / "nbhelpers", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "nbhelpers" / f"{module}.py").open("a") as file:
        file.write(f"\n\ndef planted():\n    {planted}\n")  # inside a function: that counts as well
    done = lint_imports(tmp_path)
    broken = done.stdout.partition("Broken contracts")[2]
    assert done.returncode == 1 and contract in broken, done.stdout


def test_the_engine_never_touches_a_tokenizer():
    for path in (PACKAGE / "engine").glob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert "tokenizer" not in names, path


def test_no_module_is_too_long():
    lengths = {path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in PACKAGE.rglob("*.py")}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}
