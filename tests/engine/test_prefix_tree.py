"""The packing, checked against its definition: every distinct prefix once, every token sees exactly its ancestors."""

import random

import numpy as np
import pytest

from nbhelpers.engine.prefix_tree import build_tree, chunk_mask, cut_chunks, last_nodes

SEQUENCES = [
    [1, 2, 3, 4],
    [1, 2, 3, 5],  # shares three tokens with the first
    [1, 2],  # a prefix of others
    [1, 2, 3, 4],  # a duplicate
    [7],  # shares nothing
    [2, 3, 4],  # the same tokens elsewhere are other prefixes
]


def random_sequences(seed: int) -> list[list[int]]:
    """Few different tokens, so that sequences often begin alike; lengths from 1 to 30."""
    rng = random.Random(seed)
    sequences = [[rng.randrange(3) for _ in range(rng.randrange(1, 31))] for _ in range(12)]
    return [*sequences, *([*s[: rng.randrange(1, len(s) + 1)], rng.randrange(9)] for s in sequences)]


def ancestors(tree, node: int) -> list[int]:
    chain = []
    while node >= 0:
        chain.append(node)
        node = int(tree.parents[node])
    return chain[::-1]


CASES = [SEQUENCES, *map(random_sequences, range(20))]


@pytest.mark.parametrize("sequences", CASES)
def test_there_is_one_node_for_each_distinct_prefix(sequences):
    tree = build_tree(sequences)
    prefixes = {tuple(s[: i + 1]) for s in sequences for i in range(len(s))}
    assert len(tree.tokens) == len(prefixes)
    assert {tuple(tree.tokens[ancestors(tree, node)]) for node in range(len(tree.tokens))} == prefixes


@pytest.mark.parametrize("sequences", CASES)
def test_each_sequence_finds_its_prefixes(sequences):
    tree = build_tree(sequences)
    for sequence, end in zip(sequences, tree.ends, strict=True):
        nodes = last_nodes(tree, end, len(sequence))
        assert list(nodes) == ancestors(tree, end)
        assert list(tree.tokens[nodes]) == sequence
        assert list(tree.depths[nodes]) == list(range(len(sequence)))
        assert list(last_nodes(tree, end, 1)) == [end]


@pytest.mark.parametrize("sequences", CASES)
def test_the_walk_leaves_a_node_after_its_last_descendant(sequences):
    tree = build_tree(sequences)
    for node, left in enumerate(tree.exits):
        assert list(range(node, left)) == [other for other in range(len(tree.tokens)) if node in ancestors(tree, other)]


def test_token_numbers_of_more_than_a_byte_keep_siblings_together():
    """Sorted by their bytes in the wrong order, 256 would come before 1 and [1, 2] would part from [1, 3]."""
    tree = build_tree([[1, 2], [256, 4], [1, 3], [70_000], [1, 2, 300]])
    assert len(tree.tokens) == 7
    assert list(tree.parents) == [-1, 0, 1, 0, -1, 4, -1]


@pytest.mark.parametrize("sequences", CASES)
@pytest.mark.parametrize("length", [1, 2, 3, 7, 1000])
def test_every_token_sees_itself_and_its_ancestors_and_nothing_else(sequences, length):
    tree = build_tree(sequences)
    computed = []
    kept: set[int] = set()
    for chunk in cut_chunks(tree, length):
        assert chunk.end - chunk.begin <= length
        assert set(chunk.path) <= kept, "the path comes from the last chunk and its path"
        nodes = np.arange(chunk.begin, chunk.end)
        columns = np.concatenate([chunk.path, nodes])
        mask = chunk_mask(nodes, columns, tree.exits[columns])
        for row, node in zip(mask, nodes, strict=True):
            assert list(columns[row]) == ancestors(tree, node)
        computed += range(chunk.begin, chunk.end)
        kept = set(columns)
    assert computed == list(range(len(tree.tokens)))


def test_nothing_makes_an_empty_tree():
    tree = build_tree([])
    assert len(tree.tokens) == 0 and list(cut_chunks(tree, 5)) == []
