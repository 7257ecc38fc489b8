"""The packed engine is never trusted: it is tried out on each model, and checked again in larger runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from ..models import LanguageModel
from .batches import Columns, Request, offsets
from .capabilities import (
    UNREADABLE,
    CannotPack,
    Fingerprint,
    attention_span,
    fingerprint,
    require_tree_attention,
    within_rounding,
)
from .head import LOG_PROBABILITIES, Reduction
from .memory import is_out_of_memory
from .packed import request_tree, score_packed
from .plain import score_plain
from .prefix_tree import PrefixTree

if TYPE_CHECKING:
    import torch

# Length of the branches on which packing is tried out.
TRIAL_LENGTH = 48

# Runs of this many requests or more have one of them scored by both engines.
SPOT_CHECK_FROM = 8


@dataclass(frozen=True)
class Trial:
    """How the packed engine has done on a model so far.

    Attributes
    ----------
    fingerprint : tuple
        What the model was like at the time.
    problem : str or None
        Why it cannot be packed.
    length, nodes : int
        The longest request and the widest tree that came out right.
    """

    fingerprint: Fingerprint
    problem: str | None
    length: int
    nodes: int = 0


_TRIALS: WeakKeyDictionary[Any, Trial] = WeakKeyDictionary()


def require_packing(lm: LanguageModel, requests: Sequence[Request], budget: int) -> None:
    """Raise CannotPack if packing does not work for this model, as far as one can tell before the run.

    The configuration is asked first. Then, once per model and again whenever it changes, packing is tried out on a few
    short branches and compared with the plain engine.
    """
    longest = max((request.ids for request in requests), key=len)
    require_tree_attention(lm.model, len(longest))
    trial = _TRIALS.get(lm.model)
    if trial is None or trial.fingerprint != fingerprint(lm.model):
        trial = _try_packing(lm, longest, budget)
        _TRIALS[lm.model] = trial
    if trial.problem is not None:
        raise CannotPack(trial.problem)


def _try_packing(lm: LanguageModel, ids: np.ndarray, budget: int) -> Trial:
    """Compare the engines on three branches that part in the middle, made of the tokens of one request."""
    current = fingerprint(lm.model)
    length = min(TRIAL_LENGTH, lm.context_length or TRIAL_LENGTH, attention_span(lm.model) or TRIAL_LENGTH)
    place = np.arange(length)
    trunk = np.resize(ids, length)
    vocabulary = len(lm.model.get_input_embeddings().weight)
    branches = []
    for shift in (0, 7, 14):
        other = (trunk + shift * (1 + place)) % vocabulary
        branches.append(Request(np.where(place < length // 2, trunk, other), 1))
    tree = request_tree(branches)
    try:
        # Once in one chunk, and once in chunks so small that the cache is tried as well.
        for chunk_length in (budget, max(1, min(budget, length * 2 // 3))):
            with _unreadable_means_cannot_pack("a packed tree"):
                logprobs, _ = score_packed(lm, branches, tree, LOG_PROBABILITIES, chunk_length)
            require_agreement(lm, branches, logprobs, budget)
    except CannotPack as problem:
        return Trial(current, str(problem), length)
    return Trial(current, None, length)


def score_packed_and_check(
    lm: LanguageModel,
    requests: Sequence[Request],
    tree: PrefixTree,
    reduction: Reduction,
    budget: int,
    advance: Callable[[int], Any],
) -> Columns:
    """The packed engine's results. Raises CannotPack if they are wrong.

    One request is scored again by the plain engine in every larger run, and whenever a request is longer or the tree is
    wider than any that came out right before: the longest, and of these the one that comes last in the tree.
    """
    with _unreadable_means_cannot_pack("these requests packed"):
        columns = score_packed(lm, requests, tree, reduction, budget, advance)
    trial = _TRIALS[lm.model]
    length, nodes = max(len(request.ids) for request in requests), min(budget, len(tree.tokens))
    if len(requests) >= SPOT_CHECK_FROM or length > trial.length or nodes > trial.nodes:
        checked = max(range(len(requests)), key=lambda i: (len(requests[i].ids), tree.ends[i]))
        begin, end = offsets(requests)[checked : checked + 2]
        require_agreement(lm, [requests[checked]], columns[0][begin:end], budget)
        _TRIALS[lm.model] = replace(trial, length=max(length, trial.length), nodes=max(nodes, trial.nodes))
    # Only here, so that a GPU reads the last chunks while the plain engine prepares the request that is checked.
    return tuple(column.cpu() for column in columns)


def require_agreement(lm: LanguageModel, requests: Sequence[Request], packed: torch.Tensor, budget: int) -> None:
    """Raise CannotPack if packed log-probabilities differ from the plain engine's by more than rounding."""
    plain, _ = score_plain(lm, requests, LOG_PROBABILITIES, budget)
    if not plain.isfinite().all():
        raise CannotPack("it returns NaN or infinity")
    # Any layout gets the first tokens right. Only the later half shows a difference.
    late = np.concatenate([np.arange(request.scored) >= request.scored // 2 for request in requests])
    apart = (packed.cpu() - plain).abs()[late]
    if not within_rounding(apart, lm.model):
        raise CannotPack(f"packed, it gives other numbers (by up to {apart.max().item():.2g} nats)")


@contextmanager
def _unreadable_means_cannot_pack(what: str) -> Iterator[None]:
    """Turn the errors of a model that cannot read a tree into CannotPack; running out of memory is no such error."""
    try:
        yield
    except UNREADABLE as error:
        if is_out_of_memory(error):
            raise
        reason = f"it cannot read {what} ({type(error).__name__}: {str(error)[:100]})"
        raise CannotPack(reason) from error
