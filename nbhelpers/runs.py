"""A call carried out in pieces: each piece is kept in a file once it is done, or computed by one of several processes.

A run knows neither texts nor log-probabilities. It is given items with a name each, and what to do with some of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from .engine import Stretch
from .fingerprints import fingerprint, require_no_hooks, sketch
from .models import LanguageModel
from .processes import Team, team_of
from .stored import Store, open_store

Result = TypeVar("Result")

FORMAT = 1  # raise it when results change their form or their values: what was kept before is then not found


@dataclass(frozen=True)
class Work(Generic[Result]):
    """Items to compute.

    Attributes
    ----------
    names : sequence of bytes
        Equal names mean equal results, for one model and one `settings`.
    settings : str
        What else changes results.
    parts : callable
        Deals out some items (their indices) to a number of processes.
    pieces : callable
        Cuts some items into pieces, each with what it costs, in `unit`.
    compute : callable
        The results of some items, in order; moves the stretch of the bar along.
    pack : callable
        A result as bytes.
    unpack : callable
        From an index and bytes to the result; ValueError where they cannot be that item's.
    unit : str
    """

    names: Sequence[bytes]
    settings: str
    parts: Callable[[list[int], int], list[list[int]]]
    pieces: Callable[[list[int]], list[tuple[list[int], int]]]
    compute: Callable[[list[int], Stretch], Iterable[Result]]
    pack: Callable[[Result], bytes]
    unpack: Callable[[int, bytes], Result]
    unit: str


class Run(AbstractContextManager["Run"]):
    """One call: the file that keeps its results, the processes it is shared with, and the model's fingerprint."""

    def __init__(self, lm: LanguageModel, call: str, cache: str | os.PathLike[str] | None, team: Team | None) -> None:
        self.call, self.team, self.store = call, team, None
        try:
            if cache is not None:
                require_no_hooks(lm.model)
                self.store = open_store(cache)
            # Where nothing is kept, it only has to be clear that all processes hold the same model.
            self.model = sketch(lm) if cache is None else fingerprint(lm)
        except Exception as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self.store is not None:
            self.store.close()
        if self.team is not None and not self.team.parted and isinstance(error, Exception):
            self.team.tell(error)


def open_run(lm: LanguageModel, call: str, cache: str | os.PathLike[str] | None) -> AbstractContextManager[Run | None]:
    """The run of a call, around all of its work; None if nothing is kept and nobody shares it."""
    team = team_of(lm.model)
    return nullcontext() if cache is None and team is None else Run(lm, call, cache, team)


def carry_out(run: Run, work: Work[Result], progress: bool) -> list[Result]:
    """The results of all items. Those with equal names are computed once, by one process, unless they were kept."""
    context = blake2b(f"{FORMAT} {work.settings}".encode("utf-8", "surrogatepass"), key=run.model).digest()
    keys = [blake2b(name, key=context, digest_size=16).digest() for name in work.names]
    first: dict[bytes, int] = {}
    for number, key in enumerate(keys):
        first.setdefault(key, number)
    found = _kept(run.store, run.team, first, work)
    if run.team is not None:
        for theirs in _agree(run.team, run.call, run.model, context, keys, found):
            found |= theirs
    results = {key: work.unpack(first[key], data) for key, data in found.items()}
    mine = [number for key, number in first.items() if key not in results]
    if run.team is not None:
        mine = work.parts(mine, run.team.size)[run.team.rank]
    done = dict(_computed(run, work, keys, mine, progress))
    results |= done
    if run.team is not None:
        told = run.team.exchange({key: work.pack(result) for key, result in done.items()})
        run.team.parted = True
        for theirs in told:
            results |= {key: work.unpack(first[key], data) for key, data in theirs.items() if key not in results}
    return [results[key] for key in keys]


def _kept(store: Store | None, team: Team | None, first: dict[bytes, int], work: Work[Result]) -> dict[bytes, bytes]:
    """What the file holds, where it can be what it should be."""
    if store is None or not (team is None or team.reads_files):
        return {}
    found = {}
    for key, data in store.load(list(first)).items():
        try:
            work.unpack(first[key], data)
        except ValueError:
            continue
        found[key] = data
    return found


def _agree(
    team: Team, call: str, model: bytes, context: bytes, keys: list[bytes], found: dict[bytes, bytes]
) -> list[dict[bytes, bytes]]:
    """What the files of all processes hold, once it is clear that all were asked for the same."""
    mine = {"function": call, "model": model, "settings": context, "requests": blake2b(b"".join(keys)).digest()}
    told = team.exchange((mine, found))
    for what in mine:
        others = [rank for rank, (theirs, _) in enumerate(told) if theirs[what] != told[0][0][what]]
        if others:
            team.parted = True  # all of them see it
            raise ValueError(
                f"process {others[0]} was given another {what.removesuffix('s')} than process 0: under torchrun and "
                "accelerate launch, give every process the same call, and it is split between them; where each has a "
                "call of its own, use nbhelpers.split_between_processes(False) first"
            )
    return [theirs for _, theirs in told]


def _computed(
    run: Run, work: Work[Result], keys: list[bytes], numbers: list[int], progress: bool
) -> Iterable[tuple[bytes, Result]]:
    """Results of these items, piece by piece; each piece is in the file before the next begins."""
    pieces = work.pieces(numbers)
    total = sum(cost for _, cost in pieces)
    if run.store is None and pieces:
        pieces = [(numbers, total)]
    shown = progress and (run.team is None or run.team.rank == 0)
    with tqdm(total=total, unit=work.unit, unit_scale=True, disable=not shown) as bar:
        for piece, cost in pieces:
            computed = work.compute(piece, Stretch(bar, cost))
            results = dict(zip((keys[number] for number in piece), computed, strict=True))
            if run.store is not None:
                run.store.save({key: work.pack(result) for key, result in results.items()})
            yield from results.items()
