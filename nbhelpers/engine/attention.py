"""Attention over a tree on a CPU: blocks of queries skip the keys that none of them may see."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Queries that attend together. Smaller blocks skip more keys and use a CPU less well.
ATTENTION_BLOCK = 128

# What a block of queries needs: the block, the keys that any of them may see, and what to add to their scores.
Block = tuple[slice, "torch.Tensor", "torch.Tensor"]


class _ThisThread(threading.local):
    """Whether this thread is reading a tree, and the blocks of the last mask: all layers of a model get the same."""

    in_blocks = False
    mask: torch.Tensor | None = None
    blocks: tuple[Block, ...] = ()


class _Registered:
    """What transformers knows as "sdpa" while any thread reads a tree: ours, which calls the original for the others.

    The name in the model's configuration stays as it is, so that other threads, copies and pickles of the model see no
    difference, and an interruption leaves nothing behind on it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.readers = 0
        self.original: Callable[..., Any] | None = None

    def enter(self) -> None:
        from transformers import AttentionInterface

        with self.lock:
            self.readers += 1
            if AttentionInterface()["sdpa"] is not _sdpa_or_blocks:
                self.original = AttentionInterface()["sdpa"]
                AttentionInterface.register("sdpa", _sdpa_or_blocks)

    def leave(self) -> None:
        from transformers import AttentionInterface

        with self.lock:
            self.readers -= 1
            if self.readers == 0 and AttentionInterface()["sdpa"] is _sdpa_or_blocks:
                AttentionInterface.register("sdpa", self.original)

    def forget_readers(self) -> None:
        """In a forked process no thread is reading, and nobody will release the lock."""
        self.lock = threading.Lock()
        self.readers = 0


_this_thread = _ThisThread()
_registered = _Registered()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_registered.forget_readers)


@contextmanager
def attention_in_blocks(model: PreTrainedModel, on_cpu: bool) -> Iterator[None]:
    """Within this context, this thread's attention skips what a tree's mask hides from a whole block of queries.

    A CPU spends as much time on a masked key as on any other, and most of a wide tree is hidden from each token.
    """
    if not on_cpu or model.config.get_text_config()._attn_implementation != "sdpa":
        yield
        return
    _registered.enter()
    try:
        _this_thread.in_blocks = True
        yield
    finally:
        _this_thread.in_blocks, _this_thread.mask, _this_thread.blocks = False, None, ()
        _registered.leave()


def _sdpa_or_blocks(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    attend = _block_attention if _this_thread.in_blocks else _registered.original
    return attend(module, query, key, value, attention_mask, **options)


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


def _key_blocks(mask: torch.Tensor, group: int, dtype: torch.dtype) -> tuple[Block, ...]:
    """For each block of queries: the block, the keys that any of them may see, and what to add to their scores.

    What is added is 0 or -inf, (1, 1, group * block, visible keys), repeated for the `group` query heads of a key head.
    """
    import torch

    if _this_thread.mask is mask:
        return _this_thread.blocks
    blocks = []
    for begin in range(0, mask.shape[2], ATTENTION_BLOCK):
        block = slice(begin, begin + ATTENTION_BLOCK)
        visible = mask[0, 0, block].any(0).nonzero()[:, 0]
        hidden = ~mask[:, :, block, visible]
        added = torch.zeros(hidden.shape, dtype=dtype, device=mask.device).masked_fill_(hidden, -torch.inf)
        blocks.append((block, visible, added.repeat(1, 1, group, 1)))
    _this_thread.mask, _this_thread.blocks = mask, tuple(blocks)
    return _this_thread.blocks
