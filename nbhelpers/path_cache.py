"""Keys and values of a path, and of no other token, in blocks that are allocated once and written in place.

The caches of transformers keep all that they have seen, and grow by concatenation. A tree needs less: when a row has
been read, only those of its tokens count that are ancestors of the next row, and these are known beforehand. So each
layer keeps them as soon as it has seen the row. Blocks that stay where they are keep an allocator from leaving holes,
with which memory would grow from row to row.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class PathLayer(DynamicLayer):
    """The keys and values of one layer, [1, heads, path, width]: views of blocks with room for `capacity` tokens."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.blocks: list[torch.Tensor] = []

    def keep(self, places: torch.Tensor) -> None:
        """Of the tokens that the layer has just seen, path and row, keep those at these places."""
        both = self.keys, self.values
        if not self.blocks:
            self.blocks = [states.new_empty(*states.shape[:2], self.capacity, states.shape[3]) for states in both]
        for block, states in zip(self.blocks, both, strict=True):
            block[:, :, : len(places)] = states[:, :, places.to(states.device)]
        self.keys, self.values = (block[:, :, : len(places)] for block in self.blocks)


class PathCache(Cache):
    """A cache for paths of up to `capacity` tokens; its layers appear as the model asks.

    Before each forward pass, `next_path` is to be set: the places, in the path and row together, of the tokens that
    are the path of the row after.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(layer_class_to_replicate=partial(PathLayer, capacity))
        self.next_path = torch.empty(0, dtype=torch.long)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of path and row together; of these, the layer keeps the next path's."""
        both = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        self.layers[layer_idx].keep(self.next_path)
        return both
