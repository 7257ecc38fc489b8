"""Which prompts a model can continue together: any, padded on the left; those of one length; or none.

And whether it can read a prompt once and continue it several times.
"""

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
_READS_ONCE: WeakKeyDictionary[Any, tuple[Fingerprint, bool]] = WeakKeyDictionary()


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


def reads_once(lm: LanguageModel) -> bool:
    """Whether a model continues copies of a prompt's cache as it continues copies of the prompt.

    Tested once per model, and again when it changes. Some models have no cache, or one that cannot be copied.
    """
    current = fingerprint(lm.model)
    known, found = _READS_ONCE.get(lm.model, ((), False))
    if known != current:
        found = _same_as_alone(lm, *_trial_prompts(lm), samples=2)
        _READS_ONCE[lm.model] = current, found
    return found


def _try_together(lm: LanguageModel) -> Together:
    short, long = _trial_prompts(lm)
    if _same_as_alone(lm, short, long):
        return "any"
    return "of one length" if _same_as_alone(lm, short, long[-SHORT:]) else "none"


def _trial_prompts(lm: LanguageModel) -> list[np.ndarray]:
    vocabulary = len(lm.model.get_input_embeddings().weight)
    return [(np.arange(n) * 7 + 11) % vocabulary for n in (SHORT, LONG)]


def _same_as_alone(lm: LanguageModel, prompt: np.ndarray, other: np.ndarray, samples: int = 1) -> bool:
    """Whether the prompt, or each copy of it, is continued beside the other prompt as it is alone."""
    alone = [_log_probabilities_along(lm, [prompt], way=way)[0] for way in range(samples)]
    prompts = [prompt] if samples > 1 and continued_together(lm) != "any" else [prompt, other]
    try:
        together = _log_probabilities_along(lm, prompts, samples)[:samples]
    except UNREADABLE as error:
        if is_out_of_memory(error):
            raise
        return False
    for one, row in zip(alone, together, strict=True):  # (steps, vocabulary)
        likely = one > -20  # further down, rounding is all there is
        if not within_rounding((one - row).abs()[likely], lm.model):
            return False
    return True


def _log_probabilities_along(
    lm: LanguageModel, prompts: Sequence[np.ndarray], samples: int = 1, way: int = 0
) -> torch.Tensor:
    """Log-probabilities (rows, steps, vocabulary) of the next tokens while given ones are forced.

    The copies of a prompt go different ways, so that they cannot share a state unnoticed: copy i goes way i.
    """
    import torch

    vocabulary = len(lm.model.get_input_embeddings().weight)
    steps: list[torch.Tensor] = []

    def force(logits: torch.Tensor) -> torch.Tensor:
        ways = torch.arange(len(logits), device=logits.device) % samples + way
        tokens = (len(steps) * 7 + 11 + ways) % vocabulary
        steps.append(logits.log_softmax(-1))
        return tokens

    generate_padded(lm, prompts, STEPS, 0, force, lambda: [False] * len(prompts) * samples, samples)
    return torch.stack(steps, dim=1)


def generate_padded(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int] | np.ndarray],
    max_new_tokens: int,
    pad: int,
    choose: Callable[[torch.Tensor], torch.Tensor],
    finished: Callable[[], Sequence[bool]],
    samples: int = 1,
) -> None:
    """Run the model's own `generate` over prompts padded on the left, so that all continue at the same position.

    Each prompt is continued `samples` times. All but its last token is read once, and its cache copied: the rows of a
    batch are the copies of prompt 0, then those of prompt 1, and so on.

    `choose` gets the logits (batch, vocabulary) of each step, in float32, and returns the tokens (batch,) to write.
    `finished` says after each step which rows are done.
    """
    import torch
    from transformers import GenerationConfig

    length = max(map(len, prompts))
    padded = [[pad] * (length - len(prompt)) + list(prompt) for prompt in prompts]
    shown = [[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    rows = torch.tensor(padded, device=lm.device)  # (prompts, positions)
    mask = torch.tensor(shown, device=lm.device)

    def process(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # `generate` takes the argmax of what it gets back: the token chosen here.
        return torch.zeros_like(scores).scatter_(-1, choose(scores.float())[:, None], 1.0)

    def stop(input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        return torch.tensor(finished(), device=input_ids.device)

    # A second view of the same modules, with plain settings: `generate` mixes a model's own settings into any that it
    # is given, and changing them on the model itself would show in other threads, and for good after an interruption.
    plain = copy.copy(lm.model)
    plain.generation_config = GenerationConfig(do_sample=False, use_cache=True, pad_token_id=pad)
    cache = {}
    if samples > 1 and length > 1:
        # The token that this writes is not in its cache, and is thrown away.
        read = plain.generate(rows[:, :-1], attention_mask=mask[:, :-1], max_new_tokens=1, return_dict_in_generate=True)
        read.past_key_values.batch_repeat_interleave(samples)
        cache = {"past_key_values": read.past_key_values}
    plain.generate(
        rows.repeat_interleave(samples, dim=0),  # (prompts * samples, positions)
        attention_mask=mask.repeat_interleave(samples, dim=0),
        max_new_tokens=max_new_tokens,
        logits_processor=[process],
        stopping_criteria=[stop],
        **cache,
    )
