"""Log-probabilities of encoded requests: equal ones once, and all of them kept or shared where a run says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .engine import (
    LOG_PROBABILITIES,
    Columns,
    Engine,
    Progress,
    Request,
    balanced_subtrees,
    score_requests,
    split,
    whole_subtrees,
)
from .models import LanguageModel
from .runs import Run, Work, carry_out


def score_each(
    lm: LanguageModel,
    requests: Sequence[Request],
    *,
    engine: Engine = "auto",
    token_budget: int | None = None,
    progress: bool = False,
    run: Run | None = None,
    name: str = "item {}",
) -> list[Columns]:
    """For each request, the log-probability of its scored tokens, and whether each is the model's most likely one.

    ``name.format(number)`` is what errors call a request.
    """
    # Equal requests are computed once, under the name of the first item that asks.
    first_item: dict[Request, int] = {}
    for number, request in enumerate(requests):
        first_item.setdefault(request, number)
    distinct = list(first_item)

    def compute(numbers: Sequence[int], progress: Progress) -> list[Columns]:
        some = [distinct[i] for i in numbers]
        columns = score_requests(
            lm,
            some,
            LOG_PROBABILITIES,
            lambda i: name.format(first_item[some[i]]),
            engine=engine,
            token_budget=token_budget,
            progress=progress,
        )
        return list(split(columns, some))

    def pieces(numbers: list[int]) -> list[tuple[list[int], int]]:
        cut = whole_subtrees(lm, [distinct[i] for i in numbers], engine, token_budget)
        return [([numbers[i] for i in piece.numbers], piece.tokens) for piece in cut]

    def parts(numbers: list[int], count: int) -> list[list[int]]:
        cut = balanced_subtrees([distinct[i] for i in numbers], count, engine)
        return [[numbers[i] for i in piece.numbers] for piece in cut]

    if run is not None:
        work = Work(
            names=[_name(request) for request in distinct],
            settings=f"scores {engine}",
            parts=parts,
            pieces=pieces,
            compute=compute,
            pack=_pack,
            unpack=lambda number, data: _unpack(distinct[number], data),
            unit="tok",
        )
        found = carry_out(run, work, progress)
    else:
        found = compute(range(len(distinct)), progress) if distinct else []
    results = dict(zip(distinct, found, strict=True))
    return [results[request] for request in requests]


def _name(request: Request) -> bytes:
    return request.first.to_bytes(8, "little") + request.ids.astype("<i4").tobytes()


def _pack(columns: Columns) -> bytes:
    logprobs, greedy = (column.numpy() for column in columns)
    return logprobs.astype("<f4").tobytes() + greedy.astype("u1").tobytes()


def _unpack(request: Request, data: bytes) -> Columns:
    """The columns of a request. Raises ValueError if the data cannot be those of this request."""
    import torch

    count = request.scored
    if len(data) != 5 * count:
        raise ValueError(f"{len(data)} bytes for {count} tokens")
    logprobs, greedy = np.frombuffer(data, "<f4", count), np.frombuffer(data, "u1", offset=4 * count)
    if not (np.isfinite(logprobs).all() and (logprobs <= 1e-3).all() and (greedy <= 1).all()):
        raise ValueError("no log-probabilities")
    return torch.from_numpy(logprobs.astype(np.float32)), torch.from_numpy(greedy.astype(bool))
