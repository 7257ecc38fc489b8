"""Keys and values of a path, kept where they are: blocks that are allocated once and written in place.

The caches of transformers grow by concatenation: with every row, each layer's keys and values move to a new block of a
new size. An allocator finds no use for the old ones, and memory grows with the number of rows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class PathLayer(DynamicLayer):
    """The keys and values of one layer, [1, heads, tokens, width]: views of blocks with room for `capacity` tokens."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.blocks: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write those of a row's tokens behind those of its path, and return both together."""
        both = key_states, value_states
        if not self.is_initialized:
            self.blocks = [states.new_empty(*states.shape[:2], self.capacity, states.shape[3]) for states in both]
            self.is_initialized = True
            self._show(0)
        begin = self.get_seq_length()
        end = begin + key_states.shape[2]
        for block, states in zip(self.blocks, both, strict=True):
            block[:, :, begin:end] = states
        self._show(end)
        return self.keys, self.values

    def keep(self, places: torch.Tensor) -> None:
        """Move the tokens at these places, in ascending order, to the front, and forget all others."""
        for block in self.blocks:
            block[:, :, : len(places)] = block[:, :, places.to(block.device)]
        self._show(len(places))

    def _show(self, end: int) -> None:
        self.keys, self.values = (block[:, :, :end] for block in self.blocks)


def path_cache(capacity: int) -> Cache:
    """An empty cache for a path and a row of `capacity` tokens together; its layers appear as the model asks."""
    return Cache(layer_class_to_replicate=partial(PathLayer, capacity))
