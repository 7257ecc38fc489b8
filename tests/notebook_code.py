"""The book's notebooks, and the functions they define, so that tests can check them."""

import ast
import json
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
# Relative to the repository, in POSIX form; hidden folders hold Jupyter's checkpoints.
NOTEBOOKS = sorted(path.relative_to(ROOT).as_posix() for path in BOOK.rglob("*.ipynb") if path.parent.name[0] != ".")


def definitions(page: str) -> SimpleNamespace:
    """Everything a notebook's cells import and the functions they define, without running the rest."""
    cells = json.loads((BOOK / page).read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    kept = [
        node
        for source in sources
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef | ast.Import | ast.ImportFrom)
    ]
    names: dict = {}
    exec(compile(ast.Module(kept, []), page, "exec"), names)
    return SimpleNamespace(**names)
