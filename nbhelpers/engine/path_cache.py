"""Keys and values of one path through the tree, in blocks that are allocated once and written in place.

The caches of transformers keep everything they have seen and grow by concatenation. A tree needs less: after a chunk,
only the ancestors of the next chunk matter, and these are known beforehand, so each layer keeps them as soon as it has
seen the chunk. Blocks that stay in place leave no holes in the allocator, which would make memory grow with each chunk.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class PathLayer(DynamicLayer):
    """Keys and values of one layer, (1, heads, path, width): views of blocks with room for `capacity` tokens."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.blocks: list[torch.Tensor] = []

    def keep(self, positions: torch.Tensor) -> None:
        """Of the tokens the layer has just seen, path and chunk together, keep those at these positions."""
        both = self.keys, self.values
        if not self.blocks:
            self.blocks = [states.new_empty(*states.shape[:2], self.capacity, states.shape[3]) for states in both]
        for block, states in zip(self.blocks, both, strict=True):
            block[:, :, : len(positions)] = states[:, :, positions.to(states.device)]
        self.keys, self.values = (block[:, :, : len(positions)] for block in self.blocks)


class PathCache(Cache):
    """A cache for paths of up to `capacity` tokens. Layers appear as the model asks for them.

    Set `next_path` before each forward pass: the positions, in path and chunk together, of the tokens on the path of
    the chunk after.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(layer_class_to_replicate=partial(PathLayer, capacity))
        self.next_path = torch.empty(0, dtype=torch.long)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values of path and chunk together; keep those of the next path."""
        both = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        self.layers[layer_idx].keep(self.next_path)
        return both
