"""Execute notebooks in place: fresh outputs, no needless diff, and nothing lost when a cell fails."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from run_notebooks import all_notebooks

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tools" / "run_notebooks.py"), *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture
def write(tmp_path):
    def write(*cells) -> Path:
        path = tmp_path / "page.ipynb"
        nbformat.write(new_notebook(cells=[*cells]), path)
        return path

    return write


@pytest.mark.kernel
def test_outputs_are_written_and_a_second_run_changes_no_byte(write):
    hub = new_code_cell("1 / 0", metadata={"tags": ["skip-execution", "nbval-skip"]})
    # Two prints with a pause between them arrive in two pieces, which must be stored as one.
    pieces = new_code_cell("import time\nprint('a', flush=True)\ntime.sleep(0.3)\nprint('b')\n6 * 7")
    # A kernel started without make must not let torch's threads spin either.
    path = write(pieces, hub, new_code_cell("import os\nos.environ['OMP_WAIT_POLICY']"))
    assert run(str(path)).returncode == 0
    once = path.read_bytes()
    first, skipped, policy = nbformat.read(path, as_version=4).cells
    assert [output.output_type for output in first.outputs] == ["stream", "execute_result"]
    assert first.outputs[0].text == "a\nb\n"
    assert first.execution_count == 1 and "execution" not in first.metadata
    assert skipped.outputs == [] and skipped.execution_count is None
    assert policy.outputs[0].data["text/plain"] == "'PASSIVE'"
    assert run(str(path)).returncode == 0
    assert path.read_bytes() == once


@pytest.mark.kernel
def test_a_failing_notebook_is_left_as_it_was(write):
    path = write(new_code_cell("print('fine')"), new_code_cell("1 / 0"))
    before = path.read_bytes()
    done = run(str(path))
    assert done.returncode == 1
    assert "was left as it was: a cell failed" in done.stderr and "ZeroDivisionError" in done.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("arguments", [[], ["--all", "page.ipynb"]])
def test_whether_all_or_some_are_meant_must_be_clear(arguments):
    done = run(*arguments)
    assert done.returncode == 2 and "give notebooks, or --all" in done.stderr


def test_all_notebooks_are_those_of_the_book_whatever_their_names(tmp_path):
    names = ["a b.ipynb", "c: d/$(e).ipynb", "_draft/two\nlines.ipynb", "build/-x.ipynb"]
    others = [".ipynb_checkpoints/a.ipynb", ".hidden/a/b.ipynb", "a.md", "../outside.ipynb"]
    for name in names + others:
        (tmp_path / "book" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "book" / name).touch()
    assert {path.relative_to(tmp_path / "book").as_posix() for path in all_notebooks(tmp_path)} == {*names}


def test_a_missing_notebook_is_named():
    done = run("nowhere.ipynb")
    assert (done.returncode, done.stderr.strip()) == (2, "there is no notebook nowhere.ipynb")
