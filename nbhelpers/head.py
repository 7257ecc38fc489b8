"""The output head: from a model's last hidden states to a few numbers for each scored token.

Logits are the largest thing a language model computes: 1,000 positions of 50,000 words are 200 MB. So they never stand
there all at once. Any reduction can be given the whole vocabulary at a few positions. A log-probability can also be put
together from slices of the vocabulary, at many positions each. Then what stands there at once is smaller still, and the
head's weights pass through the processor once for 256 positions and not for 64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Columns = tuple["torch.Tensor", ...]
# Takes float32 logits [n, vocabulary] and the n token ids that they should have predicted; returns tensors of n rows
# each, the first of them the log-probabilities of those tokens.
Reduce = Callable[["torch.Tensor", "torch.Tensor"], Columns]

# The whole vocabulary: so many positions at once. In float32, 64 times 50,000 words are 13 MB.
LOGIT_ROWS = 64

# How many of these rows are reduced at once. What a reduction copies (logsumexp: the exponentials) is as large as what
# it is given. Of so few rows it takes no time, and memory holds one large block at a time: the logits.
REDUCED_ROWS = 32

# Slices of the vocabulary: so many positions and words at once. In float32 these are 2 MB, which a CPU's cache can
# hold; a GPU has no use for pieces so small.
SLICE_ON_CPU = 256, 2_048
SLICE_ELSEWHERE = 2_048, 8_192


def log_probabilities(logits: torch.Tensor, targets: torch.Tensor) -> Columns:
    """The log-probability of each target, in nats, and whether it is the model's most likely token."""
    chosen = logits.gather(-1, targets[:, None])[:, 0]
    return chosen - logits.logsumexp(-1), logits.argmax(-1) == targets


def reduced(
    head: torch.nn.Module | None, states: torch.Tensor, which: np.ndarray, targets: torch.Tensor, reduce: Reduce
) -> Columns:
    """What `reduce` makes of some pairs: the logits at states[which[i]] should have predicted targets[i].

    `states` are hidden states [n, width] to which the head is yet to be applied or, if there is none, logits
    [n, vocabulary]. `which` ascends and names every state at least once.
    """
    import torch

    in_slices = reduce is log_probabilities and _is_a_matrix(head)
    rows = _slice_size(states)[0] if in_slices else LOGIT_ROWS
    parts = []
    for begin in range(0, len(states), rows):
        few = states[begin : begin + rows]
        pairs = slice(*np.searchsorted(which, (begin, begin + rows)))
        at = torch.from_numpy(which[pairs] - begin)
        if in_slices:
            parts.append(_from_slices(head, few, at.to(states.device), targets[pairs].to(states.device)))
        else:
            parts += _from_whole_rows(head, few, at, targets[pairs], reduce)
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _from_whole_rows(
    head: torch.nn.Module | None, states: torch.Tensor, which: torch.Tensor, targets: torch.Tensor, reduce: Reduce
) -> list[Columns]:
    """All logits of a few states, reduced some pairs at a time."""
    logits = (states if head is None else head(states)).float()
    return [
        reduce(logits[few.to(logits.device)], aims.to(logits.device))
        for few, aims in zip(which.split(REDUCED_ROWS), targets.split(REDUCED_ROWS), strict=True)
    ]


