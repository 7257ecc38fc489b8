"""Token ids in, token ids out: continue prompts greedily or by sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models import LanguageModel
from .batch_generation import generate_batch
from .batches import group_by_length
from .capabilities import separable_head
from .padding import continued_together, may_leave, reads_once
from .precision import exact_inference

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Continuation:
    """What was written after one prompt.

    Attributes
    ----------
    token_ids : tuple of int
        Including the token that ended the text.
    logprobs : tuple of float
        Log-probability of each, in nats, under the model itself, whatever the temperature.
    ended : bool
        Whether the text ended, rather than being cut at `max_new_tokens`.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool


def continue_prompts(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float,
    generators: Sequence[np.random.Generator],
    pad: int,
    is_end: Callable[[list[int]], bool],
    samples: int = 1,
    token_budget: int | None = None,
    advance: Callable[[int], Any] = lambda rows: None,
) -> list[Continuation]:
    """Continue each prompt `samples` times by at most `max_new_tokens` tokens; a prompt's samples stand together.

    Where the model allows it, a prompt is read once for all of its samples in a batch.

    Parameters
    ----------
    temperature : float
        0 takes the most likely token. Otherwise logits are divided by it, and each result has a generator of its own.
    pad : int
        Written where nothing is: before shorter prompts and after finished texts.
    is_end : callable
        From the tokens written so far to whether the text ends with them.
    advance : callable
        Told how many results each batch has brought.
    """
    separable_head(lm.model)  # refuses a model that is not causal
    budget = _budget(lm, token_budget)
    longest = max((len(prompt) + max_new_tokens for prompt in prompts), default=1)
    results: dict[int, Continuation] = {}
    with exact_inference(lm.device):
        copies = min(samples, max(1, budget // longest)) if samples > 1 and reads_once(lm) else 1
        for size, firsts in _blocks(samples, copies):
            # A job continues one prompt `size` times: these rows of the results.
            jobs = [
                range(i * samples + first, i * samples + first + size) for i in range(len(prompts)) for first in firsts
            ]
            read = [prompts[job[0] // samples] for job in jobs]
            for batch in _batches(lm, [len(prompt) + max_new_tokens for prompt in read], budget // size):
                rows = [row for job in batch for row in jobs[job]]
                drawn = [generators[row] for row in rows] if temperature > 0 else []
                found = _continue_batch(
                    lm, [read[job] for job in batch], max_new_tokens, temperature, drawn, pad, is_end, size
                )
                results.update(zip(rows, found, strict=True))
                advance(len(rows))
    return [results[row] for row in range(len(prompts) * samples)]


def prompt_batches(lm: LanguageModel, lengths: Sequence[int], token_budget: int | None = None) -> list[list[int]]:
    """The batches of prompts whose texts are so long at most, prompt included, where any may share a batch."""
    return list(group_by_length(lengths, _budget(lm, token_budget)))


def _budget(lm: LanguageModel, token_budget: int | None) -> int:
    return token_budget or (8_192 if lm.device.type == "cpu" else 65_536)


def _blocks(samples: int, size: int) -> Iterator[tuple[int, range]]:
    """Cut `samples` into blocks of one size and a smaller one: each size, and the first sample of its blocks."""
    whole = samples - samples % size
    yield size, range(0, whole, size)
    if whole < samples:
        yield samples - whole, range(whole, samples, size)


def _batches(lm: LanguageModel, lengths: Sequence[int], budget: int) -> Iterable[list[int]]:
    if len(lengths) > 1:
        together = continued_together(lm)
        if together == "none":
            return ([i] for i in range(len(lengths)))
        return group_by_length(lengths, budget, equal=together == "of one length")
    return group_by_length(lengths, budget)


def _continue_batch(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    generators: Sequence[np.random.Generator],
    pad: int,
    is_end: Callable[[list[int]], bool],
    samples: int,
) -> list[Continuation]:
    count = len(prompts) * samples
    written: list[list[int]] = [[] for _ in range(count)]
    nats: list[list[float]] = [[] for _ in range(count)]
    ended = [False] * count

    def choose(logits: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        if not logits.isfinite().any(-1).all() or logits.isnan().any():
            raise ValueError(
                f"the model returned NaN or infinity: its weights are damaged, or {lm.dtype} is too narrow for it "
                '(try load_model(..., dtype="float32"))'
            )
        drawn = logits if temperature == 0 else _perturbed(logits / temperature, [generators[row] for row in rows])
        tokens = drawn.argmax(-1)  # (batch,)
        logprobs = logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
        for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
            if not ended[row]:
                written[row].append(token)
                nats[row].append(logprob)
                ended[row] = is_end(written[row])
        return tokens

    leave = count > 1 and max_new_tokens > 1 and may_leave(lm)
    generate_batch(lm, prompts, max_new_tokens, pad, choose, ended, samples=samples, leave=leave)
    return [
        Continuation(tuple(ids), tuple(logprobs), done)
        for ids, logprobs, done in zip(written, nats, ended, strict=True)
    ]


def _perturbed(logits: torch.Tensor, generators: Sequence[np.random.Generator]) -> torch.Tensor:
    """Logits plus Gumbel noise, whose argmax is a sample from their softmax (Gumbel, 1954)."""
    import torch

    uniform = np.stack([generator.random(logits.shape[1]) for generator in generators])  # (batch, vocabulary)
    noise = -(-torch.from_numpy(uniform).log()).log()
    return logits.double() + noise.to(logits.device)
