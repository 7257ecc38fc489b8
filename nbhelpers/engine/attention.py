"""Attention over a tree on a CPU: blocks of queries skip the keys that none of them may see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import RLock
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Queries that attend together. Smaller blocks skip more keys and use a CPU less well.
ATTENTION_BLOCK = 128

# The name under which transformers knows `_block_attention`.
IN_BLOCKS = "nbhelpers_blocks"
_IN_BLOCKS_LOCK = RLock()


@contextmanager
def attention_in_blocks(model: PreTrainedModel, on_cpu: bool) -> Iterator[None]:
    """Within this context, the model's attention skips what a tree's mask hides from a whole block of queries.

    A CPU spends as much time on a masked key as on any other, and most of a wide tree is hidden from each token.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    config = model.config.get_text_config()
    if not on_cpu or config._attn_implementation not in ("sdpa", IN_BLOCKS):
        yield
        return
    # Other threads may use the model at the same time. Their masks are sdpa's, and sdpa still computes them.
    AttentionInterface.register(IN_BLOCKS, _block_attention)
    AttentionMaskInterface.register(IN_BLOCKS, AttentionMaskInterface()["sdpa"])
    with _IN_BLOCKS_LOCK:
        config._attn_implementation = IN_BLOCKS
        try:
            yield
        finally:
            config._attn_implementation = "sdpa"
            _key_blocks.cache_clear()


def _block_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # (batch, heads, queries, width)
    key: torch.Tensor,  # (batch, key heads, keys, width)
    value: torch.Tensor,  # (batch, key heads, keys, width)
    attention_mask: torch.Tensor | None,  # (batch, 1, queries, keys)
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention, one block of queries at a time, over the keys that any of them may see.

    With grouped-query attention, the query heads that share a key head are stacked as more queries of one head, so
    that no key is copied.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    is_tree = attention_mask is not None and attention_mask.dtype == torch.bool and query.shape[0] == 1
    if not is_tree or options.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    heads, key_heads = query.shape[1], key.shape[1]
    ungrouped = SimpleNamespace(is_causal=False)  # all that sdpa asks of a module whose keys need no copies
    attended = []
    for block, visible, mask in _key_blocks(attention_mask, heads // key_heads, query.dtype):
        stacked = query[:, :, block].reshape(1, key_heads, -1, query.shape[3])  # (1, key heads, group * block, width)
        found, _ = sdpa_attention_forward(
            ungrouped, stacked, key[:, :, visible], value[:, :, visible], mask, **options
        )  # (1, group * block, key heads, width)
        attended.append(found.transpose(1, 2).reshape(1, heads, -1, value.shape[3]).transpose(1, 2))
    return torch.cat(attended, 1), None  # (1, queries, heads, width)


@lru_cache(maxsize=1)
def _key_blocks(mask: torch.Tensor, group: int, dtype: torch.dtype) -> list[tuple[slice, torch.Tensor, torch.Tensor]]:
    """For each block of queries: the block, the keys that any of them may see, and what to add to their scores.

    What is added is 0 or -inf, (1, 1, group * block, visible keys), repeated for the `group` query heads of a key
    head. All layers of a model get the same mask object, so caching the last result is enough.
    """
    import torch

    blocks = []
    for begin in range(0, mask.shape[2], ATTENTION_BLOCK):
        block = slice(begin, begin + ATTENTION_BLOCK)
        visible = mask[0, 0, block].any(0).nonzero()[:, 0]
        hidden = ~mask[:, :, block, visible]
        added = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -torch.inf)
        blocks.append((block, visible, added.repeat(1, 1, group, 1)))
    return blocks
