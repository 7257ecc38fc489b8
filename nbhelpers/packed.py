"""Forward passes, packed: every distinct prefix of all rows is read once (`prefix_tree`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from . import forward
from .forward import Columns, Reduce, TokenRow, fill, head_is_separable, precision
from .models import LanguageModel
from .prefix_tree import PrefixTree, Row, cut_rows, last_nodes, row_mask

if TYPE_CHECKING:
    import torch

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
    separable = head_is_separable(lm.model)
    results: Columns = ()
    cache = None
    with _attention_in_blocks(lm):
        for row, following in pairwise(chain(cut_rows(tree, token_budget), [None])):
            in_row = slice(*np.searchsorted(nodes, (row.begin, row.end)))
            wanted, which = np.unique(nodes[in_row], return_inverse=True)
            states, cache = _read_row(lm, separable, tree, row, wanted - row.begin, following, cache)
            for start in range(0, len(wanted), forward.LOGIT_ROWS):
                logits = states[start : start + forward.LOGIT_ROWS]
                if separable:
                    logits = lm.model.get_output_embeddings()(logits)
                logits = logits.float()
                pairs = np.arange(*np.searchsorted(which, (start, start + forward.LOGIT_ROWS)))
                for few in np.array_split(pairs, -(-len(pairs) // forward.LOGIT_ROWS)):
                    at = which[few] - start
                    # As a rule every logit row has one target, and no copy is needed.
                    asked = logits if np.array_equal(at, range(len(logits))) else logits[torch.from_numpy(at)]
                    found = reduce(asked, targets[in_row][few].to(logits.device))
                    results = fill(results, len(order), order[in_row][few], found)
            advance(row.end - row.begin)
    return results


def _read_row(
    lm: LanguageModel,
    separable: bool,
    tree: PrefixTree,
    row: Row,
    wanted: np.ndarray,
    following: Row | None,
    cache: Any,
) -> tuple[torch.Tensor, Any]:
    """What the wanted positions of a row say, and the keys and values that the following row's path needs.

    The former are hidden states [wanted, width] if the head is separable, else logits [wanted, vocabulary]. Keys and
    values may be picked and reordered freely, because a key depends on its token's depth and not on its place in the
    row: this is why models whose positions depend on anything else are refused.
    """
    import torch
    from transformers import DynamicCache

    mask = torch.from_numpy(row_mask(tree, row))[None, None].to(lm.device)
    if lm.model.config.get_text_config()._attn_implementation not in ("sdpa", IN_BLOCKS):
        # Other implementations add the mask to the attention scores.
        dtype = precision(lm.model)
        mask = torch.zeros(mask.shape, dtype=dtype, device=lm.device).masked_fill_(~mask, torch.finfo(dtype).min)
    span = slice(row.begin, row.end)
    keep = following is not None and len(following.path) > 0
    inputs = {
        "input_ids": torch.from_numpy(tree.tokens[span])[None].to(lm.device),
        "position_ids": torch.from_numpy(tree.depths[span])[None].to(lm.device),
        "attention_mask": mask,
        "past_key_values": DynamicCache() if cache is None and keep else cache,
        "use_cache": keep or cache is not None,
    }
    at = torch.from_numpy(wanted)  # on the CPU: it picks from tensors on whichever device the last layer is on
    if separable:
        output = lm.model.base_model(**inputs)
        states = output.last_hidden_state[0]
        states = states[at]
    else:
        keeps = "logits_to_keep" in inspect.signature(lm.model.forward).parameters
        output = lm.model(**inputs, logits_to_keep=at) if keeps else lm.model(**inputs)
        states = output.logits[0] if keeps else output.logits[0][at]
    kept = None
    if keep:
        # Both lists are in walk order, so a search finds each ancestor among what this row has seen.
        seen = np.concatenate([row.path, np.arange(row.begin, row.end)])
        ancestors = torch.from_numpy(np.searchsorted(seen, following.path))
        kept = DynamicCache()
        for number, layer in enumerate(output.past_key_values.layers):
            here = ancestors.to(layer.keys.device)
            kept.update(layer.keys[:, :, here], layer.values[:, :, here], number)
    return states, kept


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


def _block_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention, a block of queries at a time, over the keys that any of them may look at."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is None or attention_mask.dtype != torch.bool or query.shape[0] > 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    attended = []
    for begin in range(0, query.shape[2], ATTENTION_BLOCK):
        block = slice(begin, begin + ATTENTION_BLOCK)
        mask = attention_mask[:, :, block]
        seen = mask[0].any(0).any(0).nonzero()[:, 0]
        attended.append(
            sdpa_attention_forward(
                module, query[:, :, block], key[:, :, seen], value[:, :, seen], mask[..., seen], **options
            )[0]
        )
    return torch.cat(attended, 1), None
