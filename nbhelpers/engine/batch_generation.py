"""Continue a batch of prompts with the model's own `generate`; rows whose text has ended leave the batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models import LanguageModel

if TYPE_CHECKING:
    import torch

# The batch is made smaller once this share of it has ended. Each time costs a copy of the cache.
WORTH_LEAVING = 1 / 8


def generate_batch(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int] | np.ndarray],
    max_new_tokens: int,
    pad: int,
    choose: Callable[[torch.Tensor, Sequence[int]], torch.Tensor],
    ended: Sequence[bool],
    *,
    samples: int = 1,
    leave: bool = False,
) -> None:
    """Run the model's own `generate` over prompts padded on the left, so that all continue at the same position.

    Parameters
    ----------
    choose : callable
        From the logits (batch, vocabulary) of a step, in float32, and the row that each of them continues, to the
        tokens (batch,) to write.
    ended : sequence of bool
        For each row, whether its text has ended. Read after each step: `choose` keeps it.
    samples : int
        How often each prompt is continued. All but its last token is read once, and its cache copied: rows are the
        copies of prompt 0, then those of prompt 1, and so on.
    leave : bool
        Whether rows that have ended may leave the batch.
    """
    import torch
    from transformers import GenerationConfig

    length = max(map(len, prompts))
    padded = [[pad] * (length - len(prompt)) + list(prompt) for prompt in prompts]
    shown = [[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    ids = torch.tensor(padded, device=lm.device)  # (prompts, positions)
    mask = torch.tensor(shown, device=lm.device)
    rows = list(range(len(prompts) * samples))  # those still in the batch

    def process(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # `generate` takes the argmax of what it gets back: the token chosen here.
        return torch.zeros_like(scores).scatter_(-1, choose(scores.float(), rows)[:, None], 1.0)

    def stop(input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        done = [ended[row] for row in rows]
        enough = leave and sum(done) >= WORTH_LEAVING * len(done)
        return torch.tensor([enough or one for one in done], device=input_ids.device)

    # A second view of the same modules, with plain settings: `generate` mixes a model's own settings into any that it
    # is given, and changing them on the model itself would show in other threads, and for good after an interruption.
    plain = copy.copy(lm.model)
    plain.generation_config = GenerationConfig(do_sample=False, use_cache=True, pad_token_id=pad)
    cache = {}
    if samples > 1 and length > 1:
        # The token that this writes is not in its cache, and is thrown away.
        read = plain.generate(ids[:, :-1], attention_mask=mask[:, :-1], max_new_tokens=1, return_dict_in_generate=True)
        read.past_key_values.batch_repeat_interleave(samples)
        cache = {"past_key_values": read.past_key_values}
    ids, mask = (x.repeat_interleave(samples, dim=0) for x in (ids, mask))  # (prompts * samples, positions)
    while True:
        found = plain.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=length + max_new_tokens - ids.shape[1],
            logits_processor=[process],
            stopping_criteria=[stop],
            return_dict_in_generate=True,
            **cache,
        )
        stay = [place for place, row in enumerate(rows) if not ended[row]]
        if not stay or found.sequences.shape[1] == length + max_new_tokens:
            return
        rows = [rows[place] for place in stay]
        ids = found.sequences[stay]  # (rows, positions)
        mask = torch.cat([mask[stay], mask.new_ones(len(stay), ids.shape[1] - mask.shape[1])], dim=1)
        # The last token that was written is not in the cache: it is read first.
        found.past_key_values.batch_select_indices(torch.tensor(stay, device=lm.device))
        cache = {"past_key_values": found.past_key_values}
