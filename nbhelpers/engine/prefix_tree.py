"""Pack many token sequences so that every distinct prefix is computed exactly once.

Sequences that begin alike share their beginning: four answers to one question, a hundred questions after the same
solved examples. Laid out as a tree with one node for each distinct prefix, nothing is left to compute twice. A
transformer can read such a tree in one go, if each token is told its depth (its position) and may look at its
ancestors only (an attention mask).

The tree is walked depth first and cut into *chunks*, each for one forward pass. Where a chunk's tokens have ancestors
in earlier chunks, the keys and values of these ancestors, its *path*, are kept from there. The walk makes this easy:
the ancestors of the next token are always among the last chunk's path and the last chunk itself, so one path is enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

Tokens = Sequence[int] | np.ndarray
Array = TypeVar("Array")  # of NumPy or of torch, on any device


@dataclass(frozen=True)
class PrefixTree:
    """All distinct prefixes of some sequences, in the order of a depth-first walk.

    Attributes
    ----------
    tokens, depths, parents : int arrays [nodes]
        For each node its token, the number of tokens before it, and the node of the prefix that is one shorter
        (-1 for a root). A parent always comes before its children.
    exits : int array [nodes]
        The first node after each node's descendants. The walk enters a node at its own number and leaves it there.
    ends : int array [sequences]
        For each sequence its last node, which stands for the whole sequence.
    """

    tokens: np.ndarray
    depths: np.ndarray
    parents: np.ndarray
    exits: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class Chunk:
    """One forward pass over the nodes `begin` to `end` (exclusive) of a tree.

    Attributes
    ----------
    begin, end : int
    path : int array
        The ancestors of node `begin`, from the root down: nodes of earlier chunks whose keys and values are needed.
    next_path : int array
        The path of the following chunk; empty after the last one.
    """

    begin: int
    end: int
    path: np.ndarray
    next_path: np.ndarray


def build_tree(sequences: Sequence[Tokens]) -> PrefixTree:
    """The tree of all distinct prefixes of `sequences`, none of them empty.

    In lexicographic order, sequences that begin alike are neighbours. Each adds the part it does not share with the one
    before it, so the nodes come in the order of a depth-first walk.
    """
    rows = [np.asarray(sequence, dtype=np.int32) for sequence in sequences]
    # Big-endian bytes sort like the numbers they encode.
    order = sorted(range(len(rows)), key=lambda i: rows[i].astype(">u4").tobytes())
    shared = [0, *(common_prefix(rows[a], rows[b]) for a, b in pairwise(order))][: len(order)]
    size = sum(map(len, rows)) - sum(shared)
    tokens, depths, exits = np.empty((3, size), dtype=np.int64)
    parents = np.arange(-1, size - 1)  # the node before, but for the first node of a branch
    ends = np.empty(len(rows), dtype=np.int64)
    branch = np.empty(max(map(len, rows), default=0), dtype=np.int64)  # the nodes from the root down to the last one
    entered = depth = 0
    for i, kept in zip(order, shared, strict=True):
        row, length = rows[i], len(rows[i])
        exits[branch[kept:depth]] = entered
        if kept < length:
            new = slice(entered, entered + length - kept)
            tokens[new], depths[new] = row[kept:], np.arange(kept, length)
            parents[entered] = branch[kept - 1] if kept else -1
            branch[kept:length] = np.arange(new.start, new.stop)
            entered = new.stop
        ends[i], depth = branch[length - 1], length
    exits[branch[:depth]] = entered
    return PrefixTree(tokens, depths, parents, exits, ends)


def last_nodes(tree: PrefixTree, node: int, count: int) -> np.ndarray:
    """The last `count` nodes on the way from the root to `node`, `node` included, from the root down."""
    found = np.empty(count, dtype=np.int64)
    for i in range(count - 1, -1, -1):
        found[i] = node
        node = tree.parents[node]
    return found


def cut_chunks(tree: PrefixTree, length: int) -> Iterator[Chunk]:
    """Cut the walk into chunks of at most `length` nodes."""
    nodes = len(tree.tokens)
    path = nothing = np.empty(0, dtype=np.int64)
    for begin in range(0, nodes, length):
        end = min(begin + length, nodes)
        next_path = last_nodes(tree, tree.parents[end], tree.depths[end]) if end < nodes else nothing
        yield Chunk(begin, end, path, next_path)
        path = next_path


def chunk_mask(nodes: Array, seen: Array, exits: Array) -> Array:
    """Which tokens each token of a chunk may look at: bool (nodes of the chunk, path + nodes of the chunk).

    `nodes` are those of the chunk, `seen` those of its path and its own, and `exits` the exits of `seen`. A token looks
    at itself and its ancestors: the nodes that the walk has entered by then and not left yet.
    """
    mask = seen <= nodes[:, None]
    mask &= nodes[:, None] < exits
    return mask


def common_prefix(one: np.ndarray, other: np.ndarray) -> int:
    """How many tokens two rows have in common at their beginning."""
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    return int(differs.argmax()) if differs.any() else length
