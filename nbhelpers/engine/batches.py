"""What both engines share: requests, batches of them, and putting results where they belong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# Tensors with one entry per scored token: all of request 0, then all of request 1, and so on.
Columns = tuple["torch.Tensor", ...]


@dataclass(frozen=True, eq=False)
class Request:
    """A token sequence whose end is to be scored. Requests with equal content are equal.

    Attributes
    ----------
    ids : int32 array [length]
    first : int
        Index of the first scored token, 1 or more: a token can only be predicted from those before it.
    """

    ids: np.ndarray
    first: int

    @property
    def read(self) -> int:
        """How many tokens the model reads: all but the last, which is only predicted."""
        return len(self.ids) - 1

    @property
    def scored(self) -> int:
        """How many tokens are scored."""
        return len(self.ids) - self.first

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Request) and self.first == other.first and np.array_equal(self.ids, other.ids)

    def __hash__(self) -> int:
        return hash((self.ids.tobytes(), self.first))


def offsets(requests: Sequence[Request]) -> np.ndarray:
    """Offsets of each request's results, [requests + 1]."""
    return np.cumsum([0, *(request.scored for request in requests)])


def split(columns: Columns, requests: Sequence[Request]) -> Iterator[Columns]:
    """Each request's part of the columns."""
    for begin, end in pairwise(offsets(requests)):
        yield tuple(column[begin:end] for column in columns)


def scatter(columns: Columns, total: int, positions: torch.Tensor, found: Columns) -> Columns:
    """Write results to their positions among all `total`; the first call, with no columns yet, allocates them.

    One block from the start: many small results, kept between large temporary ones, would stop the allocator from
    reusing the large blocks, and memory would grow with every forward pass. It is on the device of the first results.
    """
    columns = columns or tuple(part.new_empty(total, *part.shape[1:]) for part in found)
    for column, part in zip(columns, found, strict=True):
        column[positions.to(column.device)] = part.to(column.device)
    return columns


def group_by_length(lengths: Sequence[int], token_budget: int, equal: bool = False) -> Iterator[list[int]]:
    """Group items of similar length, longest first, so that a batch padded to its longest stays within the budget.

    With `equal`, only items of the same length.
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


def slice_between(ascending: np.ndarray, low: int, high: int) -> slice:
    """Where an ascending array holds values from `low` up to, not including, `high`."""
    begin, end = np.searchsorted(ascending, (low, high))
    return slice(begin, end)
