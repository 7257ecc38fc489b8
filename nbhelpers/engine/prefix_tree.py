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

import numpy as np

Tokens = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class PrefixTree:
    """All distinct prefixes of some sequences, in the order of a depth-first walk.

    Attributes
    ----------
    tokens, depths, parents : int arrays [nodes]
        For each node its token, the number of tokens before it, and the node of the prefix that is one shorter
        (-1 for a root). A parent always comes before its children.
    ends : int array [sequences]
        For each sequence its last node, which stands for the whole sequence.
    """

    tokens: np.ndarray
    depths: np.ndarray
    parents: np.ndarray
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
    sequences = [np.asarray(sequence, dtype=np.int32) for sequence in sequences]
    # Big-endian bytes sort like the numbers they encode.
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


def chunk_mask(tree: PrefixTree, chunk: Chunk) -> np.ndarray:
    """Which tokens each token of a chunk may look at: bool (nodes of the chunk, path + nodes of the chunk).

    A token sees itself, its ancestors in the chunk, and its ancestors on the path, which are the path's first ones.
    """
    above = len(chunk.path)
    mask = np.zeros((chunk.end - chunk.begin, above + chunk.end - chunk.begin), dtype=bool)
    for i, node in enumerate(range(chunk.begin, chunk.end)):
        parent = tree.parents[node]
        if parent >= chunk.begin:
            mask[i] = mask[parent - chunk.begin]
        else:
            mask[i, : tree.depths[node]] = True
        mask[i, above + i] = True
    return mask


def _common_prefix(one: np.ndarray, other: np.ndarray) -> int:
    length = min(len(one), len(other))
    differences = np.flatnonzero(one[:length] != other[:length])
    return int(differences[0]) if len(differences) else length
