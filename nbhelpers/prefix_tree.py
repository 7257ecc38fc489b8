"""Pack many token sequences so that every distinct prefix is computed exactly once.

Sequences that begin alike share their beginning: four answers to one question, a hundred questions after the same
solved examples. Laid out as a tree with one node for each distinct prefix, nothing is left to compute twice. A
transformer can read such a tree in one go, if each token is told its depth (its position) and may look at its
ancestors only (an attention mask).

The tree is walked depth first and cut into *rows*, each for one forward pass. Where a row's tokens have ancestors in
earlier rows, the keys and values of these ancestors, its *path*, are kept from there. The walk makes this easy: the
ancestors of the next token are always among the last row's path and the last row itself, so one path is enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PrefixTree:
    """All distinct prefixes of some sequences, in the order of a depth-first walk.

    Attributes
    ----------
    tokens, depths, parents : int arrays [nodes]
        For each node its token, the number of tokens before it, and the node of the prefix that is one shorter
        (-1 for a beginning). A parent always comes before its children.
    nodes_of : list of int arrays
        For each sequence, the node of each of its prefixes.
    """

    tokens: np.ndarray
    depths: np.ndarray
    parents: np.ndarray
    nodes_of: list[np.ndarray]


@dataclass(frozen=True)
class Row:
    """One forward pass over the nodes `begin` to `end` (exclusive) of a tree.

    Attributes
    ----------
    begin, end : int
    path : int array
        The ancestors of node `begin`, from the root down: nodes of earlier rows whose keys and values are needed.
    """

    begin: int
    end: int
    path: np.ndarray


def build_tree(sequences: Sequence[Sequence[int]]) -> PrefixTree:
    """The tree of all distinct prefixes of `sequences`."""
    tokens, parents, children = [], [], []
    roots: dict[int, int] = {}
    found = []
    for sequence in sequences:
        node, siblings, nodes = -1, roots, []
        for token in sequence:
            child = siblings.get(token)
            if child is None:
                child = siblings[token] = len(tokens)
                tokens.append(token)
                parents.append(node)
                children.append({})
            node, siblings = child, children[child]
            nodes.append(node)
        found.append(nodes)
    walk = list(_depth_first(roots, children))
    place = np.empty(len(walk) + 1, dtype=np.int64)
    place[walk] = np.arange(len(walk))
    place[-1] = -1  # the parent of a beginning stays -1
    new_parents = place[np.array(parents, dtype=np.int64)[walk]] if walk else np.empty(0, dtype=np.int64)
    depths = np.zeros(len(walk), dtype=np.int64)
    for node, parent in enumerate(new_parents):
        if parent >= 0:
            depths[node] = depths[parent] + 1
    new_tokens = np.array(tokens, dtype=np.int64)[walk] if walk else np.empty(0, dtype=np.int64)
    return PrefixTree(new_tokens, depths, new_parents, [place[nodes] for nodes in found])


def cut_rows(tree: PrefixTree, row_length: int) -> Iterator[Row]:
    """Cut the walk into rows of at most `row_length` nodes."""
    for begin in range(0, len(tree.tokens), row_length):
        path, node = [], tree.parents[begin]
        while node >= 0:
            path.append(node)
            node = tree.parents[node]
        yield Row(begin, min(begin + row_length, len(tree.tokens)), np.array(path[::-1], dtype=np.int64))


def row_mask(tree: PrefixTree, row: Row) -> np.ndarray:
    """Which tokens each token of a row may look at: bool [nodes of the row, path + nodes of the row].

    A token sees itself, its ancestors in the row, and its ancestors on the path, which are the first so many of it.
    """
    above = len(row.path)
    mask = np.zeros((row.end - row.begin, above + row.end - row.begin), dtype=bool)
    for i, node in enumerate(range(row.begin, row.end)):
        parent = tree.parents[node]
        if parent >= row.begin:
            mask[i] = mask[parent - row.begin]
        else:
            mask[i, : tree.depths[node]] = True
        mask[i, above + i] = True
    return mask


def _depth_first(roots: dict[int, int], children: Sequence[dict[int, int]]) -> Iterator[int]:
    waiting = list(roots.values())[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += list(children[node].values())[::-1]
