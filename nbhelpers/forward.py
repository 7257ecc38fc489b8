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
        tree = None if engine == "plain" else build_tree([ids[:-1] for ids, _ in rows])
        if tree and not _may_pack(lm, rows, tree, engine):
            tree = None
        budget = token_budget or _default_budget(lm, packed=tree is not None)
        total = len(tree.tokens) if tree else sum(len(ids) - 1 for ids, _ in rows)
        with tqdm(total=total, unit="tok", unit_scale=True, disable=not progress) as bar:
            while True:
                try:
                    if tree:
                        results = _packed(lm, rows, tree, reduce, budget, bar.update)
                    else:
                        results = _plain(lm, rows, reduce, name, budget, bar.update)
                    break
                except torch.OutOfMemoryError:
                    if budget == 1:
                        raise
                    budget //= 2
                    bar.reset()
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
    for batch in _batches([len(ids) - 1 for ids, _ in rows], token_budget):
        for i, columns in zip(batch, _score_batch(lm, [rows[i] for i in batch], reduce), strict=True):
            if name is not None:
                _require_finite(lm, columns, name(i))  # at once: the rest of a long run would be wasted
            results[i] = columns
            advance(len(rows[i][0]) - 1)
    return results


def _batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Group items of similar length, longest first, so that a batch padded to its longest stays in the budget."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > token_budget:
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


_SEPARABLE: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def _head_is_separable(model: PreTrainedModel) -> bool:
    """Whether logits are simply head(body(ids)), so that the head can be applied to the scored positions in chunks.

    Tried out once per model: some models scale or cap the logits afterwards (Gemma 2, Cohere), and adapters wrap
    the body (PEFT). Those take the longer way through the model's own forward. The same trial refuses a model whose
    logits depend on later tokens (BERT), since no log-probability can be read off it.
    """
    import torch

    if model not in _SEPARABLE:
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
            _SEPARABLE[model] = head is not None and hidden is not None and torch.equal(head(hidden).float(), logits)
    return _SEPARABLE[model]


