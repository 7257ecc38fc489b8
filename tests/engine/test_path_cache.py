"""The cache whose blocks stay where they are, held to what concatenation and picking would give."""

import torch

from nbhelpers.engine.path_cache import PathCache


def states(tokens, seed):
    """Keys and values [1, heads, tokens, width] of some tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 2, tokens, 4, generator=generator) for _ in range(2)]


def test_a_row_is_seen_whole_and_the_next_path_kept_in_place():
    cache, layers = PathCache(capacity=6), range(2)
    first, second, third = ({n: states(tokens, 10 * tokens + n) for n in layers} for tokens in (5, 7, 3))
    path, next_path = torch.tensor([0, 1, 4]), torch.tensor([0, 1, 3, 5, 6, 9])

    cache.next_path = path
    for n in layers:
        keys, values = cache.update(*first[n], n)
        assert torch.equal(keys, first[n][0]) and torch.equal(values, first[n][1])
    assert cache.get_seq_length() == 3
    blocks = [block.data_ptr() for layer in cache.layers for block in layer.blocks]

    cache.next_path = next_path
    seen = {n: [torch.cat([a[:, :, path], b], 2) for a, b in zip(first[n], second[n], strict=True)] for n in layers}
    for n in layers:
        keys, values = cache.update(*second[n], n)
        assert torch.equal(keys, seen[n][0]) and torch.equal(values, seen[n][1])
    assert cache.get_seq_length() == 6

    cache.next_path = path[:0]  # the row after begins at the root
    for n in layers:
        keys, values = cache.update(*third[n], n)
        assert torch.equal(keys, torch.cat([seen[n][0][:, :, next_path], third[n][0]], 2))
        assert torch.equal(values, torch.cat([seen[n][1][:, :, next_path], third[n][1]], 2))
    assert cache.get_seq_length() == 0
    assert [block.data_ptr() for layer in cache.layers for block in layer.blocks] == blocks  # nothing moved
