"""Choose an engine: packed where it pays and has been seen to give the plain engine's numbers, else plain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from ..models import LanguageModel
from ..warn import warn_caller
from .batches import Columns, Request, offsets
from .capabilities import CannotPack, drops_out
from .head import Reduction
from .memory import default_budget, halve_until_it_fits, keep_freed_memory
from .packed import request_tree
from .plain import score_plain
from .precision import exact_inference
from .prefix_tree import PrefixTree
from .progress import Progress, bar_of
from .verify import require_packing, score_packed_and_check

Engine = Literal["auto", "packed", "plain"]

# Packing pays where it saves at least a tenth of the tokens.
WORTH_PACKING = 0.9


def score_requests(
    lm: LanguageModel,
    requests: Sequence[Request],
    reduction: Reduction,
    name: Callable[[int], str],
    *,
    engine: Engine = "auto",
    token_budget: int | None = None,
    progress: Progress = False,
) -> Columns:
    """Run requests through the model and reduce the logits at the scored positions.

    Parameters
    ----------
    lm : LanguageModel
    requests : sequence of Request
        At least one.
    reduction : Reduction
        What to compute per scored token, such as `LOG_PROBABILITIES`.
    name : callable
        From a request's index to what errors call it.
    engine, token_budget, progress
        As in :func:`nbhelpers.score_answers`; `progress` may also be a part of a longer bar.

    Returns
    -------
    Columns
        The tensors of the reduction, on the CPU, with one entry per scored token: all of request 0, all of request 1,
        and so on. :func:`~nbhelpers.engine.batches.split` cuts them into requests.

    Raises
    ------
    ValueError
        If the model is in training mode, not causal or returns NaN, an option is out of range, or packing was asked
        for and does not work with this model.
    """
    if drops_out(lm.model):
        raise ValueError("the model is in training mode, where dropout changes every score: call lm.model.eval()")
    if token_budget is not None and (not isinstance(token_budget, Integral) or token_budget < 1):
        raise ValueError(f"token_budget={token_budget!r}: give the number of tokens in a forward pass, 1 or more")
    if engine not in ("auto", "packed", "plain"):
        raise ValueError(f"engine={engine!r} is unknown: give 'auto', 'packed' or 'plain'")
    begins = offsets(requests)

    def check(positions: np.ndarray, columns: Columns) -> None:
        wrong = ~columns[0].isfinite().numpy()
        if wrong.any():
            i = int(np.searchsorted(begins, positions[wrong].min(), side="right")) - 1
            raise ValueError(
                f"the model returned NaN or infinity for {name(i)}: its weights are damaged, or {lm.dtype} is too "
                'narrow for it (try load_model(..., dtype="float32"))'
            )

    on_cpu = lm.device.type == "cpu"
    if on_cpu:
        keep_freed_memory()
    tree = None if engine == "plain" else _tree_worth_packing(requests, always=engine == "packed")
    with exact_inference(lm.device), bar_of(progress, unit="tok", unit_scale=True) as bar:

        def attempt(budget: int) -> Columns:
            if tree is not None:
                try:
                    require_packing(lm, requests, budget)
                    bar.reset(total=len(tree.tokens))
                    return score_packed_and_check(lm, requests, tree, reduction, budget, bar.update)
                except CannotPack as problem:
                    if engine == "packed":
                        raise ValueError(f'engine="packed" does not work with {lm.name!r}: {problem}') from problem
                    _warn_of_plain(lm, str(problem))
            bar.reset(total=sum(request.read for request in requests))
            return score_plain(lm, requests, reduction, budget, bar.update, check)

        columns = halve_until_it_fits(attempt, token_budget or default_budget(on_cpu, packed=tree is not None))
    check(np.arange(begins[-1]), columns)
    return columns


def _tree_worth_packing(requests: Sequence[Request], always: bool) -> PrefixTree | None:
    tree = request_tree(requests)
    worth_it = len(tree.tokens) <= WORTH_PACKING * sum(request.read for request in requests)
    return tree if worth_it or always else None


_WARNED: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def _warn_of_plain(lm: LanguageModel, problem: str) -> None:
    """Say once per model and reason that nothing is shared."""
    reason = problem.partition("(")[0].rstrip("0123456789 ")
    if reason in _WARNED.setdefault(lm.model, set()):
        return
    _WARNED[lm.model].add(reason)
    warn_caller(f"{lm.name!r} is scored request by request, without sharing common beginnings: {problem}")
