"""The packed engine: every distinct prefix of all requests is read once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

    from .path_cache import PathCache


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
    """What `score_plain` returns, computed from `request_tree(requests)` in chunks of `token_budget` nodes.

    The columns stay on the device that computed them. Whatever the model needs goes to its device before the first
    chunk, and nothing comes back before the last: a GPU works on one chunk while Python prepares the next.
    """
    from .path_cache import PathCache

    # Each scored token is predicted at the node of the prefix before it. Sorted by node, the pairs (node, target) of a
    # chunk are contiguous. If requests 0 and 1 both predict at node 7 (targets 4 and 9) and request 2 at node 8
    # (target 5): nodes = [7, 7, 8], targets = [4, 9, 5], wanted = [7, 8], which = [0, 0, 1]. Logits are computed once
    # for each node in `wanted` and reused for [0, 0, 1].
    ends = zip(tree.ends, requests, strict=True)
    nodes = np.concatenate([last_nodes(tree, end, request.scored) for end, request in ends])
    order = np.argsort(nodes, kind="stable")
    wanted, which = np.unique(nodes[order], return_inverse=True)
    targets = np.concatenate([request.ids[request.first :] for request in requests])[order].astype(np.int64)
    chunks = list(cut_chunks(tree, token_budget))
    # A single chunk needs no cache.
    cache = PathCache(int(tree.depths.max())) if len(chunks) > 1 else None
    head = separable_head(lm.model)
    walk = _walk(lm, tree, chunks, wanted % token_budget, targets, order)
    columns: Columns = ()
    with attention_in_blocks(lm.model, lm.device.type == "cpu"):
        for number, chunk in enumerate(chunks):
            places = slice_between(wanted, chunk.begin, chunk.end)
            states = _read_chunk(lm, head is not None, walk, number, places, cache)
            if places.start < places.stop:
                pairs = slice_between(which, places.start, places.stop)
                found = reduce_states(head, states, which[pairs] - places.start, walk.targets[pairs], reduction)
                columns = scatter(columns, len(order), walk.order[pairs], found)
            advance(chunk.end - chunk.begin)
    return columns


@dataclass(frozen=True)
class _Walk:
    """What is read, chunk by chunk: a tree and the places where something is scored, as tensors on the model's device.

    Attributes
    ----------
    tokens, depths, exits, numbers : (nodes,)
        As in the tree; `numbers` counts the nodes.
    chunks : sequence of Chunk
    paths : tuple of (path,)
        For each chunk its path, and after the last one an empty path.
    kept : tuple of (next path,)
        For each chunk, where the nodes of the next path are among its own path and nodes.
    wanted : (wanted,)
        For each node where something is scored, its place in its chunk.
    targets, order : (scored,)
        The scored tokens in the order in which they are reached, and where each belongs among the results.
    """

    tokens: torch.Tensor
    depths: torch.Tensor
    exits: torch.Tensor
    numbers: torch.Tensor
    chunks: Sequence[Chunk]
    paths: tuple[torch.Tensor, ...]
    kept: tuple[torch.Tensor, ...]
    wanted: torch.Tensor
    targets: torch.Tensor
    order: torch.Tensor


def _walk(
    lm: LanguageModel,
    tree: PrefixTree,
    chunks: Sequence[Chunk],
    wanted: np.ndarray,
    targets: np.ndarray,
    order: np.ndarray,
) -> _Walk:
    import torch

    def place(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(lm.device)

    kept = [_positions_to_keep(chunk) for chunk in chunks]
    lengths = [len(positions) for positions in kept]
    next_paths = place(np.concatenate([chunk.next_path for chunk in chunks])).split(lengths)
    return _Walk(
        tokens=place(tree.tokens),
        depths=place(tree.depths),
        exits=place(tree.exits),
        numbers=torch.arange(len(tree.tokens), device=lm.device),
        chunks=chunks,
        paths=(next_paths[-1], *next_paths),  # the first path is as empty as the one after the last chunk
        kept=place(np.concatenate(kept)).split(lengths),
        wanted=place(wanted),
        targets=place(targets),
        order=place(order),
    )


def _positions_to_keep(chunk: Chunk) -> np.ndarray:
    """Positions of the next chunk's path among this chunk's path and nodes.

    Both lists are in walk order, so a binary search finds each ancestor. Keys may be picked from anywhere, because a
    key depends on its token's depth and not on its position in the cache; models for which that is not so are refused.
    """
    seen = np.concatenate([chunk.path, np.arange(chunk.begin, chunk.end)])
    return np.searchsorted(seen, chunk.next_path)


def _read_chunk(
    lm: LanguageModel, separable: bool, walk: _Walk, number: int, places: slice, cache: PathCache | None
) -> torch.Tensor:
    """One forward pass. The cache holds the keys and values of the chunk's path, and then those of the next path.

    Returns hidden states (wanted, width) if the head is separable, else logits (wanted, vocabulary), of the nodes
    ``walk.wanted[places]``.
    """
    import torch

    chunk = walk.chunks[number]
    span = slice(chunk.begin, chunk.end)
    seen = torch.cat([walk.paths[number], walk.numbers[span]])  # (path + nodes,)
    mask = chunk_mask(walk.numbers[span], seen, walk.exits[seen])[None, None]  # (1, 1, nodes, path + nodes)
    if lm.model.config.get_text_config()._attn_implementation != "sdpa":
        # Other implementations add the mask to the attention scores.
        dtype = weights_dtype(lm.model)
        mask = torch.zeros(mask.shape, dtype=dtype, device=lm.device).masked_fill_(~mask, torch.finfo(dtype).min)
    if cache is not None:
        cache.next_path = walk.kept[number]
    inputs = {
        "input_ids": walk.tokens[None, span],  # (1, nodes)
        "position_ids": walk.depths[None, span],  # (1, nodes)
        "attention_mask": mask,
        "past_key_values": cache,
        "use_cache": cache is not None,
    }
    at = walk.wanted[places]
    if separable:
        hidden = lm.model.base_model(**inputs).last_hidden_state[0]
        return hidden[at.to(hidden.device)]
    if "logits_to_keep" in inspect.signature(lm.model.forward).parameters:
        # An index may be on the CPU, or where the last layer is: that is this device, if the model has only one.
        spread = len(set((getattr(lm.model, "hf_device_map", None) or {}).values())) > 1
        return lm.model(**inputs, logits_to_keep=at.cpu() if spread else at).logits[0]
    logits = lm.model(**inputs).logits[0]
    return logits[at.to(logits.device)]