def _from_slices(
    head: torch.nn.Linear, states: torch.Tensor, which: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `log_probabilities` returns, from the logits of one slice of the vocabulary after the other.

    log(sum of exp) over all words is the same of its values over the slices, and the largest logit is the largest of
    the slices' largest.
    """
    import torch

    width = _slice_size(states)[1]
    begins = range(0, len(head.weight), width)
    # In each of these a row is a slice. Their room is made beforehand, for the reason given at `forward.fill`.
    chosen = torch.empty(len(begins), len(which), device=states.device)
    normalisers, highest = torch.empty(2, len(begins), len(states), device=states.device)
    likeliest = torch.empty(len(begins), len(states), dtype=torch.long, device=states.device)
    for i, begin in enumerate(begins):
        words = slice(begin, begin + width)
        bias = None if head.bias is None else head.bias[words]
        logits = torch.nn.functional.linear(states, head.weight[words], bias).float()
        normalisers[i] = logits.logsumexp(-1)
        highest[i], likeliest[i] = logits.max(-1)
        # The logit of the target, in the one slice that has it; the other slices' entries are never looked at.
        chosen[i] = logits[which, (targets - begin).clamp(0, logits.shape[1] - 1)]
        likeliest[i] += begin
    logprobs = chosen.gather(0, targets[None] // width)[0] - normalisers.logsumexp(0)[which]
    greedy = likeliest.gather(0, highest.argmax(0, keepdim=True))[0]
    return logprobs, greedy[which] == targets


def _slice_size(states: torch.Tensor) -> tuple[int, int]:
    return SLICE_ON_CPU if states.device.type == "cpu" else SLICE_ELSEWHERE


def _is_a_matrix(head: torch.nn.Module | None) -> bool:
    """Whether the head is a matrix that can be cut, and nothing is hung onto it: adapters, quantisation, hooks."""
    import torch

    return (
        type(head) is torch.nn.Linear
        and type(head.weight) in (torch.nn.Parameter, torch.Tensor)
        and head.weight.is_floating_point()
        and not (head._forward_hooks or head._forward_pre_hooks or "forward" in vars(head))
    )


def signature(model: PreTrainedModel) -> tuple[str, ...]:
    """What a trial's result holds for: it is repeated when the configuration or the precision changes."""
    attention = str(model.config.get_text_config()._attn_implementation)
    return type(model).__name__, model.config.to_json_string(use_diff=False), attention, str(precision(model))


def precision(model: PreTrainedModel) -> torch.dtype:
    return model.get_input_embeddings().weight.dtype


_SEPARABLE: WeakKeyDictionary[Any, tuple[tuple[str, ...], bool]] = WeakKeyDictionary()


def separable_head(model: PreTrainedModel) -> torch.nn.Module | None:
    """The model's head, if logits are simply head(body(ids)), so that it can be applied to scored positions alone.

    Tried out once per model: some models scale or cap the logits afterwards (Gemma 2, Cohere), and adapters wrap
    the body (PEFT). Those take the longer way through the model's own forward. The same trial refuses a model whose
    logits depend on later tokens (BERT), since no log-probability can be read off it.
    """
    import torch

    head = model.get_output_embeddings()
    current = signature(model)
    if _SEPARABLE.get(model, ((), False))[0] != current:
        embedding = model.get_input_embeddings().weight
        probe = (torch.arange(8, device=embedding.device) % len(embedding))[None]
        other_end = probe.clone()
        other_end[0, -1] = 0
        with torch.inference_mode():
            logits, changed = (model(input_ids=ids, use_cache=False).logits.float() for ids in (probe, other_end))
            if logits.shape[1] == 8 and (logits - changed)[:, :-1].abs().max() > _rounding(model, logits):
                raise ValueError(
                    f"{type(model).__name__} is not causal: its logits depend on tokens that come later, so it has no "
                    "log-probability of a text. Load a causal language model (for BERT-like models: is_decoder=True)"
                )
            hidden = getattr(model.base_model(input_ids=probe, use_cache=False), "last_hidden_state", None)
            simple = (
                head is not None and hidden is not None and torch.equal(head(hidden).float().to(logits.device), logits)
            )
            _SEPARABLE[model] = (current, simple)
    return head if _SEPARABLE[model][1] else None


def _rounding(model: PreTrainedModel, logits: torch.Tensor) -> float:
    """A few units in the last place of the largest logit, in the model's own precision."""
    import torch

    return 8 * torch.finfo(precision(model)).eps * logits.abs().max().item()
