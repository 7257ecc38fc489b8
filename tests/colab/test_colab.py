"""Every page as Colab runs it: the published copy, from its set-up cell on, with the packages Colab provides.

The simulation has what this book relies on in Colab: preinstalled packages (preinstalled.txt, in the tested versions),
`google.colab` imported before the first cell, an empty working folder, and a repository to clone. It differs from Colab
in that it has no GPU, may find the embedded model in the cache, and has the tested versions instead of today's.

By default one page runs; with NBHELPERS_TEST_COLAB=all, or `make colab`, all do.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from datetime import datetime
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from nbclient import NotebookClient
from nbformat import NotebookNode
from notebook_code import NOTEBOOKS, ROOT
from publish import write_copies

PREINSTALLED = Path(__file__).with_name("preinstalled.txt")
CONSTRAINTS = ROOT / "constraints.txt"
ENVIRONMENT = ROOT / "_build" / "colab" / "environment"
CHOICES = {"": ["book/evals_benchmarks.ipynb"], "all": NOTEBOOKS}
START_KERNEL = "import google.colab; from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"

pytestmark = pytest.mark.colab


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def site_packages(environment: Path) -> Path:
    (folder,) = environment.glob("lib/python*/site-packages")
    return folder


def installed(folder: Path) -> dict[str, str]:
    """Names and versions of the packages in a folder."""
    names = sorted(path.name.removesuffix(".dist-info") for path in folder.glob("*.dist-info"))
    return dict(name.rsplit("-", 1) for name in names)


@pytest.fixture(scope="session")
def colab() -> Path:
    """What Colab provides, kept until the list or the versions change; an interrupted install leaves no stamp."""
    content = PREINSTALLED.read_bytes() + CONSTRAINTS.read_bytes() + sys.version.encode()
    expected = hashlib.sha256(content).hexdigest()
    stamp = ENVIRONMENT / "made-from.sha256"
    ENVIRONMENT.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(ENVIRONMENT.with_name("lock")):
        if not stamp.exists() or stamp.read_text() != expected:
            shutil.rmtree(ENVIRONMENT, ignore_errors=True)
            run(sys.executable, "-m", "venv", ENVIRONMENT)
            run(ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "-q", "-c", CONSTRAINTS, "-r", PREINSTALLED)
            stamp.write_text(expected)
    return ENVIRONMENT


@pytest.fixture
def machine(colab, tmp_path) -> Path:
    """A fresh environment on top of Colab's: pip sees both, and installs into the fresh one."""
    fresh = tmp_path / "machine"
    run(sys.executable, "-m", "venv", "--without-pip", fresh)
    (site_packages(fresh) / "colab.pth").write_text(f"{site_packages(colab)}\n")
    stand_in = site_packages(fresh) / "google" / "colab" / "__init__.py"
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text("")
    return fresh


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Path:
    """A repository whose branch `colab` holds the copies, which contain the repository's address."""
    folder = tmp_path_factory.mktemp("published")
    write_copies(f"file://{folder}", "https://example.org/book", folder, ROOT)
    run("git", "init", "-q", "-b", "colab", cwd=folder)
    run("git", "add", ".", cwd=folder)
    run("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-q", "-m", "Copies", cwd=folder)
    return folder


def torch_of(machine: Path) -> str:
    code = "from importlib.metadata import distribution as d; print(d('torch').version, d('torch').locate_file(''))"
    return run(machine / "bin" / "python", "-c", code)


def seconds(cell: NotebookNode) -> float:
    times = cell.metadata.execution
    begin, end = (datetime.fromisoformat(times[name]) for name in ("iopub.execute_input", "iopub.status.idle"))
    return (end - begin).total_seconds()


def shown(cell: NotebookNode) -> list[str]:
    """What the cell printed, and the text form of what it displayed, without progress bars."""
    printed = [output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout"]
    displayed = [output.data for output in cell.outputs if "data" in output]
    is_bar = "application/vnd.jupyter.widget-view+json"
    return printed + [data["text/plain"] for data in displayed if is_bar not in data]


@pytest.mark.parametrize("page", CHOICES[os.environ.get("NBHELPERS_TEST_COLAB", "")])
def test_the_page_runs_as_on_colab(page, published, machine, tmp_path, monkeypatch, capsys):
    assert "gguf" not in installed(site_packages(ENVIRONMENT)), "the page must have something to install"
    torch = torch_of(machine)
    kernel = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    argv = [str(machine / "bin" / "python"), "-c", START_KERNEL, "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": argv, "display_name": "Colab", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PATH", f"{machine / 'bin'}:{os.environ['PATH']}")
    # The first two point to this environment, which has every package; the third makes ipykernel hide subprocesses.
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)
    content = tmp_path / "content"
    content.mkdir()

    notebook = nbformat.read(published / page, as_version=4)
    first = next(index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    notebook.cells.insert(first + 1, deepcopy(notebook.cells[first]))
    notebook.cells[first + 1].id = "again"
    client = NotebookClient(
        notebook,
        timeout=900,
        record_timing=True,
        coalesce_streams=True,
        skip_cells_with_tag="skip-execution",
        resources={"metadata": {"path": str(content)}},
    )
    client.execute()

    again = notebook.cells.pop(first + 1)
    setup = notebook.cells[first]
    extras = installed(site_packages(machine))
    (device,) = shown(setup)
    with capsys.disabled():
        added = ", ".join(f"{name} {version}" for name, version in extras.items())
        print(f"\n{page}: set up in {seconds(setup):.0f} s, {device.strip()}; installed {added}")
        print(f"torch before {torch.strip()}, after {torch_of(machine).strip()}")
    assert again.outputs == []
    assert torch_of(machine) == torch
    assert "nbhelpers" in extras
    assert [path.name for path in content.iterdir()] == ["elm"]
    committed = nbformat.read(ROOT / page, as_version=4)
    pairs = zip(committed.cells, notebook.cells, strict=True)
    compared = [(shown(old), shown(new)) for old, new in pairs if old.cell_type == "code" and new is not setup]
    assert [new for _, new in compared] == [old for old, _ in compared]
    assert any(old for old, _ in compared), "a comparison of nothing must not pass"
