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

Tokens = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class PrefixTree:
    """All distinct prefixes of some sequences, in the order of a depth-first walk.

    Attributes
    ----------
    tokens, depths, parents : int arrays [nodes]
        For each node its token, the number of tokens before it, and the node of the prefix that is one shorter
        (-1 for a beginning). A parent always comes before its children.
    ends : int array [sequences]
        For each sequence its last node, the one that stands for the whole of it.
    """

    tokens: np.ndarray
    depths: np.ndarray
    parents: np.ndarray
    ends: np.ndarray


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


def build_tree(sequences: Sequence[Tokens]) -> PrefixTree:
    """The tree of all distinct prefixes of `sequences`, none of them empty.

    In lexicographic order, sequences that begin alike are neighbours. Each adds to the tree what it does not share
    with the one before it, and the nodes come in the order of a depth-first walk.
    """
    sequences = [np.asarray(sequence, dtype=np.int32) for sequence in sequences]
    # Written with the most significant byte first, numbers sort like the bytes they are made of.
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].astype(">u4").tobytes())
    nothing = np.empty(0, dtype=np.int64)
    tokens, depths, parents = [nothing], [nothing], [nothing]
    ends = np.empty(len(sequences), dtype=np.int64)
    before, nodes, size = nothing, nothing, 0
    for i in order:
        sequence = sequences[i]
        shared = _common_prefix(before, sequence)
        new = np.arange(size, size + len(sequence) - shared)
        nodes = np.concatenate([nodes[:shared], new])
        tokens.append(sequence[shared:])
        depths.append(np.arange(shared, len(sequence)))
        parents.append(np.concatenate([[-1], nodes])[shared:-1])
        ends[i] = nodes[-1]
        before, size = sequence, size + len(new)
    return PrefixTree(np.concatenate(tokens), np.concatenate(depths), np.concatenate(parents), ends)


def last_nodes(tree: PrefixTree, node: int, count: int) -> np.ndarray:
    """The last `count` nodes on the way from the root to `node`, `node` included, from the root down."""
    found = np.empty(count, dtype=np.int64)
    for place in range(count - 1, -1, -1):
        found[place] = node
        node = tree.parents[node]
    return found


def cut_rows(tree: PrefixTree, row_length: int) -> Iterator[Row]:
    """Cut the walk into rows of at most `row_length` nodes."""
    for begin in range(0, len(tree.tokens), row_length):
        path = last_nodes(tree, tree.parents[begin], tree.depths[begin])
        yield Row(begin, min(begin + row_length, len(tree.tokens)), path)


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


def _common_prefix(one: np.ndarray, other: np.ndarray) -> int:
    length = min(len(one), len(other))
    differences = np.flatnonzero(one[:length] != other[:length])
    return int(differences[0]) if len(differences) else length
