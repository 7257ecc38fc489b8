"""Forward passes: rows of token ids in, a few numbers for each scored token out.

A *row* is a sequence of token ids and the index from which on its tokens are to be scored. The logits at the scored
positions, and only those, are handed to a function that reduces them. Two engines do the same work. The plain one
runs rows beside each other, padded on the right; it is the reference. The packed one lays all rows out as one prefix
tree (`prefix_tree`), so that nothing is computed twice, and is used only after it has given the plain engine's
numbers on the model at hand.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from tqdm import tqdm

from .models import LanguageModel
from .prefix_tree import PrefixTree, Row, build_tree, cut_rows, row_mask

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Engine = Literal["auto", "packed", "plain"]
TokenRow = tuple[Sequence[int], int]
Columns = tuple["torch.Tensor", ...]
Reduce = Callable[["torch.Tensor", "torch.Tensor"], Columns]

# How many float32 rows of logits exist at once: 256 of 50,000 words each are 50 MB.
LOGIT_ROWS = 256

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
) -> list[Columns]:
    """Run rows of token ids through the model and reduce the logits at the scored positions.

    Parameters
    ----------
    rows
        Each a pair: token ids, and the index (1 or more) from which on they are scored.
    reduce
        Takes float32 logits [n, vocabulary] and the n token ids that they should have predicted; returns tensors
        of n rows each, the first of them the log-probabilities of those tokens.
    name
        What to call row i in an error.
    engine, token_budget, progress
        As in :func:`nbhelpers.score_answers`.

    Returns
    -------
    For each row the tensors of `reduce`, on the CPU, with one entry for each scored token.
    """
    import torch

    if lm.model.training:
        raise ValueError("the model is in training mode, where dropout changes every score: call lm.model.eval()")
    if token_budget is not None and (not isinstance(token_budget, int) or token_budget < 1):
        raise ValueError(f"token_budget={token_budget!r}: give the number of tokens in a forward pass, 1 or more")
    if engine not in ("auto", "packed", "plain"):
        raise ValueError(f"engine={engine!r} is unknown: give 'auto', 'packed' or 'plain'")
    if not rows:
        return []
    with torch.inference_mode():
        tree = None if engine == "plain" else _tree_worth_packing(rows, engine)
        budget = token_budget or _default_budget(lm, packed=tree is not None)
        with tqdm(unit="tok", unit_scale=True, disable=not progress) as bar:
            while True:
                try:
                    problem = _packing_problem(lm, rows, budget) if tree else ""
                    if tree and not problem:
                        bar.reset(total=len(tree.tokens))
                        results, problem = _packed_and_checked(lm, rows, tree, reduce, budget, bar.update)
                    if not tree or problem:
                        if problem and engine == "packed":
                            raise ValueError(f'engine="packed" does not work with {lm.name!r}: {problem}')
                        bar.reset(total=sum(len(ids) - 1 for ids, _ in rows))
                        results = _plain(lm, rows, reduce, name, budget, bar.update)
                    break
                except torch.OutOfMemoryError:
                    if budget == 1:
                        raise
                    budget //= 2
                    warnings.warn(f"out of memory: starting again with token_budget={budget}", stacklevel=3)
    for i, columns in enumerate(results):
        _require_finite(lm, columns, name(i))
    return results


def _default_budget(lm: LanguageModel, packed: bool) -> int:
    """Tokens per forward pass. Packed rows are shorter, since attention looks at all pairs of tokens in them."""
    if lm.device.type == "cpu":
        return 512 if packed else 2_048
    return 4_096 if packed else 16_384


def log_probabilities(logits: torch.Tensor, targets: torch.Tensor) -> Columns:
    """The simplest reduction: the log-probability of each target, in nats."""
    return (logits.gather(-1, targets[:, None])[:, 0] - logits.logsumexp(-1),)


def _require_finite(lm: LanguageModel, columns: Columns, name: str) -> None:
    if not columns[0].isfinite().all():
        raise ValueError(
            f"the model returned NaN or infinity for {name}: its weights are damaged, or {lm.dtype} is too narrow "
            'for it (try load_model(..., dtype="float32"))'
        )


# --- the plain engine -----------------------------------------------------------------------------------------------


def _plain(
    lm: LanguageModel,
    rows: Sequence[TokenRow],
    reduce: Reduce,
    name: Callable[[int], str] | None,
    token_budget: int,
    advance: Callable[[int], Any],
) -> list[Columns]:
    results: list[Columns] = [()] * len(rows)
    equal = _positions_depend_on_length(lm.model)
    for batch in _batches([len(ids) - 1 for ids, _ in rows], token_budget, equal):
        for i, columns in zip(batch, _score_batch(lm, [rows[i] for i in batch], reduce), strict=True):
            if name is not None:
                _require_finite(lm, columns, name(i))  # at once: the rest of a long run would be wasted
            results[i] = columns
            advance(len(rows[i][0]) - 1)
    return results


def _batches(lengths: Sequence[int], token_budget: int, equal: bool = False) -> Iterator[list[int]]:
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


def _score_batch(
    lm: LanguageModel,
    rows: Sequence[TokenRow],
    reduce: Reduce,
) -> list[Columns]:
    """One forward pass over rows padded on the right, where a causal model cannot see the padding."""
    import torch

    lengths = torch.tensor([len(ids) - 1 for ids, _ in rows])
    inputs = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for i, (ids, _) in enumerate(rows):
        inputs[i, : len(ids) - 1] = torch.tensor(ids[:-1])
    mask = (torch.arange(inputs.shape[1]) < lengths[:, None]).long()
    # The logits that predict token t stand at position t - 1.
    at_row = torch.cat([torch.full((len(ids) - first,), i) for i, (ids, first) in enumerate(rows)])
    at_position = torch.cat([torch.arange(first - 1, len(ids) - 1) for ids, first in rows])
    targets = torch.cat([torch.tensor(ids[first:]) for ids, first in rows])

    forward = {"input_ids": inputs.to(lm.device), "use_cache": False}
    if not mask.all():
        forward["attention_mask"] = mask.to(lm.device)
    reduced = []
    for logits, chunk in zip(
        _logits_at(lm.model, forward, at_row, at_position), targets.split(LOGIT_ROWS), strict=True
    ):
        reduced.append([column.cpu() for column in reduce(logits.float(), chunk.to(logits.device))])
    columns = [
        torch.cat(pieces).split([len(ids) - first for ids, first in rows]) for pieces in zip(*reduced, strict=True)
    ]
    return list(zip(*columns, strict=True))


def _logits_at(
    model: PreTrainedModel, forward: dict[str, Any], at_row: torch.Tensor, at_position: torch.Tensor
) -> Iterator[torch.Tensor]:
    """Logits [n, vocabulary] at the given rows and positions of a batch, at most LOGIT_ROWS at a time."""
    if _head_is_separable(model):
        hidden = model.base_model(**forward).last_hidden_state
        hidden = hidden[at_row.to(hidden.device), at_position.to(hidden.device)]
        for chunk in hidden.split(LOGIT_ROWS):
            yield model.get_output_embeddings()(chunk)
    else:
        kept, at_kept = at_position.unique(return_inverse=True)
        expected = forward["input_ids"].shape[1]
        if "logits_to_keep" in inspect.signature(model.forward).parameters:
            forward = {**forward, "logits_to_keep": kept.to(forward["input_ids"].device)}
            at_position, expected = at_kept, len(kept)
        logits = model(**forward).logits
        if logits.shape[1] != expected:
            raise ValueError(
                f"the model returns logits for {logits.shape[1]} positions where {expected} were asked for, so that no "
                "position can be trusted: does an adapter put virtual tokens before the text (prompt tuning)?"
            )
        logits = logits[at_row.to(logits.device), at_position.to(logits.device)]
        yield from logits.split(LOGIT_ROWS)


def _signature(model: PreTrainedModel) -> tuple[str, ...]:
    """What a trial's result holds for: it is repeated when the configuration or the precision changes."""
    attention = str(model.config.get_text_config()._attn_implementation)
    return type(model).__name__, model.config.to_json_string(use_diff=False), attention, str(_precision(model))


