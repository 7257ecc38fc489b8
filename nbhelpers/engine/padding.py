"""Which prompts a model can continue together: any, padded on the left; those of one length; or none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from ..models import LanguageModel
from .capabilities import UNREADABLE, Fingerprint, fingerprint, within_rounding
from .memory import is_out_of_memory

if TYPE_CHECKING:
    import torch

Together = Literal["any", "of one length", "none"]

# Lengths of the prompts on which this is tried out, and how many tokens are written after them.
SHORT, LONG, STEPS = 5, 11, 3

_FOUND: WeakKeyDictionary[Any, tuple[Fingerprint, Together]] = WeakKeyDictionary()


def continued_together(lm: LanguageModel) -> Together:
    """Which prompts a model continues in a batch as it does alone.

    Tested once per model, and again when it changes. Some models read padding into their state (RecurrentGemma) or
    count it as positions (Bart's decoder); RWKV, as transformers has it, mixes up the states of a batch.
    """
    current = fingerprint(lm.model)
    known, found = _FOUND.get(lm.model, ((), "none"))
    if known != current:
        found = _try_together(lm)
        _FOUND[lm.model] = current, found
    return found


def _try_together(lm: LanguageModel) -> Together:
    vocabulary = len(lm.model.get_input_embeddings().weight)
    short, long, written = ((np.arange(n) * 7 + 11) % vocabulary for n in (SHORT, LONG, STEPS))
    alone = _log_probabilities_along(lm, [short], written)
    likely = alone > -20  # further down, rounding is all there is

    def same_beside(other: np.ndarray) -> bool:
        try:
            together = _log_probabilities_along(lm, [short, other], written)
        except UNREADABLE as error:
            if is_out_of_memory(error):
                raise
            return False
        return within_rounding((alone - together).abs()[likely], lm.model)

    if same_beside(long):
        return "any"
    return "of one length" if same_beside(long[-SHORT:]) else "none"


def _log_probabilities_along(lm: LanguageModel, prompts: Sequence[np.ndarray], written: np.ndarray) -> torch.Tensor:
    """Log-probabilities (steps, vocabulary) of the first prompt's next tokens while the `written` ones are forced."""
    import torch

    steps: list[torch.Tensor] = []

    def force(logits: torch.Tensor) -> torch.Tensor:
        token = torch.full((len(logits),), int(written[len(steps)]), device=logits.device)
        steps.append(logits[0].log_softmax(-1))
        return token

    generate_padded(lm, prompts, len(written), 0, force, lambda: [False] * len(prompts))
    return torch.stack(steps)


def generate_padded(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int] | np.ndarray],
    max_new_tokens: int,
    pad: int,
    choose: Callable[[torch.Tensor], torch.Tensor],
    finished: Callable[[], Sequence[bool]],
) -> None:
    """Run the model's own `generate` over prompts padded on the left, so that all continue at the same position.

    `choose` gets the logits (batch, vocabulary) of each step, in float32, and returns the tokens (batch,) to write.
    `finished` says after each step which rows are done.
    """
    import torch
    from transformers import GenerationConfig

    length = max(map(len, prompts))
    rows = [[pad] * (length - len(prompt)) + list(prompt) for prompt in prompts]
    shown = [[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts]

    def process(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # `generate` takes the argmax of what it gets back: the token chosen here.
        return torch.zeros_like(scores).scatter_(-1, choose(scores.float())[:, None], 1.0)

    def stop(input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        return torch.tensor(finished(), device=input_ids.device)

    # A second view of the same modules, with plain settings: `generate` mixes a model's own settings into any that it
    # is given, and changing them on the model itself would show in other threads, and for good after an interruption.
    plain = copy.copy(lm.model)
    plain.generation_config = GenerationConfig(do_sample=False, use_cache=True)
    plain.generate(
        torch.tensor(rows, device=lm.device),  # (batch, positions)
        attention_mask=torch.tensor(shown, device=lm.device),
        max_new_tokens=max_new_tokens,
        pad_token_id=pad,
        logits_processor=[process],
        stopping_criteria=[stop],
    )
