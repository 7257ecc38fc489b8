"""Which prompts a model can continue together: any, padded on the left; those of one length; or none.

And whether it can read a prompt once for several texts, and go on with a batch that a text has left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from ..models import LanguageModel
from .batch_generation import generate_batch
from .capabilities import UNREADABLE, Fingerprint, remembered, within_rounding
from .memory import is_out_of_memory

if TYPE_CHECKING:
    import torch

Together = Literal["any", "of one length", "none"]

# Lengths of the prompts on which this is tried out, and how many tokens are written after them.
SHORT, LONG, STEPS = 5, 11, 3

_TOGETHER: WeakKeyDictionary[Any, tuple[Fingerprint, Together]] = WeakKeyDictionary()
_READS_ONCE: WeakKeyDictionary[Any, tuple[Fingerprint, bool]] = WeakKeyDictionary()
_MAY_LEAVE: WeakKeyDictionary[Any, tuple[Fingerprint, bool]] = WeakKeyDictionary()


def continued_together(lm: LanguageModel) -> Together:
    """Which prompts a model continues in a batch as it does alone.

    Tested once per model, and again when it changes. Some models read padding into their state (RecurrentGemma) or
    count it as positions (Bart's decoder); RWKV, as transformers has it, mixes up the states of a batch.
    """
    return remembered(_TOGETHER, lm.model, lambda: _try_together(lm))


def reads_once(lm: LanguageModel) -> bool:
    """Whether a model continues copies of a prompt's cache as it continues copies of the prompt.

    Tested once per model, and again when it changes. Some models have no cache, or one that cannot be copied.
    """
    return remembered(_READS_ONCE, lm.model, lambda: _same_as_alone(lm, *_trial_prompts(lm), samples=2))


def may_leave(lm: LanguageModel) -> bool:
    """Whether a model continues a prompt as it does alone after another one has left their batch.

    Tested once per model, and again when it changes. Some models have no cache, or one from which no rows can be taken.
    """
    return remembered(_MAY_LEAVE, lm.model, lambda: _try_leaving(lm))


def _try_together(lm: LanguageModel) -> Together:
    short, long = _trial_prompts(lm)
    if _same_as_alone(lm, short, long):
        return "any"
    return "of one length" if _same_as_alone(lm, short, long[-SHORT:]) else "none"


def _try_leaving(lm: LanguageModel) -> bool:
    together = continued_together(lm)
    short, long = _trial_prompts(lm)
    other = long if together == "any" else long[-SHORT:]
    return together != "none" and _same_as_alone(lm, short, other, leave=True)


def _trial_prompts(lm: LanguageModel) -> list[np.ndarray]:
    vocabulary = len(lm.model.get_input_embeddings().weight)
    return [(np.arange(n) * 7 + 11) % vocabulary for n in (SHORT, LONG)]


def _same_as_alone(
    lm: LanguageModel, prompt: np.ndarray, other: np.ndarray, samples: int = 1, leave: bool = False
) -> bool:
    """Whether the prompt, or each copy of it, is continued beside the other prompt as it is alone.

    With `leave`, the other prompt stands before it and leaves the batch after its first token.
    """
    alone = [_log_probabilities_along(lm, [prompt], way=way)[0] for way in range(samples)]
    prompts = [prompt, other]
    if samples > 1 and continued_together(lm) != "any":
        prompts = [prompt]
    elif leave:
        prompts = [other, prompt]
    try:
        together = _log_probabilities_along(lm, prompts, samples, leave=leave)
    except UNREADABLE as error:
        if is_out_of_memory(error):
            raise
        return False
    for one, row in zip(alone, together[1:] if leave else together[:samples], strict=True):  # (steps, vocabulary)
        likely = one > -20  # further down, rounding is all there is
        if not within_rounding((one - row).abs()[likely], lm.model):
            return False
    return True


def _log_probabilities_along(
    lm: LanguageModel, prompts: Sequence[np.ndarray], samples: int = 1, way: int = 0, leave: bool = False
) -> list[torch.Tensor]:
    """For each row, the log-probabilities (steps, vocabulary) of the next tokens while given ones are forced.

    The copies of a prompt go different ways, so that they cannot share a state unnoticed: copy i goes way i.
    """
    import torch

    vocabulary = len(lm.model.get_input_embeddings().weight)
    steps: list[list[torch.Tensor]] = [[] for _ in range(len(prompts) * samples)]
    ended = [False] * len(steps)

    def force(logits: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        tokens = [(len(steps[row]) * 7 + 11 + row % samples + way) % vocabulary for row in rows]
        for row, logprobs in zip(rows, logits.log_softmax(-1), strict=True):
            steps[row].append(logprobs)
        ended[0] = leave
        return torch.tensor(tokens, device=logits.device)

    generate_batch(lm, prompts, STEPS, 0, force, ended, samples=samples, leave=leave)
    return [torch.stack(row) for row in steps]
