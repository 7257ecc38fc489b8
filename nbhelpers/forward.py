"""Forward passes, the plain way: rows of token ids in, a few numbers for each scored token out.

A *row* is an array of token ids and the index from which on its tokens are to be scored. The logits at the scored
positions, and only those, are handed to a function that reduces them. Rows run beside each other, padded on the right.
This is the reference: `packed` does the same work without computing anything twice, and must give the same numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .head import Columns, Reduce, reduced, separable_head
from .models import LanguageModel

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TokenRow = tuple[np.ndarray, int]


def score_plain(
    lm: LanguageModel,
    rows: Sequence[TokenRow],
    reduce: Reduce,
    token_budget: int,
    advance: Callable[[int], Any] = lambda tokens: None,
    check: Callable[[Sequence[int], Columns], Any] = lambda scored, columns: None,
) -> Columns:
    """Reduced logits of all scored tokens, row after row, on the CPU.

    `advance` is told how many tokens each forward pass read. `check` is given each pass's results at once, with their
    places among all scored tokens: the rest of a long run would be wasted on a model that returns NaN.
    """
    starts = first_scored(rows)
    equal = positions_depend_on_length(lm.model)
    columns: Columns = ()
    for batch in batches([len(ids) - 1 for ids, _ in rows], token_budget, equal):
        place = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in batch])
        found = _score_batch(lm, [rows[i] for i in batch], reduce)
        check(place, found)
        columns = fill(columns, starts[-1], place, found)
        advance(sum(len(rows[i][0]) - 1 for i in batch))
    return columns


def first_scored(rows: Sequence[TokenRow]) -> np.ndarray:
    """Where each row's results begin, if those of all rows stand one after the other; and, at last, where they end."""
    return np.cumsum([0, *(len(ids) - first for ids, first in rows)])


def fill(columns: Columns, total: int, place: np.ndarray, found: Columns) -> Columns:
    """Write results to their places among all `total` of them; the first call makes the room.

    One block from the beginning: many small results, kept between large intermediate ones, would keep the allocator
    from using the room of the latter again, and memory would grow with every forward pass.
    """
    import torch

    columns = columns or tuple(torch.empty(total, *part.shape[1:], dtype=part.dtype) for part in found)
    for column, part in zip(columns, found, strict=True):
        column[torch.from_numpy(place)] = part.cpu()
    return columns


def batches(lengths: Sequence[int], token_budget: int, equal: bool = False) -> Iterator[list[int]]:
    """Group items of similar length, longest first, so that a batch padded to its longest stays in the budget.

    With `equal`, of the same length only.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        full = batch and (len(batch) + 1) * lengths[batch[0]] > token_budget
        if full or (batch and equal and lengths[i] != lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _score_batch(lm: LanguageModel, rows: Sequence[TokenRow], reduce: Reduce) -> Columns:
    """One forward pass over rows padded on the right, where a causal model cannot see the padding."""
    import torch

    lengths = torch.tensor([len(ids) - 1 for ids, _ in rows])
    inputs = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for i, (ids, _) in enumerate(rows):
        inputs[i, : len(ids) - 1] = torch.from_numpy(ids[:-1])
    mask = (torch.arange(inputs.shape[1]) < lengths[:, None]).long()
    # The logits that predict token t stand at position t - 1.
    at_row = torch.cat([torch.full((len(ids) - first,), i) for i, (ids, first) in enumerate(rows)])
    at_position = torch.cat([torch.arange(first - 1, len(ids) - 1) for ids, first in rows])
    targets = torch.cat([torch.from_numpy(ids[first:]).long() for ids, first in rows])

    forward = {"input_ids": inputs.to(lm.device), "use_cache": False}
    if not mask.all():
        forward["attention_mask"] = mask.to(lm.device)
    head = separable_head(lm.model)
    if head is None:
        states = _logits_at(lm.model, forward, at_row, at_position)
    else:
        hidden = lm.model.base_model(**forward).last_hidden_state
        states = hidden[at_row.to(hidden.device), at_position.to(hidden.device)]
    return tuple(column.cpu() for column in reduced(head, states, np.arange(len(states)), targets, reduce))


def _logits_at(
    model: PreTrainedModel, forward: dict[str, Any], at_row: torch.Tensor, at_position: torch.Tensor
) -> torch.Tensor:
    """Logits [n, vocabulary] at the given rows and positions of a batch, from the model's own head."""
    kept, at_kept = at_position.unique(return_inverse=True)
    expected = forward["input_ids"].shape[1]
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        forward = {**forward, "logits_to_keep": kept}
        at_position, expected = at_kept, len(kept)
    logits = model(**forward).logits
    if logits.shape[1] != expected:
        raise ValueError(
            f"the model returns logits for {logits.shape[1]} positions where {expected} were asked for, so that no "
            "position can be trusted: does an adapter put virtual tokens before the text (prompt tuning)?"
        )
    return logits[at_row.to(logits.device), at_position.to(logits.device)]


def positions_depend_on_length(model: PreTrainedModel) -> bool:
    """Whether a token's position encoding depends on the longest row it is computed with."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    return any(name in str(rope) for name in ("dynamic", "longrope", "'su'"))