def _precision(model: PreTrainedModel) -> torch.dtype:
    return model.get_input_embeddings().weight.dtype


_SEPARABLE: WeakKeyDictionary[Any, tuple[tuple[str, ...], bool]] = WeakKeyDictionary()


def _head_is_separable(model: PreTrainedModel) -> bool:
    """Whether logits are simply head(body(ids)), so that the head can be applied to the scored positions in chunks.

    Tried out once per model: some models scale or cap the logits afterwards (Gemma 2, Cohere), and adapters wrap
    the body (PEFT). Those take the longer way through the model's own forward. The same trial refuses a model whose
    logits depend on later tokens (BERT), since no log-probability can be read off it.
    """
    import torch

    signature = _signature(model)
    if _SEPARABLE.get(model, ((), False))[0] != signature:
        embedding = model.get_input_embeddings().weight
        probe = (torch.arange(8, device=embedding.device) % len(embedding))[None]
        other_end = probe.clone()
        other_end[0, -1] = 0
        head = model.get_output_embeddings()
        with torch.inference_mode():
            logits, changed = (model(input_ids=ids, use_cache=False).logits.float() for ids in (probe, other_end))
            if logits.shape[1] == 8 and (logits - changed)[:, :-1].abs().max() > _rounding(model, logits):
                raise ValueError(
                    f"{type(model).__name__} is not causal: its logits depend on tokens that come later, so it has no "
                    "log-probability of a text. Load a causal language model (for BERT-like models: is_decoder=True)"
                )
            hidden = getattr(model.base_model(input_ids=probe, use_cache=False), "last_hidden_state", None)
            simple = head is not None and hidden is not None and torch.equal(head(hidden).float(), logits)
            _SEPARABLE[model] = (signature, simple)
    return _SEPARABLE[model][1]


