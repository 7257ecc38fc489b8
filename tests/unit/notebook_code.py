"""The functions that a page of the book defines, for tests to hold to account."""

import ast
import json
from pathlib import Path
from types import SimpleNamespace

BOOK = Path(__file__).parents[2] / "book"


def definitions(page: str) -> SimpleNamespace:
    """Everything that a notebook's cells import, and the functions that they define, without running the rest."""
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
