"""Execute notebooks in place, so that their committed outputs are fresh; an unchanged result leaves no diff.

    python tools/run_notebooks.py book/perplexity/perplexity.ipynb ...
    python tools/run_notebooks.py --all                                    every notebook of the book

Each notebook runs in its own folder with a fresh kernel. Cells tagged `skip-execution` keep their outputs. A notebook
is written only after it ran to the end, so an error or Ctrl-C leaves the file unchanged.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def run(path: Path, timeout: int) -> NotebookNode:
    """The notebook with the outputs of a fresh kernel in its own folder; the file stays as it is."""
    # The kernel inherits it: torch's threads would otherwise spin while they wait, which slows a busy machine down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # output may arrive in any number of pieces
        skip_cells_with_tag="skip-execution",
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    return notebook


def execute(path: Path, timeout: int) -> None:
    """Run one notebook and write it back without anything that depends on the day or the machine."""
    notebook = run(path, timeout)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    nbformat.write(notebook, path)


def all_notebooks(root: Path) -> list[Path]:
    """Every notebook in `book`, drafts included, but for the copies that Jupyter keeps in hidden folders."""
    found = sorted((root / "book").rglob("*.ipynb"))
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="an .ipynb file")
    parser.add_argument("--all", action="store_true", help="every notebook of the book")
    parser.add_argument("--timeout", type=int, default=900, help="seconds one cell may take (default: 900)")
    arguments = parser.parse_args()
    if arguments.all == bool(arguments.notebooks):
        parser.error("give notebooks, or --all for every notebook of the book")
    notebooks = all_notebooks(ROOT) if arguments.all else arguments.notebooks
    for number, path in enumerate(notebooks, start=1):
        if not path.is_file():
            print(f"there is no notebook {path}", file=sys.stderr)
            return 2
        print(f"[{number}/{len(notebooks)}] {path} ...", flush=True)
        started = time.monotonic()
        try:
            execute(path, arguments.timeout)
        except CellExecutionError as error:
            print(f"{path} was left as it was: a cell failed.\n{error}", file=sys.stderr)
            return 1
        print(f"      done in {time.monotonic() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