def _rounding(model: PreTrainedModel, logits: torch.Tensor) -> float:
    """A few units in the last place of the largest logit, in the model's own precision."""
    import torch

    return 8 * torch.finfo(model.get_input_embeddings().weight.dtype).eps * logits.abs().max().item()


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

    # Every scored token is predicted at the node of the prefix before it. Sorted by node, the pairs (node, target)
    # of a tree row are neighbours, and a node that predicts many targets needs its logits once.
    nodes = np.concatenate([tree.nodes_of[i][first - 1 :] for i, (_, first) in enumerate(rows)])
    targets = np.concatenate([np.array(ids[first:], dtype=np.int64) for ids, first in rows])
    order = np.argsort(nodes, kind="stable")
    nodes, targets = nodes[order], torch.from_numpy(targets[order])
    head = lm.model.get_output_embeddings() if _head_is_separable(lm.model) else lambda logits: logits
    reduced: list[list[torch.Tensor]] = []
    tree_rows = list(cut_rows(tree, token_budget))
    cache = None
    for row, following in zip(tree_rows, [*tree_rows[1:], None], strict=True):
        here = slice(*np.searchsorted(nodes, (row.begin, row.end)))
        wanted, which = np.unique(nodes[here], return_inverse=True)
        states, cache = _read_row(lm, tree, row, wanted - row.begin, following, cache)
        for start in range(0, len(wanted), LOGIT_ROWS):
            logits = head(states[start : start + LOGIT_ROWS]).float()
            pairs = np.arange(*np.searchsorted(which, (start, start + LOGIT_ROWS)))
            for some in np.array_split(pairs, -(-len(pairs) // LOGIT_ROWS)):
                asked = logits[torch.from_numpy(which[some] - start).to(logits.device)]
                columns = reduce(asked, targets[here][some].to(logits.device))
                reduced.append([column.cpu() for column in columns])
        advance(row.end - row.begin)
    back = torch.from_numpy(np.argsort(order))
    counts = [len(ids) - first for ids, first in rows]
    columns = [torch.cat(pieces)[back].split(counts) for pieces in zip(*reduced, strict=True)]
    return list(zip(*columns, strict=True))


def _read_row(
    lm: LanguageModel, tree: PrefixTree, row: Row, wanted: np.ndarray, following: Row | None, cache: Any
) -> tuple[torch.Tensor, Any]:
    """What the wanted positions of a row say, and the keys and values that the following row's path needs.

    The former are hidden states [wanted, width] if the head is separable, else logits [wanted, vocabulary].
    """
    import torch
    from transformers import DynamicCache

    mask = torch.from_numpy(row_mask(tree, row))[None, None].to(lm.device)
    if lm.model.config.get_text_config()._attn_implementation != "sdpa":
        # Other implementations add the mask to the attention scores.
        mask = torch.zeros(mask.shape, dtype=lm.dtype, device=lm.device).masked_fill_(~mask, torch.finfo(lm.dtype).min)
    span = slice(row.begin, row.end)
    keep = following is not None and len(following.path) > 0
    forward = {
        "input_ids": torch.from_numpy(tree.tokens[span])[None].to(lm.device),
        "position_ids": torch.from_numpy(tree.depths[span])[None].to(lm.device),
        "attention_mask": mask,
        "past_key_values": cache if cache is not None or not keep else DynamicCache(),
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


# Up to which depth the packed engine has given the plain engine's numbers on a model; -1 if it ever has not.
_AGREED_DEPTH: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def _may_pack(lm: LanguageModel, rows: Sequence[TokenRow], tree: PrefixTree, engine: Engine) -> bool:
    if engine == "auto" and len(tree.tokens) > WORTH_PACKING * sum(len(ids) - 1 for ids, _ in rows):
        return False
    problem = _packing_problem(lm, max((ids for ids, _ in rows), key=len))
    if problem and engine == "packed":
        raise ValueError(f'engine="packed" does not work with {lm.name!r}: {problem}. Use "auto" or "plain"')
    return not problem


def _packing_problem(lm: LanguageModel, deepest: Sequence[int]) -> str:
    """Why this model's rows cannot be packed, or "" if they can.

    Tried out on the model itself, with two branches of the deepest row: a model that ignores the mask or the positions
    (recurrent ones, ALiBi) fails at once, one with a sliding window as soon as the rows are longer than its window.
    """
    agreed = _AGREED_DEPTH.get(lm.model, 0)
    if agreed >= len(deepest):
        return ""
    if agreed < 0:
        return "it gave other numbers than the plain engine when it was tried"
    # Half as much again as last time, so that rows which grow slowly do not repeat the trial at each step.
    length = max(len(deepest), 32, agreed * 3 // 2)
    if lm.context_length is not None:
        length = max(min(length, lm.context_length + 1), len(deepest))
    ids = (list(deepest) * (length // len(deepest) + 1))[:length]
    half = length // 2
    branches = [(ids, 1), (ids[:half] + ids[half:][::-1], 1)]
    problem = _try_packing(lm, branches)
    _AGREED_DEPTH[lm.model] = -1 if problem else length
    if problem:
        warnings.warn(
            f"{lm.name!r} is scored request by request, without sharing common beginnings: {problem}", stacklevel=2
        )
    return problem


def _try_packing(lm: LanguageModel, branches: Sequence[TokenRow]) -> str:
    try:
        tree = build_tree([ids[:-1] for ids, _ in branches])
        # Rows of two thirds of the length: the trial must go through the cache as well.
        packed = _packed(lm, branches, tree, log_probabilities, max(1, len(branches[0][0]) * 2 // 3), lambda _: None)
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return f"it cannot read a packed tree ({type(error).__name__}: {str(error)[:100]})"
    plain = _plain(lm, branches, log_probabilities, None, _default_budget(lm, packed=False), lambda _: None)
    if not all(column.isfinite().all() for (column,) in plain):
        return "it returns NaN or infinity"
    apart = max((a - b).abs().mean().item() for (a,), (b,) in zip(packed, plain, strict=True))
    # Rounding alone is below 1e-5 in float32; in half precision it reaches a few hundredths.
    tolerance = 1e-4 if lm.dtype.itemsize >= 4 else 0.1
    if not apart <= tolerance:
        return f"packed, it gives other numbers (by {apart:.2g} nats a token)"
    return ""
