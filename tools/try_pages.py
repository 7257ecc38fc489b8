"""Run pages on another device, and say which passed, how long each took, and which printed lines differ.

    NBHELPERS_DEVICE=cuda python tools/try_pages.py [book/perplexity/perplexity.ipynb ...]

Nothing is written to the notebooks, and a line that differs is no failure: the committed outputs are those of a CPU. A
page fails if one of its cells does. Without names, all pages are run.
"""

import argparse
import difflib
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from run_notebooks import run
from toc import public_pages

ROOT = Path(__file__).parents[1]


def printed(notebook: NotebookNode) -> list[str]:
    """Every line that a page prints, and the text of what it displays."""
    lines = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            lines += (output.get("text") or output.get("data", {}).get("text/plain", "")).splitlines()
    return lines


def differences(before: list[str], after: list[str]) -> list[str]:
    lines = list(difflib.unified_diff(before, after, lineterm="", n=0))[2:]  # without the names of the two files
    return [line for line in lines if not line.startswith("@@")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="an .ipynb file")
    parser.add_argument("--timeout", type=int, default=900, help="seconds one cell may take (default: 900)")
    arguments = parser.parse_args()
    pages = arguments.notebooks or [ROOT / page for page in public_pages(ROOT) if page.suffix == ".ipynb"]
    if missing := [str(path) for path in pages if not path.is_file()]:
        parser.error(f"there is no notebook {', '.join(missing)}")
    device = os.environ.get("NBHELPERS_DEVICE", "auto")
    failed = 0
    for path in pages:
        committed = nbformat.read(path, as_version=4)
        started = time.monotonic()
        try:
            found = run(path, arguments.timeout)
        except CellExecutionError as error:
            failed += 1
            print(f"{path.name} on {device}: FAILED after {time.monotonic() - started:.0f} s\n{error}", flush=True)
            continue
        changed = differences(printed(committed), printed(found))
        print(f"{path.name} on {device}: passed in {time.monotonic() - started:.0f} s, {len(changed)} lines differ")
        print("\n".join(f"    {line}" for line in changed), flush=True)
    print(f"{len(pages) - failed} of {len(pages)} pages passed on {device}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
