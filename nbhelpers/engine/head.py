"""The output head: from hidden states to a few numbers per scored token.

Full logits are never materialised: at 1,000 positions and 50,000 words they take 200 MB. A reduction sees the whole
vocabulary at a few positions at a time. A log-probability can also be assembled from slices of the vocabulary, each at
many positions. That takes less memory still, and reads the head's weights once per 256 positions, not once per 64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .batches import Columns, slice_between

if TYPE_CHECKING:
    import torch

# Whole vocabulary: how many states have logits at once. In float32, 64 times 50,000 words are 13 MB.
LOGIT_ROWS = 64

# How many (state, target) pairs are reduced at once. A reduction copies its input (logsumexp: the exponentials). With
# this few at a time, copying costs no noticeable time and memory holds one large block: the logits.
REDUCED_ROWS = 32

# Slices: states and words at once. In float32 these are 2 MB, which fits a CPU's cache; a GPU wants larger pieces.
SLICE_ON_CPU = 256, 2_048
SLICE_ELSEWHERE = 2_048, 8_192


@dataclass(frozen=True)
class Reduction:
    """How logits become a few numbers per scored token.

    Attributes
    ----------
    whole : callable
        From float32 logits (n, vocabulary) and the n token ids they should have predicted to tensors of n entries
        each, the first of them the log-probabilities of those tokens.
    sliced : callable, optional
        The same from (head, states, which, targets), for a head that is a plain Linear layer, without ever holding the
        logits of the whole vocabulary.
    """

    whole: Callable[[torch.Tensor, torch.Tensor], Columns]
    sliced: Callable[[torch.nn.Linear, torch.Tensor, torch.Tensor, torch.Tensor], Columns] | None = None


def reduce_states(
    head: torch.nn.Module | None, states: torch.Tensor, which: np.ndarray, targets: torch.Tensor, reduction: Reduction
) -> Columns:
    """Reduce pairs of a state and a target: the logits at states[which[i]] should have predicted targets[i].

    `states` are hidden states (n, width) or, where there is no separable head, logits (n, vocabulary). `which` ascends
    and names every state at least once.
    """
    import torch

    sliced = reduction.sliced if is_plain_linear(head) else None
    size = LOGIT_ROWS if sliced is None else _slice_size(states)[0]
    parts: list[Columns] = []
    for begin in range(0, len(states), size):
        some = states[begin : begin + size]
        pairs = slice_between(which, begin, begin + size)
        # Without waiting: a GPU may still be busy with the states.
        local = torch.from_numpy(which[pairs] - begin).to(states.device, non_blocking=True)
        if sliced is None:
            parts += _reduce_whole(head, some, local, targets[pairs], reduction)
        else:
            parts.append(sliced(head, some, local, targets[pairs].to(states.device)))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _reduce_whole(
    head: torch.nn.Module | None, states: torch.Tensor, which: torch.Tensor, targets: torch.Tensor, reduction: Reduction
) -> list[Columns]:
    """All logits of a few states, reduced a few pairs at a time."""
    logits = (states if head is None else head(states)).float()  # (states, vocabulary)
    return [
        reduction.whole(logits[few.to(logits.device)], aims.to(logits.device))
        for few, aims in zip(which.split(REDUCED_ROWS), targets.split(REDUCED_ROWS), strict=True)
    ]


def log_probabilities(logits: torch.Tensor, targets: torch.Tensor) -> Columns:
    """The log-probability of each target, in nats, and whether it is the model's most likely token."""
    chosen = logits.gather(-1, targets[:, None])[:, 0]
    return chosen - logits.logsumexp(-1), logits.argmax(-1) == targets


def log_probabilities_in_slices(
    head: torch.nn.Linear, states: torch.Tensor, which: torch.Tensor, targets: torch.Tensor
) -> Columns:
    """What :func:`log_probabilities` returns, from one slice of the vocabulary after the other.

    The logsumexp over all words is the logsumexp of the slices' logsumexps, and the largest logit is the largest of the
    slices' largest.
    """
    import torch

    width = _slice_size(states)[1]
    begins = range(0, len(head.weight), width)
    # One row per slice. Preallocated, for the reason given at `batches.scatter`.
    exact = {"dtype": torch.float32, "device": states.device}
    chosen = torch.empty(len(begins), len(which), **exact)
    normalisers, highest = torch.empty(2, len(begins), len(states), **exact)
    likeliest = torch.empty(len(begins), len(states), dtype=torch.long, device=states.device)
    for i, begin in enumerate(begins):
        words = slice(begin, begin + width)
        bias = None if head.bias is None else head.bias[words]
        logits = torch.nn.functional.linear(states, head.weight[words], bias).float()  # (states, words of the slice)
        normalisers[i] = logits.logsumexp(-1)
        highest[i], likeliest[i] = logits.max(-1)
        # The target's logit, in the one slice that has it; entries of the other slices are never read.
        chosen[i] = logits[which, (targets - begin).clamp(0, logits.shape[1] - 1)]
        likeliest[i] += begin
    logprobs = chosen.gather(0, targets[None] // width)[0] - normalisers.logsumexp(0)[which]
    greedy = likeliest.gather(0, highest.argmax(0, keepdim=True))[0]
    return logprobs, greedy[which] == targets


LOG_PROBABILITIES = Reduction(log_probabilities, log_probabilities_in_slices)


def is_plain_linear(head: torch.nn.Module | None) -> bool:
    """Whether the head is a plain Linear layer: no adapter, no quantisation, no hook."""
    import torch

    return (
        type(head) is torch.nn.Linear
        and type(head.weight) in (torch.nn.Parameter, torch.Tensor)
        and head.weight.is_floating_point()
        and not (head._forward_hooks or head._forward_pre_hooks or "forward" in vars(head))
    )


def _slice_size(states: torch.Tensor) -> tuple[int, int]:
    return SLICE_ON_CPU if states.device.type == "cpu" else SLICE_ELSEWHERE
