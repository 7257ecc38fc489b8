"""The plain engine: requests run beside each other, padded on the right.

This is the reference. `packed` gives the same numbers without computing anything twice.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models import LanguageModel
from .batches import Columns, Request, group_by_length, offsets, scatter
from .capabilities import positions_depend_on_length, separable_head
from .head import Reduction, reduce_states

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def score_plain(
    lm: LanguageModel,
    requests: Sequence[Request],
    reduction: Reduction,
    token_budget: int,
    advance: Callable[[int], Any] = lambda tokens: None,
    check: Callable[[np.ndarray, Columns], Any] = lambda positions, columns: None,
) -> Columns:
    """Reduced logits of all scored tokens, request after request, on the CPU.

    `advance` is told how many tokens each forward pass read. `check` gets the results of each forward pass with their
    positions among all scored tokens: a model that returns NaN should stop a long run at once.
    """
    import torch

    begins = offsets(requests)
    equal = positions_depend_on_length(lm.model)
    head = separable_head(lm.model)
    columns: Columns = ()
    for batch in group_by_length([request.read for request in requests], token_budget, equal):
        positions = np.concatenate([np.arange(begins[i], begins[i + 1]) for i in batch])
        found = _score_batch(lm, head, [requests[i] for i in batch], reduction)
        check(positions, found)
        columns = scatter(columns, begins[-1], torch.from_numpy(positions), found)
        advance(sum(requests[i].read for i in batch))
    return columns


def _score_batch(
    lm: LanguageModel, head: torch.nn.Module | None, requests: Sequence[Request], reduction: Reduction
) -> Columns:
    """One forward pass, one row per request. Padding on the right is invisible to a causal model."""
    import torch

    # Everything is put together on the CPU, whatever torch's default device is, and goes to the model in one go.
    lengths = torch.tensor([request.read for request in requests], device="cpu")
    inputs = torch.zeros(len(requests), int(lengths.max()), dtype=torch.long, device="cpu")  # (batch, positions)
    for row, request in enumerate(requests):
        inputs[row, : request.read] = torch.from_numpy(request.ids[:-1])
    mask = (torch.arange(inputs.shape[1], device="cpu") < lengths[:, None]).long()
    # The logits that predict token t are at position t - 1.
    at_row = torch.from_numpy(np.repeat(np.arange(len(requests)), [request.scored for request in requests]))
    at_position = torch.from_numpy(np.concatenate([np.arange(r.first - 1, r.read) for r in requests]))
    targets = torch.from_numpy(np.concatenate([r.ids[r.first :] for r in requests])).long()

    forward = {"input_ids": inputs.to(lm.device), "use_cache": False}
    if not mask.all():
        forward["attention_mask"] = mask.to(lm.device)
    if head is None:
        states = _logits_at(lm.model, forward, at_row, at_position)  # (scored, vocabulary)
    else:
        hidden = lm.model.base_model(**forward).last_hidden_state  # (batch, positions, width)
        states = hidden[at_row.to(hidden.device), at_position.to(hidden.device)]  # (scored, width)
    found = reduce_states(head, states, np.arange(len(states)), targets, reduction)
    return tuple(column.cpu() for column in found)


def _logits_at(
    model: PreTrainedModel, forward: dict[str, Any], at_row: torch.Tensor, at_position: torch.Tensor
) -> torch.Tensor:
    """Logits (scored, vocabulary) at the given rows and positions of a batch, from the model's own head."""
    kept, at_kept = at_position.unique(return_inverse=True)
    expected = forward["input_ids"].shape[1]
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        forward = {**forward, "logits_to_keep": kept}
        at_position, expected = at_kept, len(kept)
    logits = model(**forward).logits  # (batch, kept positions, vocabulary)
    if logits.shape[1] != expected:
        raise ValueError(
            f"the model returns logits for {logits.shape[1]} positions where {expected} were asked for, so that no "
            "position can be trusted: does an adapter put virtual tokens before the text (prompt tuning)?"
        )
    return logits[at_row.to(logits.device), at_position.to(logits.device)]
