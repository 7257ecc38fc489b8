"""The command `nbhelpers-lm-eval`, and what is said where lm-evaluation-harness is missing."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from harness_runs import TASKS
from tiny_models import make_model, make_tokenizer

from nbhelpers.lm_eval_command import HELP, main, take_report, with_our_model

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install '.[lm-eval]'")
ROOT = Path(__file__).parents[2]
RUN = "from nbhelpers.lm_eval_command import main; main()"


def command(*arguments: str, code: str = RUN, cwd: Path = TASKS) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, env=environment
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model on disk."""
    target, tokenizer = tmp_path_factory.mktemp("small"), make_tokenizer()
    make_model("gpt2", len(tokenizer), context=512).save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


@pytest.mark.parametrize(
    "given, passed",
    [
        (["--tasks", "x"], ["run", "--model", "nbhelpers", "--tasks", "x"]),
        (["run", "--tasks", "x"], ["run", "--model", "nbhelpers", "--tasks", "x"]),
        (["--model", "hf", "--tasks", "x"], ["--model", "hf", "--tasks", "x"]),
        (["--model=hf", "--tasks", "x"], ["--model=hf", "--tasks", "x"]),
        (["-Mhf", "--tasks", "x"], ["-Mhf", "--tasks", "x"]),
        (["--config", "run.yaml"], ["--config", "run.yaml"]),  # the file may name a model
        (["ls", "tasks"], ["ls", "tasks"]),
        (["run", "--help"], ["run", "--help"]),
    ],
)
def test_our_model_is_the_default_of_a_run(given, passed):
    assert with_our_model(given) == passed


@pytest.mark.parametrize(
    "given, report, rest",
    [
        (["--tasks", "x", "--difference-report", "f", "-L", "2"], "f", ["--tasks", "x", "-L", "2"]),
        (["--difference-report=a,b=c.jsonl", "--tasks", "x"], "a,b=c.jsonl", ["--tasks", "x"]),
        (["--difference_report", "f"], "f", []),  # as lm-eval spells its options
        (["--tasks", "x"], None, ["--tasks", "x"]),
    ],
)
def test_our_own_option_is_taken_out(given, report, rest):
    assert take_report(given) == (report, rest)


@pytest.mark.parametrize(
    "given", [["--difference-report"], ["--difference-report="], ["--difference-report", "--tasks"]]
)
def test_a_report_without_a_name_is_an_error(given):
    with pytest.raises(SystemExit, match="--difference-report needs the name of a file"):
        main(given)


@pytest.mark.parametrize("given", [[], ["--help"], ["-h"]])
def test_help_is_ours(given, capsys):
    main(given)
    assert capsys.readouterr().out == HELP
    assert max(map(len, HELP.splitlines())) <= 120


def test_a_run_writes_results_samples_and_differences(folder, tmp_path):
    done = command(
        *("--tasks", "own_capitals", "own_replies", "--include_path", ".", "--num_fewshot", "2", "--limit", "3"),
        *("--model_args", f"pretrained={folder},dtype=float32", "--batch_size", "8"),
        *("--output_path", str(tmp_path / "results"), "--log_samples"),
        *("--difference-report", str(tmp_path / "differences.jsonl")),
    )
    assert done.returncode == 0, done.stderr
    assert "|own_capitals|" in done.stdout and "nbhelpers (" in done.stdout
    assert (tmp_path / "differences.jsonl").read_text() == ""
    assert "lm-eval cuts 0 of 12 requests differently" in done.stderr
    (samples,) = (tmp_path / "results").rglob("samples_own_capitals_*.jsonl")
    assert len(samples.read_text().splitlines()) == 3
    (results,) = (tmp_path / "results").rglob("results_*.json")
    config = json.loads(results.read_text())["config"]
    assert (config["model"], config["boundary"], config["model_dtype"]) == ("nbhelpers", "joint", "torch.float32")


def test_an_unknown_argument_ends_the_run_with_its_name(folder):
    done = command("--tasks", "own_texts", "--include_path", ".", "--model_args", f"pretrained={folder},dtyp=float32")
    assert done.returncode != 0 and "does not know the model argument dtyp" in done.stderr


MISSING = "import sys; sys.modules['lm_eval'] = None; "


def test_without_the_harness_the_command_says_what_to_install():
    done = command("--tasks", "x", code=MISSING + RUN)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "pip install 'lm-eval>=0.4.13'" in done.stderr and "pip install '.[lm-eval]'" in done.stderr
    done = command("--help", code=MISSING + RUN)
    assert done.returncode == 0 and done.stdout == HELP
    done = command(code=MISSING + "import nbhelpers.lm_eval_adapter")
    assert "ModuleNotFoundError: lm-evaluation-harness is not installed: pip install" in done.stderr


def test_the_package_does_not_import_the_harness():
    code = "import sys, nbhelpers, nbhelpers.lm_eval_command, nbhelpers.harness.replies; print(*sys.modules)"
    done = command(code=code)
    assert done.returncode == 0, done.stderr
    assert not {"lm_eval", "datasets", "torch", "transformers"} & set(done.stdout.split())


def test_the_names_in_pyproject_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    targets = [project["scripts"]["nbhelpers-lm-eval"], project["entry-points"]["lm_eval.models"]["nbhelpers"]]
    for target in targets:
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), target
