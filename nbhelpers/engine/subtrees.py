"""Requests cut into pieces that lose little of what they share: whole subtrees of the tree of their prefixes.

In lexicographic order, requests that begin alike are neighbours. Between two neighbours, a cut costs what they share:
the second piece reads it again. Where there is nothing to share, pieces are made of requests of similar length instead,
so that padding stays what it is in one run.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..models import LanguageModel
from .batches import Request, group_by_length
from .capabilities import positions_depend_on_length
from .memory import default_budget
from .prefix_tree import common_prefix
from .run import WORTH_PACKING, Engine

# A piece has at least this many tokens, and at least so many times as many as the cut after it shares with the next:
# the cut is then read again at less than 1% of the cost.
LEAST, TIMES_SHARED = 8_192, 128
# From here on, a piece ends at the next cut that is read again at less than 1/16 of its cost.
MANY, TIMES_SHARED_OF_MANY = 65_536, 16
# Between processes: how far from an even share a cut may move to where less is shared.
UNEVEN = 0.01


@dataclass(frozen=True)
class Piece:
    """Some of the requests.

    Attributes
    ----------
    numbers : list of int
        Their indices.
    tokens : int
        How many tokens the model reads, each distinct prefix counted once where prefixes are shared.
    """

    numbers: list[int]
    tokens: int


@dataclass(frozen=True)
class _Walk:
    """Requests in lexicographic order: their indices, and for each how much of it is read, and shared with the last."""

    order: list[int]
    lengths: np.ndarray
    shared: np.ndarray

    def tokens(self, begin: int, end: int) -> int:
        """Distinct tokens of a stretch of the walk."""
        if begin == end:
            return 0
        return int((self.lengths - self.shared)[begin:end].sum() + self.shared[begin])

    def piece(self, begin: int, end: int) -> Piece:
        return Piece(self.order[begin:end], self.tokens(begin, end))


def whole_subtrees(
    lm: LanguageModel, requests: Sequence[Request], engine: Engine = "auto", token_budget: int | None = None
) -> list[Piece]:
    """Cut requests into pieces, each of which can be run by itself; all together cost hardly more than one run.

    Where nothing is shared, a piece holds whole forward passes of `token_budget` tokens.
    """
    walk = _walk(requests)
    if not _shared(walk, engine):
        budget = token_budget or default_budget(lm.device.type == "cpu", packed=False)
        return _by_length(requests, budget, positions_depend_on_length(lm.model))
    pieces, begin, tokens = [], 0, 0
    for i, (length, shared) in enumerate(zip(walk.lengths.tolist(), walk.shared.tolist(), strict=True)):
        small = tokens >= max(LEAST, TIMES_SHARED * shared)
        if i > begin and (small or tokens >= max(MANY, TIMES_SHARED_OF_MANY * shared)):
            pieces.append(Piece(walk.order[begin:i], tokens))
            begin, tokens, shared = i, 0, 0
        tokens += length - shared
    return [*pieces, Piece(walk.order[begin:], tokens)] if requests else []


def balanced_subtrees(requests: Sequence[Request], parts: int, engine: Engine = "auto") -> list[Piece]:
    """Cut requests into so many parts that cost about the same; some are empty where there are fewer requests."""
    walk = _walk(requests)
    if not _shared(walk, engine):
        shares = deal([request.read for request in requests], parts)
        return [Piece(share, sum(requests[i].read for i in share)) for share in shares]
    cuts = _even_cuts(walk, parts)
    return [walk.piece(begin, end) for begin, end in zip([0, *cuts], [*cuts, len(requests)], strict=True)]


def deal(costs: Sequence[float], parts: int) -> list[list[int]]:
    """Deal out items, the largest first, each to the part that has least so far."""
    loads = [(0.0, part) for part in range(parts)]
    shares: list[list[int]] = [[] for _ in range(parts)]
    for i in sorted(range(len(costs)), key=lambda i: -costs[i]):
        load, part = heapq.heappop(loads)
        shares[part].append(i)
        heapq.heappush(loads, (load + costs[i], part))
    return shares


def _walk(requests: Sequence[Request]) -> _Walk:
    # Big-endian bytes sort like the numbers they encode.
    keys = [request.ids[:-1].astype(">u4").tobytes() for request in requests]
    order = sorted(range(len(requests)), key=keys.__getitem__)
    shared = [0] * len(requests)
    for i in range(1, len(order)):
        shared[i] = common_prefix(requests[order[i - 1]].ids[:-1], requests[order[i]].ids[:-1])
    return _Walk(order, np.array([requests[i].read for i in order], dtype=np.int64), np.array(shared, dtype=np.int64))


def _shared(walk: _Walk, engine: Engine) -> bool:
    return engine != "plain" and walk.tokens(0, len(walk.order)) <= WORTH_PACKING * walk.lengths.sum()


def _by_length(requests: Sequence[Request], token_budget: int, equal: bool) -> list[Piece]:
    """Forward passes of the plain engine, several to a piece."""
    pieces: list[Piece] = []
    for batch in group_by_length([request.read for request in requests], token_budget, equal):
        tokens = sum(requests[i].read for i in batch)
        if pieces and pieces[-1].tokens < LEAST:
            pieces[-1] = Piece(pieces[-1].numbers + batch, pieces[-1].tokens + tokens)
        else:
            pieces.append(Piece(batch, tokens))
    return pieces


def _even_cuts(walk: _Walk, parts: int) -> list[int]:
    """Where to cut the walk, so that the largest part is as small as it can be, or 1% larger if less is read again."""
    total = walk.tokens(0, len(walk.order))
    before = np.concatenate([[0], np.cumsum(walk.lengths - walk.shared)])  # distinct tokens before each request

    def cuts_within(most: int) -> list[int] | None:
        """Parts as full as `most` allows; None where they would be too many."""
        cuts, begin = [], 0
        while len(cuts) < parts - 1:
            read_again = walk.shared[begin] if begin < len(walk.order) else 0
            end = int(np.searchsorted(before, before[begin] + most - read_again, side="right")) - 1
            cuts.append(begin := max(begin, end))
        return cuts if walk.tokens(begin, len(walk.order)) <= most else None

    low, high = total // parts, total
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cuts_within(middle) is not None else (middle + 1, high)
    cuts, room = cuts_within(high) or [], UNEVEN * total / parts
    for k, cut in enumerate(cuts):
        near = np.flatnonzero(abs(before[:-1] - before[cut]) <= room)
        if cut < len(walk.order) and len(near):
            cuts[k] = int(near[np.lexsort((abs(near - cut), walk.shared[near]))[0]])
    return cuts