def _rounding(model: PreTrainedModel, logits: torch.Tensor) -> float:
    """A few units in the last place of the largest logit, in the model's own precision."""
    import torch

    return 8 * torch.finfo(_precision(model)).eps * logits.abs().max().item()


# --- the packed engine ----------------------------------------------------------------------------------------------


def _packed(
    lm: LanguageModel,
    rows: Sequence[TokenRow],
    tree: PrefixTree,
    reduce: Reduce,
    token_budget: int,
    advance: Callable[[int], Any],
) -> list[Columns]:
    import torch

    # Every scored token is predicted at the node of the prefix before it. Sorted by node, these pairs (node, target)
    # lie together for each row of the tree. If rows 0 and 1 both predict at node 7 (targets 4 and 9) and row 2 at
    # node 8 (target 5): nodes = [7, 7, 8], targets = [4, 9, 5], wanted = [7, 8], which = [0, 0, 1]. Logits are
    # computed for `wanted`, once each, and handed on for [0, 0, 1].
    nodes = np.concatenate([tree.nodes_of[i][first - 1 :] for i, (_, first) in enumerate(rows)])
    targets = np.concatenate([np.array(ids[first:], dtype=np.int64) for ids, first in rows])
    order = np.argsort(nodes, kind="stable")
    nodes, targets = nodes[order], torch.from_numpy(targets[order])
    separable = _head_is_separable(lm.model)
    reduced: list[list[torch.Tensor]] = []
    cache = None
    for row, following in pairwise(chain(cut_rows(tree, token_budget), [None])):
        in_row = slice(*np.searchsorted(nodes, (row.begin, row.end)))
        wanted, which = np.unique(nodes[in_row], return_inverse=True)
        states, cache = _read_row(lm, tree, row, wanted - row.begin, following, cache)
        for start in range(0, len(wanted), LOGIT_ROWS):
            logits = states[start : start + LOGIT_ROWS]
            if separable:
                logits = lm.model.get_output_embeddings()(logits)
            logits = logits.float()
            pairs = np.arange(*np.searchsorted(which, (start, start + LOGIT_ROWS)))
            for few in np.array_split(pairs, -(-len(pairs) // LOGIT_ROWS)):
                repeated = logits[torch.from_numpy(which[few] - start).to(logits.device)]
                columns = reduce(repeated, targets[in_row][few].to(logits.device))
                reduced.append([column.cpu() for column in columns])
        advance(row.end - row.begin)
    to_row_order = torch.from_numpy(np.argsort(order))
    counts = [len(ids) - first for ids, first in rows]
    columns = [torch.cat(pieces)[to_row_order].split(counts) for pieces in zip(*reduced, strict=True)]
    return list(zip(*columns, strict=True))


def _read_row(
    lm: LanguageModel, tree: PrefixTree, row: Row, wanted: np.ndarray, following: Row | None, cache: Any
) -> tuple[torch.Tensor, Any]:
    """What the wanted positions of a row say, and the keys and values that the following row's path needs.

    The former are hidden states [wanted, width] if the head is separable, else logits [wanted, vocabulary]. Keys and
    values may be picked and reordered freely, because a key depends on its token's depth and not on its place in the
    row: this is why models whose positions depend on anything else are refused.
    """
    import torch
    from transformers import DynamicCache

    mask = torch.from_numpy(row_mask(tree, row))[None, None].to(lm.device)
    if lm.model.config.get_text_config()._attn_implementation != "sdpa":
        # Other implementations add the mask to the attention scores.
        dtype = _precision(lm.model)
        mask = torch.zeros(mask.shape, dtype=dtype, device=lm.device).masked_fill_(~mask, torch.finfo(dtype).min)
    span = slice(row.begin, row.end)
    keep = following is not None and len(following.path) > 0
    forward = {
        "input_ids": torch.from_numpy(tree.tokens[span])[None].to(lm.device),
        "position_ids": torch.from_numpy(tree.depths[span])[None].to(lm.device),
        "attention_mask": mask,
        "past_key_values": DynamicCache() if cache is None and keep else cache,
        "use_cache": keep or cache is not None,
    }
    at = torch.from_numpy(wanted).to(lm.device)
    if _head_is_separable(lm.model):
        output = lm.model.base_model(**forward)
        states = output.last_hidden_state[0]
        states = states[at.to(states.device)]
    else:
        keeps = "logits_to_keep" in inspect.signature(lm.model.forward).parameters
        output = lm.model(**forward, logits_to_keep=at) if keeps else lm.model(**forward)
        states = output.logits[0] if keeps else output.logits[0][at.to(output.logits.device)]
    kept = None
    if keep:
        # Both lists are in walk order, so a search finds each ancestor among what this row has seen.
        seen = np.concatenate([row.path, np.arange(row.begin, row.end)])
        ancestors = torch.from_numpy(np.searchsorted(seen, following.path))
        kept = DynamicCache()
        for number, layer in enumerate(output.past_key_values.layers):
            here = ancestors.to(layer.keys.device)
            kept.update(layer.keys[:, :, here], layer.values[:, :, here], number)
    return states, kept


# --- trust, then verify ---------------------------------------------------------------------------------------------


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
    signature = _signature(lm.model)
    last = _TRIALS.get(lm.model)
    if not problem and last is not None and last.signature == signature:
        return last.problem
    if not problem:
        length = min(TRIAL_LENGTH, lm.context_length or TRIAL_LENGTH, _window(lm.model) or TRIAL_LENGTH)
        ids = (list(deepest) * (length // len(deepest) + 1))[:length]
        problem = _try_packing(lm, ids, budget)
        _TRIALS[lm.model] = _Trial(signature, length, 0, problem)
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
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"its attention ({config._attn_implementation}) takes no tree mask"
    alibi = getattr(config, "alibi", False) or getattr(config, "position_embedding_type", "") == "alibi"
    if alibi or config.model_type in ("bloom", "mpt", "gpt_neo"):
        return "its attention depends on places in the row, not only on depth (ALiBi, local attention)"
    if _positions_depend_on_length(model):
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


def _positions_depend_on_length(model: PreTrainedModel) -> bool:
    """Whether a token's position encoding depends on the longest row it is computed with."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    return any(name in str(rope) for name in ("dynamic", "longrope", "'su'"))


def _try_packing(lm: LanguageModel, ids: list[int], budget: int) -> str:
    import torch

    half = len(ids) // 2
    vocabulary = len(lm.tokenizer)
    # Three branches that part in the middle, with other tokens in each.
    branches = [(ids, 1)]
    for shift in (7, 14):
        branches.append((ids[:half] + [(t + shift + 11 * k) % vocabulary for k, t in enumerate(ids[half:])], 1))
    tree = build_tree([row[:-1] for row, _ in branches])
    # Once in one row, and once in rows so narrow that the cache is tried as well.
    for row_length in (budget, max(1, min(budget, len(ids) * 2 // 3))):
        try:
            packed = _packed(lm, branches, tree, log_probabilities, row_length, lambda _: None)
        except torch.OutOfMemoryError:
            raise
        except _UNREADABLE as error:
            return f"it cannot read a packed tree ({type(error).__name__}: {str(error)[:100]})"
        problem = _difference(lm, branches, [columns[0] for columns in packed], budget)
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
) -> tuple[list[Columns], str]:
    """The packed engine's results, and what is wrong with them, or "".

    One row is scored again by the plain engine in every larger run, and whenever rows are longer or the tree is wider
    than any that came out right before: the longest row, and of these the one that comes last.
    """
    import torch

    try:
        results = _packed(lm, rows, tree, reduce, budget, advance)
    except torch.OutOfMemoryError:
        raise
    except _UNREADABLE as error:
        problem = f"it cannot read these requests packed ({type(error).__name__}: {str(error)[:100]})"
        _warn_of_plain(lm, problem)
        return [], problem
    last = _TRIALS[lm.model]
    length, nodes = max(len(ids) for ids, _ in rows), min(budget, len(tree.tokens))
    if len(rows) < SPOT_CHECK_FROM and length <= last.length and nodes <= last.nodes:
        return results, ""
    checked = max(range(len(rows)), key=lambda i: (len(rows[i][0]), tree.nodes_of[i][-1]))
    problem = _difference(lm, [rows[checked]], [results[checked][0]], budget)
    if problem:
        _warn_of_plain(lm, problem)
    else:
        _TRIALS[lm.model] = replace(last, length=max(length, last.length), nodes=max(nodes, last.nodes))
    return results, problem


def _difference(lm: LanguageModel, rows: Sequence[TokenRow], packed: Sequence[torch.Tensor], budget: int) -> str:
    """How packed log-probabilities differ from the plain engine's, or "" if only by rounding."""
    for got, (expected,) in zip(packed, _plain(lm, rows, log_probabilities, None, budget, lambda _: None), strict=True):
        if not expected.isfinite().all():
            return "it returns NaN or infinity"
        # The beginning of a row is the same in any layout. What comes last shows the differences.
        apart = (got - expected).abs()[len(got) // 2 :]
        mean, worst = apart.mean().item(), apart.max().item()
        # Rounding in float32 is below 1e-5; in bfloat16 it is 0.02 in the mean and may reach 0.2 for one token.
        tolerable = worst <= 1e-3 if _precision(lm.model).itemsize >= 4 else mean <= 0.1 and worst <= 0.5
        if not tolerable:
            return f"packed, it gives other numbers (by up to {worst:.2g} nats)"
    return ""
