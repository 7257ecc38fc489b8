"""The packed engine: every distinct prefix of all requests is read once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models import LanguageModel
from .attention import attention_in_blocks
from .batches import Columns, Request, scatter, slice_between
from .capabilities import separable_head, weights_dtype
from .head import Reduction, reduce_states
from .prefix_tree import Chunk, PrefixTree, build_tree, chunk_mask, cut_chunks, last_nodes

if TYPE_CHECKING:
    import torch
    from transformers import Cache


def request_tree(requests: Sequence[Request]) -> PrefixTree:
    """The tree of what the model reads: every request without its last token, which is only predicted."""
    return build_tree([request.ids[:-1] for request in requests])


def score_packed(
    lm: LanguageModel,
    requests: Sequence[Request],
    tree: PrefixTree,
    reduction: Reduction,
    token_budget: int,
    advance: Callable[[int], Any] = lambda tokens: None,
) -> Columns:
    """What `score_plain` returns, computed from `request_tree(requests)` in chunks of `token_budget` nodes."""
    import torch

    from .path_cache import PathCache

    # Each scored token is predicted at the node of the prefix before it. Sorted by node, the pairs (node, target) of a
    # chunk are contiguous. If requests 0 and 1 both predict at node 7 (targets 4 and 9) and request 2 at node 8
    # (target 5): nodes = [7, 7, 8], targets = [4, 9, 5], wanted = [7, 8], which = [0, 0, 1]. Logits are computed once
    # for each node in `wanted` and reused for [0, 0, 1].
    ends = zip(tree.ends, requests, strict=True)
    nodes = np.concatenate([last_nodes(tree, end, request.scored) for end, request in ends])
    targets = np.concatenate([request.ids[request.first :] for request in requests])
    order = np.argsort(nodes, kind="stable")
    nodes, targets = nodes[order], torch.from_numpy(targets[order]).long()
    head = separable_head(lm.model)
    # A single chunk needs no cache.
    cache = PathCache(int(tree.depths.max())) if len(tree.tokens) > token_budget else None
    columns: Columns = ()
    with attention_in_blocks(lm.model, lm.device.type == "cpu"):
        for chunk in cut_chunks(tree, token_budget):
            if cache is not None:
                # To the device once here, rather than once in every layer.
                cache.next_path = torch.from_numpy(_positions_to_keep(chunk)).to(lm.device)
            pairs = slice_between(nodes, chunk.begin, chunk.end)
            wanted, which = np.unique(nodes[pairs], return_inverse=True)
            states = _read_chunk(lm, head is not None, tree, chunk, wanted - chunk.begin, cache)
            if len(wanted):
                found = reduce_states(head, states, which, targets[pairs], reduction)
                columns = scatter(columns, len(order), order[pairs], found)
            advance(chunk.end - chunk.begin)
    return columns


def _positions_to_keep(chunk: Chunk) -> np.ndarray:
    """Positions of the next chunk's path among this chunk's path and nodes.

    Both lists are in walk order, so a binary search finds each ancestor. Keys may be picked from anywhere, because a
    key depends on its token's depth and not on its position in the cache; models for which that is not so are refused.
    """
    seen = np.concatenate([chunk.path, np.arange(chunk.begin, chunk.end)])
    return np.searchsorted(seen, chunk.next_path)


def _read_chunk(
    lm: LanguageModel, separable: bool, tree: PrefixTree, chunk: Chunk, wanted: np.ndarray, cache: Cache | None
) -> torch.Tensor:
    """One forward pass. The cache holds the keys and values of the chunk's path, and then those of the next path.

    Returns hidden states (wanted, width) if the head is separable, else logits (wanted, vocabulary).
    """
    import torch

    mask = torch.from_numpy(chunk_mask(tree, chunk))[None, None].to(lm.device)  # (1, 1, nodes, path + nodes)
    if lm.model.config.get_text_config()._attn_implementation != "sdpa":
        # Other implementations add the mask to the attention scores.
        dtype = weights_dtype(lm.model)
        mask = torch.zeros(mask.shape, dtype=dtype, device=lm.device).masked_fill_(~mask, torch.finfo(dtype).min)
    span = slice(chunk.begin, chunk.end)
    inputs = {
        "input_ids": torch.from_numpy(tree.tokens[span])[None].to(lm.device),  # (1, nodes)
        "position_ids": torch.from_numpy(tree.depths[span])[None].to(lm.device),  # (1, nodes)
        "attention_mask": mask,
        "past_key_values": cache,
        "use_cache": cache is not None,
    }
    at = torch.from_numpy(wanted)  # stays on the CPU: it indexes tensors on whichever device the last layer is on
    if separable:
        return lm.model.base_model(**inputs).last_hidden_state[0][at]
    if "logits_to_keep" in inspect.signature(lm.model.forward).parameters:
        return lm.model(**inputs, logits_to_keep=at).logits[0]
    return lm.model(**inputs).logits[0][at]
