"""Take a notebook apart: its cells, its prose without code, its headings and sections, what a cell runs and shows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from types import EllipsisType

from IPython.core.displayhook import DisplayHook
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

SKIP_TAGS = {"skip-execution", "nbval-skip"}
SILENT_CALLS = {"add", "append", "basicConfig", "close", "extend", "filterwarnings", "seed", "sort", "update"}
RUNS_LATER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)

HEADING = re.compile(r" {0,3}(#{1,6})\s+(.+?)(?:\s+#+)?\s*$")
FENCE = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})\s*(.*)$")
CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)")
NUMBERED = re.compile(r"\*\*\d+\.")  # a question or an exercise starts with **1., **2., ...
LINK_TARGET = re.compile(r"\]\(\s*<?([^)\s>]+)|\b(?:href|src)=[\"']([^\"']+)")

# A cell's number (from 1, counting cells of every kind) and something found in it, such as a line of its prose.
Line = tuple[int, str]


def cells_of(notebook: NotebookNode, kind: str) -> list[tuple[int, NotebookNode]]:
    """The cells of one kind ("code" or "markdown"), each with its number."""
    return [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == kind]


def tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def runs(cell: NotebookNode) -> bool:
    """Whether the kernel executes this code cell: it is neither empty nor skipped."""
    return bool(cell.source.strip()) and not tags(cell) >= SKIP_TAGS


def trees(notebook: NotebookNode) -> list[tuple[int, ast.Module]]:
    """Each code cell's number and syntax tree; cells that do not parse are left out."""
    parsed = []
    for number, cell in cells_of(notebook, "code"):
        with suppress(SyntaxError):
            parsed.append((number, ast.parse(TransformerManager().transform_cell(cell.source))))
    return parsed


def mime_types(cell: NotebookNode) -> set[str]:
    return {mime for output in cell.outputs for mime in output.get("data", {})}


def output_text(cell: NotebookNode) -> str:
    """All text among a cell's outputs."""
    streams = [output.get("text", "") for output in cell.outputs]
    data = [item for output in cell.outputs for item in output.get("data", {}).items()]
    return "\n".join(streams + [content for mime, content in data if mime.startswith("text/")])


def prose(source: str) -> list[str]:
    """The lines of a markdown cell, with the content of fenced code and of `code spans` blanked out."""
    lines, open_fence = [], ""
    for line in source.splitlines():
        fence = FENCE.match(line)
        if open_fence:
            lines.append("")
            if fence and fence[1].startswith(open_fence) and not fence[2]:
                open_fence = ""
        elif fence:
            lines.append(line)
            open_fence = fence[1]
        else:
            lines.append(CODE_SPAN.sub("``", line))
    return lines


def prose_lines(notebook: NotebookNode) -> list[Line]:
    return [(number, line) for number, cell in cells_of(notebook, "markdown") for line in prose(cell.source)]


def headings(notebook: NotebookNode) -> list[tuple[int, int, str]]:
    """Cell number, level and title of each heading."""
    matches = [(number, HEADING.match(line)) for number, line in prose_lines(notebook)]
    return [(number, len(match[1]), match[2]) for number, match in matches if match]


def level_two(notebook: NotebookNode) -> list[str]:
    return [title for _, level, title in headings(notebook) if level == 2]


def section(notebook: NotebookNode, title: str) -> list[Line]:
    """The lines from a level-2 heading up to the next one; a code cell counts as one blank line."""
    lines, inside = [], False
    for number, cell in enumerate(notebook.cells, 1):
        for line in prose(cell.source) if cell.cell_type == "markdown" else [""]:
            heading = HEADING.match(line)
            if heading and len(heading[1]) <= 2:
                inside = heading[2] == title
            if inside:
                lines.append((number, line))
    return lines


def numbered_parts(lines: list[Line]) -> list[list[Line]]:
    """Split a section at the lines that start with `**1.`, `**2.`, ..."""
    starts = [index for index, (_, line) in enumerate(lines) if NUMBERED.match(line)]
    return [lines[start:stop] for start, stop in pairwise([*starts, len(lines)])]


def running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The node and its descendants that execute with the cell: not the bodies of functions, classes and lambdas."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, RUNS_LATER):
            yield from running_nodes(child)


def ends_in_value(tree: ast.Module, code: str) -> bool:
    """Whether the last statement is an expression whose value Jupyter shows."""
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        return False
    value = tree.body[-1].value
    if isinstance(value, ast.Constant):
        return not isinstance(value.value, str | EllipsisType)
    called = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
    is_silent = called.startswith("get_ipython()") or called.split(".")[-1] in SILENT_CALLS
    return not (is_silent or DisplayHook.semicolon_at_end_of_expression(code))
