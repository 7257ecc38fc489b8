"""Forward passes, packed: every distinct prefix of all rows is read once (`prefix_tree`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, pairwise
from threading import RLock
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from .forward import TokenRow, fill
from .head import Columns, Reduce, precision, reduced, separable_head
from .models import LanguageModel
from .prefix_tree import PrefixTree, Row, cut_rows, last_nodes, row_mask

if TYPE_CHECKING:
    import torch
    from transformers import Cache

# Queries that attend together. Fewer skip more of the keys that none of them may look at, and use a CPU less well.
ATTENTION_BLOCK = 128

# The name under which transformers knows `_block_attention`.
IN_BLOCKS = "nbhelpers_blocks"
_IN_BLOCKS_LOCK = RLock()


def score_packed(
    lm: LanguageModel,
    rows: Sequence[TokenRow],
    tree: PrefixTree,
    reduce: Reduce,
    token_budget: int,
    advance: Callable[[int], Any] = lambda tokens: None,
) -> Columns:
    """What :func:`nbhelpers.forward.score_plain` returns, computed from the tree of the rows without their ends."""
    import torch

    from .path_cache import PathCache

    # Every scored token is predicted at the node of the prefix before it. Sorted by node, these pairs (node, target)
    # lie together for each row of the tree. If rows 0 and 1 both predict at node 7 (targets 4 and 9) and row 2 at
    # node 8 (target 5): nodes = [7, 7, 8], targets = [4, 9, 5], wanted = [7, 8], which = [0, 0, 1]. Logits are
    # computed for `wanted`, once each, and handed on for [0, 0, 1].
    nodes = np.concatenate(
        [last_nodes(tree, end, len(ids) - first) for end, (ids, first) in zip(tree.ends, rows, strict=True)]
    )
    targets = np.concatenate([ids[first:] for ids, first in rows])
    order = np.argsort(nodes, kind="stable")
    nodes, targets = nodes[order], torch.from_numpy(targets[order]).long()
    head = separable_head(lm.model)
    # Where one row is all, no other will ask for its keys and values.
    cache = PathCache(int(tree.depths.max())) if len(tree.tokens) > token_budget else None
    results: Columns = ()
    with _attention_in_blocks(lm):
        for row, following in pairwise(chain(cut_rows(tree, token_budget), [None])):
            if cache is not None:
                # Both lists are in walk order, so a search finds each ancestor among what this row will have seen.
                # They may be picked freely, because a key depends on its token's depth and not on its place in the
                # row: this is why models whose positions depend on anything else are refused.
                seen = np.concatenate([row.path, np.arange(row.begin, row.end)])
                places = np.searchsorted(seen, following.path if following else seen[:0])
                cache.next_path = torch.from_numpy(places).to(lm.device)  # once, and not by every layer of a GPU
            in_row = slice(*np.searchsorted(nodes, (row.begin, row.end)))
            wanted, which = np.unique(nodes[in_row], return_inverse=True)
            states = _read_row(lm, head is not None, tree, row, wanted - row.begin, cache)
            if len(wanted):
                found = reduced(head, states, which, targets[in_row], reduce)
                results = fill(results, len(order), order[in_row], found)
            advance(row.end - row.begin)
    return results


def _read_row(
    lm: LanguageModel, separable: bool, tree: PrefixTree, row: Row, wanted: np.ndarray, cache: Cache | None
) -> torch.Tensor:
    """What the wanted positions of a row say; the cache has its path's keys and values, and gets the next one's.

    Hidden states [wanted, width] if the head is separable, else logits [wanted, vocabulary].
    """
    import torch

    mask = torch.from_numpy(row_mask(tree, row))[None, None].to(lm.device)
    if lm.model.config.get_text_config()._attn_implementation not in ("sdpa", IN_BLOCKS):
        # Other implementations add the mask to the attention scores.
        dtype = precision(lm.model)
        mask = torch.zeros(mask.shape, dtype=dtype, device=lm.device).masked_fill_(~mask, torch.finfo(dtype).min)
    span = slice(row.begin, row.end)
    inputs = {
        "input_ids": torch.from_numpy(tree.tokens[span])[None].to(lm.device),
        "position_ids": torch.from_numpy(tree.depths[span])[None].to(lm.device),
        "attention_mask": mask,
        "past_key_values": cache,
        "use_cache": cache is not None,
    }
    at = torch.from_numpy(wanted)  # on the CPU: it picks from tensors on whichever device the last layer is on
    if separable:
        return lm.model.base_model(**inputs).last_hidden_state[0][at]
    if "logits_to_keep" in inspect.signature(lm.model.forward).parameters:
        return lm.model(**inputs, logits_to_keep=at).logits[0]
    return lm.model(**inputs).logits[0][at]


@contextmanager
def _attention_in_blocks(lm: LanguageModel) -> Iterator[None]:
    """While this lasts, the model's attention leaves out what a tree's mask hides from whole blocks of queries.

    On a CPU a masked key costs as much as any other. Most of a wide tree is hidden from each of its tokens.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    config = lm.model.config.get_text_config()
    if lm.device.type != "cpu" or config._attn_implementation not in ("sdpa", IN_BLOCKS):
        yield
        return
    # Other threads may use the model meanwhile: for them it works as ever, with sdpa's masks.
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
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention, a block of queries at a time, over the keys that any of them may look at.

    Query heads that share a key head (grouped-query attention) are laid one below the other, as more queries of one
    head, so that no key is copied for them.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    of_a_tree = attention_mask is not None and attention_mask.dtype == torch.bool and query.shape[0] == 1
    if not of_a_tree or options.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    heads, key_heads = query.shape[1], key.shape[1]
    ungrouped = SimpleNamespace(is_causal=False)  # all that is asked of a module whose keys need no copies
    attended = []
    for block, seen, mask in _key_blocks(attention_mask, heads // key_heads, query.dtype):
        stacked = query[:, :, block].reshape(1, key_heads, -1, query.shape[3])
        found, _ = sdpa_attention_forward(ungrouped, stacked, key[:, :, seen], value[:, :, seen], mask, **options)
        attended.append(found.transpose(1, 2).reshape(1, heads, -1, value.shape[3]).transpose(1, 2))
    return torch.cat(attended, 1), None


@lru_cache(maxsize=1)
def _key_blocks(mask: torch.Tensor, group: int, dtype: torch.dtype) -> list[tuple[slice, torch.Tensor, torch.Tensor]]:
    """For each block of queries the keys that any of them may look at, and what is added to their scores: 0 or -inf.

    The latter stands there `group` times, for as many query heads. All layers of a model are handed the same mask, so
    that the last result is all that needs keeping.
    """
    import torch

    blocks = []
    for begin in range(0, mask.shape[2], ATTENTION_BLOCK):
        block = slice(begin, begin + ATTENTION_BLOCK)
        seen = mask[0, 0, block].any(0).nonzero()[:, 0]
        hidden = ~mask[:, :, block, seen]
        added = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -torch.inf)
        blocks.append((block, seen, added.repeat(1, 1, group, 1)))
    return blocks
