"""The cache whose blocks stay where they are, held to what concatenation and picking would give."""

import torch

from nbhelpers.path_cache import path_cache


def states(tokens, seed):
    """Keys and values [1, heads, tokens, width] of some tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 2, tokens, 4, generator=generator) for _ in range(2)]


def test_rows_are_appended_and_ancestors_kept_in_place():
    cache, layers = path_cache(capacity=12), range(2)
    first, second = {n: states(5, n) for n in layers}, {n: states(7, 10 + n) for n in layers}
    for n in layers:
        keys, values = cache.update(*first[n], n)
        assert torch.equal(keys, first[n][0]) and torch.equal(values, first[n][1])
    blocks = [block.data_ptr() for layer in cache.layers for block in layer.blocks]
    path = torch.tensor([0, 1, 4])
    for layer in cache.layers:
        layer.keep(path)
    assert cache.get_seq_length() == 3
    for n in layers:
        keys, values = cache.update(*second[n], n)
        assert torch.equal(keys, torch.cat([first[n][0][:, :, path], second[n][0]], 2))
        assert torch.equal(values, torch.cat([first[n][1][:, :, path], second[n][1]], 2))
    for layer in cache.layers:
        layer.keep(torch.tensor([], dtype=torch.long))  # the next row begins at the root
    assert cache.get_seq_length() == 0
    assert [block.data_ptr() for layer in cache.layers for block in layer.blocks] == blocks  # nothing moved
