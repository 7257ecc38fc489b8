"""Which engine scores: packed where it pays and has been seen to give the plain engine's numbers, else plain."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from tqdm import tqdm

from .forward import TokenRow, first_scored, positions_depend_on_length, score_plain
from .head import Columns, Reduce, log_probabilities, precision, signature
from .models import LanguageModel
from .packed import IN_BLOCKS, score_packed
from .prefix_tree import PrefixTree, build_tree

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Engine = Literal["auto", "packed", "plain"]

# Packing pays where it leaves out at least a tenth of the tokens.
WORTH_PACKING = 0.9

# Length of the branches on which packing is tried out.
TRIAL_LENGTH = 48

# From so many rows on, one of them is scored by both engines in every packed run.
SPOT_CHECK_FROM = 8


def score_rows(
    lm: LanguageModel,
    rows: Sequence[TokenRow],
    reduce: Reduce,
    name: Callable[[int], str],
    *,
    engine: Engine = "auto",
    token_budget: int | None = None,
    progress: bool = False,
) -> Columns:
    """Run rows of token ids through the model and reduce the logits at the scored positions.

    Parameters
    ----------
    rows
        At least one. Each a pair: token ids, and the index (1 or more) from which on they are scored.
    reduce
        Takes float32 logits [n, vocabulary] and the n token ids that they should have predicted; returns tensors
        of n rows each, the first of them the log-probabilities of those tokens.
    name
        What to call row i in an error.
    engine, token_budget, progress
        As in :func:`nbhelpers.score_answers`.

    Returns
    -------
    The tensors of `reduce`, on the CPU, with one entry for each scored token: all of row 0, all of row 1, and so on.
    """
    import torch

    if lm.model.training:
        raise ValueError("the model is in training mode, where dropout changes every score: call lm.model.eval()")
    if token_budget is not None and (not isinstance(token_budget, int) or token_budget < 1):
        raise ValueError(f"token_budget={token_budget!r}: give the number of tokens in a forward pass, 1 or more")
    if engine not in ("auto", "packed", "plain"):
        raise ValueError(f"engine={engine!r} is unknown: give 'auto', 'packed' or 'plain'")
    starts = first_scored(rows)

    def check(scored: Sequence[int], columns: Columns) -> None:
        wrong = ~columns[0].isfinite().numpy()
        if wrong.any():
            row = int(np.searchsorted(starts, np.asarray(scored)[wrong].min(), side="right")) - 1
            raise ValueError(
                f"the model returned NaN or infinity for {name(row)}: its weights are damaged, or {lm.dtype} is too "
                'narrow for it (try load_model(..., dtype="float32"))'
            )

    if lm.device.type == "cpu":
        _reuse_freed_memory()
    with torch.inference_mode(), tqdm(unit="tok", unit_scale=True, disable=not progress) as bar:
        tree = None if engine == "plain" else _tree_worth_packing(rows, engine)
        budget = token_budget or _default_budget(lm, packed=tree is not None)
        while True:
            try:
                problem = _packing_problem(lm, rows, budget) if tree else ""
                if tree and not problem:
                    bar.reset(total=len(tree.tokens))
                    columns, problem = _packed_and_checked(lm, rows, tree, reduce, budget, bar.update)
                if not tree or problem:
                    if problem and engine == "packed":
                        raise ValueError(f'engine="packed" does not work with {lm.name!r}: {problem}')
                    bar.reset(total=sum(len(ids) - 1 for ids, _ in rows))
                    columns = score_plain(lm, rows, reduce, budget, bar.update, check)
                break
            except RuntimeError as error:
                if not _out_of_memory(error) or budget == 1:
                    raise
                budget //= 2
                warnings.warn(f"out of memory: starting again with token_budget={budget}", stacklevel=3)
    check(range(starts[-1]), columns)
    return columns


@cache
def _reuse_freed_memory() -> None:
    """Have the allocator keep what is freed, or every layer asks the system for the same few megabytes again.

    glibc returns memory from its end when more is free there than twice the largest block that it has seen freed, of
    those below 32 MB. This is such a block. Nothing is written to it, so it takes no memory; other allocators do not
    mind it.
    """
    import torch

    torch.empty(2**25 - 2**16, dtype=torch.uint8)


def _out_of_memory(error: Exception) -> bool:
    """Only GPUs have an error of their own for it. The CPU's and MPS's are RuntimeErrors that say so."""
    import torch

    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "can't allocate memory" in said


def _default_budget(lm: LanguageModel, packed: bool) -> int:
    """Tokens per forward pass. Packed rows are shorter, since attention looks at all pairs of tokens in them."""
    if lm.device.type == "cpu":
        return 512 if packed else 1_024
    return 4_096 if packed else 16_384


@dataclass(frozen=True)
class _Trial:
    """How the packed engine has done on a model: the longest row and widest tree it got right, or its problem."""

    signature: tuple[str, ...]
    length: int
    nodes: int
    problem: str


_TRIALS: WeakKeyDictionary[Any, _Trial] = WeakKeyDictionary()

# What a row that cannot be read as a tree raises, in one model or another.
_UNREADABLE = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


def _tree_worth_packing(rows: Sequence[TokenRow], engine: Engine) -> PrefixTree | None:
    tree = build_tree([ids[:-1] for ids, _ in rows])
    worth = len(tree.tokens) <= WORTH_PACKING * sum(len(ids) - 1 for ids, _ in rows)
    return tree if worth or engine == "packed" else None


def _packing_problem(lm: LanguageModel, rows: Sequence[TokenRow], budget: int) -> str:
    """Why these rows cannot be packed for this model, or "" if they can as far as one can tell beforehand.

    First the configuration is asked; then, once for each model and again if it changes, packing is tried out on a few
    short branches and compared with the plain engine.
    """
    deepest = max((ids for ids, _ in rows), key=len)
    problem = _obstacle(lm.model, len(deepest))
    current = signature(lm.model)
    last = _TRIALS.get(lm.model)
    if not problem and last is not None and last.signature == current:
        return last.problem
    if not problem:
        length = min(TRIAL_LENGTH, lm.context_length or TRIAL_LENGTH, _window(lm.model) or TRIAL_LENGTH)
        problem = _try_packing(lm, np.resize(deepest, length), budget)
        _TRIALS[lm.model] = _Trial(current, length, 0, problem)
    if problem:
        _warn_of_plain(lm, problem)
    return problem


_WARNED: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def _warn_of_plain(lm: LanguageModel, problem: str) -> None:
    """Say once per model and reason that nothing is shared."""
    reason = problem.partition("(")[0].rstrip("0123456789 ")
    if reason in _WARNED.setdefault(lm.model, set()):
        return
    _WARNED[lm.model].add(reason)
    warnings.warn(
        f"{lm.name!r} is scored request by request, without sharing common beginnings: {problem}", stacklevel=5
    )


def _obstacle(model: PreTrainedModel, length: int) -> str:
    """What in the configuration rules packing out for rows of this length, or ""."""
    config = model.config.get_text_config()
    if config._attn_implementation not in ("sdpa", "eager", IN_BLOCKS):
        return f"its attention ({config._attn_implementation}) takes no tree mask"
    alibi = getattr(config, "alibi", False) or getattr(config, "position_embedding_type", "") == "alibi"
    if alibi or config.model_type in ("bloom", "mpt", "gpt_neo"):
        return "its attention depends on places in the row, not only on depth (ALiBi, local attention)"
    if positions_depend_on_length(model):
        return "its positions depend on the length of the text (dynamic or long RoPE)"
    others = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if others:
        return f"not all of its layers are plain attention ({', '.join(sorted(others))})"
    window = _window(model)
    if window and length > window:
        return f"its attention looks back {window} tokens only, and the longest request has {length}"
    return ""


def _window(model: PreTrainedModel) -> int | None:
    """The smallest number of tokens that a layer looks back, if the configuration limits it."""
    config = model.config.get_text_config()
    names = ("sliding_window", "attention_chunk_size", "window_size", "local_attention", "attention_window_size")
    limits = [getattr(config, name, None) for name in names]
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)


def _try_packing(lm: LanguageModel, ids: np.ndarray, budget: int) -> str:
    """Compare the engines on three branches that part in the middle of `ids`, with other tokens in each."""

    half, vocabulary = len(ids) // 2, len(lm.model.get_input_embeddings().weight)
    later = np.arange(len(ids)) >= half
    branches = [
        (np.where(later, (ids + shift * (1 + np.arange(len(ids)))) % vocabulary, ids), 1) for shift in (0, 7, 14)
    ]
    tree = build_tree([branch[:-1] for branch, _ in branches])
    # Once in one row, and once in rows so narrow that the cache is tried as well.
    for row_length in (budget, max(1, min(budget, len(ids) * 2 // 3))):
        try:
            packed, _ = score_packed(lm, branches, tree, log_probabilities, row_length)
        except _UNREADABLE as error:
            if _out_of_memory(error):
                raise
            return f"it cannot read a packed tree ({type(error).__name__}: {str(error)[:100]})"
        problem = _difference(lm, branches, packed, budget)
        if problem:
            return problem
    return ""


def _packed_and_checked(
    lm: LanguageModel,
    rows: Sequence[TokenRow],
    tree: PrefixTree,
    reduce: Reduce,
    budget: int,
    advance: Callable[[int], Any],
) -> tuple[Columns, str]:
    """The packed engine's results, and what is wrong with them, or "".

    One row is scored again by the plain engine in every larger run, and whenever rows are longer or the tree is wider
    than any that came out right before: the longest row, and of these the one that comes last.
    """

    try:
        columns = score_packed(lm, rows, tree, reduce, budget, advance)
    except _UNREADABLE as error:
        if _out_of_memory(error):
            raise
        problem = f"it cannot read these requests packed ({type(error).__name__}: {str(error)[:100]})"
        _warn_of_plain(lm, problem)
        return (), problem
    last = _TRIALS[lm.model]
    length, nodes = max(len(ids) for ids, _ in rows), min(budget, len(tree.tokens))
    if len(rows) < SPOT_CHECK_FROM and length <= last.length and nodes <= last.nodes:
        return columns, ""
    checked = max(range(len(rows)), key=lambda i: (len(rows[i][0]), tree.ends[i]))
    place = slice(*first_scored(rows)[checked : checked + 2])
    problem = _difference(lm, [rows[checked]], columns[0][place], budget)
    if problem:
        _warn_of_plain(lm, problem)
    else:
        _TRIALS[lm.model] = replace(last, length=max(length, last.length), nodes=max(nodes, last.nodes))
    return columns, problem


def _difference(lm: LanguageModel, rows: Sequence[TokenRow], packed: torch.Tensor, budget: int) -> str:
    """How packed log-probabilities differ from the plain engine's, or "" if only by rounding."""
    plain, _ = score_plain(lm, rows, log_probabilities, budget)
    if not plain.isfinite().all():
        return "it returns NaN or infinity"
    # The beginning of a row is the same in any layout. What comes last shows the differences.
    counts = [len(ids) - first for ids, first in rows]
    late = np.concatenate([np.arange(count) >= count // 2 for count in counts])
    apart = (packed - plain).abs()[late]
    mean, worst = apart.mean().item(), apart.max().item()
    # Rounding in float32 is below 1e-5. In bfloat16 it is 0.02 in the mean of many tokens and may reach 0.2 for one.
    exact = precision(lm.model).itemsize >= 4
    if worst <= (1e-3 if exact else 0.5) and mean <= 0.1 * (1 + 4 / len(apart)):
        return ""
    return f"packed, it gives other numbers (by up to {worst:.2g} nats)"
