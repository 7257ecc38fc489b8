"""Find loop variables that a notebook's cells use after their loop."""

from __future__ import annotations

import ast
from collections.abc import Iterator

OWN_SCOPE = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


class LoopVariables(ast.NodeVisitor):
    """Visit the cells in order; `left_over` holds the names whose last binding was a finished loop at top level."""

    def __init__(self) -> None:
        self.left_over: set[str] = set()
        self.found: list[str] = []

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self.visit(node.target)
        for statement in [*node.body, *node.orelse]:
            self.visit(statement)
        self.left_over |= set(_bound(node.target))

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._use(node.id)
        else:
            self.left_over.discard(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)  # Python computes the value first
        for target in node.targets:
            self.visit(target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            self._use(node.target.id)
        self.visit(node.target)

    def visit_alias(self, node: ast.alias) -> None:
        self.left_over.discard((node.asname or node.name).split(".")[0])

    def generic_visit(self, node: ast.AST) -> None:
        if not isinstance(node, OWN_SCOPE):
            super().generic_visit(node)
            return
        # What a function or a comprehension binds is its own; everything else it reads from the cells.
        own = {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)} | set(_bound(node))
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and part.id not in own:
                self._use(part.id)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self.left_over.discard(node.name)

    def _use(self, name: str) -> None:
        if name in self.left_over:
            self.found.append(name)


def _bound(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))


def used_after_loop(cells: list[ast.Module]) -> list[list[str]]:
    """For each cell, in the order in which they run, the names that it uses after the loop that bound them."""
    visitor = LoopVariables()
    found = []
    for tree in cells:
        visitor.found = []
        visitor.visit(tree)
        found.append(sorted(set(visitor.found)))
    return found
