"""Texts written after encoded prompts, as token ids; all of them kept or shared where a run says so."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from .engine import Continuation, Progress, bar_of, continue_prompts, deal, prompt_batches
from .models import LanguageModel, vocabulary_rows
from .runs import Run, Work, carry_out


def continue_each(
    lm: LanguageModel,
    prompts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
    *,
    temperature: float,
    generators: Sequence[np.random.Generator],
    pad: int,
    is_end: Callable[[list[int]], bool],
    ending: str,
    samples: int = 1,
    token_budget: int | None = None,
    progress: bool = False,
    run: Run | None = None,
) -> list[Continuation]:
    """`samples` continuations of each prompt, side by side, as `engine.continue_prompts` writes them.

    `ending` describes `is_end`: where it is the same, texts end at the same place.
    """

    def compute(numbers: Sequence[int], progress: Progress) -> list[Continuation]:
        written: dict[int, Continuation] = {}
        with bar_of(progress, total=len(numbers)) as bar:
            # Some samples of a prompt may be there already: prompts that lack the same number go together.
            alike: dict[int, list[list[int]]] = defaultdict(list)
            for of_prompt in _by_prompt(numbers, samples):
                alike[len(of_prompt)].append(of_prompt)
            for count, groups in alike.items():
                together = [number for of_prompt in groups for number in of_prompt]
                found = continue_prompts(
                    lm,
                    [prompts[of_prompt[0] // samples] for of_prompt in groups],
                    max_new_tokens,
                    temperature=temperature,
                    generators=[generators[number] for number in together],
                    pad=pad,
                    is_end=is_end,
                    samples=count,
                    token_budget=token_budget,
                    advance=bar.update,
                )
                written.update(zip(together, found, strict=True))
        return [written[number] for number in numbers]

    def pieces(numbers: list[int]) -> list[tuple[list[int], int]]:
        groups = _by_prompt(numbers, samples)
        batches = prompt_batches(lm, [longest(group) for group in groups], token_budget)
        together = [[number for i in batch for number in groups[i]] for batch in batches]
        return [(piece, len(piece)) for piece in together]

    def parts(numbers: list[int], count: int) -> list[list[int]]:
        groups = _by_prompt(numbers, samples)
        return [[number for i in share for number in groups[i]] for share in deal(list(map(longest, groups)), count)]

    def longest(of_prompt: list[int]) -> int:
        """Tokens that a prompt and its texts may have."""
        return len(of_prompt) * (len(prompts[of_prompt[0] // samples]) + max_new_tokens)

    if run is None:
        return compute(range(len(prompts) * samples), progress)
    rows = vocabulary_rows(lm)
    work = Work(
        names=[
            np.array(prompts[number // samples], "<i4").tobytes() + (_state(generators[number]) if temperature else b"")
            for number in range(len(prompts) * samples)
        ],
        settings=f"texts {max_new_tokens} {temperature!r} {ending}",
        parts=parts,
        pieces=pieces,
        compute=compute,
        pack=_pack,
        unpack=lambda _, data: _unpack(data, max_new_tokens, rows),
        unit="text",
    )
    return carry_out(run, work, progress)


def _by_prompt(numbers: Sequence[int], samples: int) -> list[list[int]]:
    """Numbers of texts, those of one prompt together."""
    groups: dict[int, list[int]] = defaultdict(list)
    for number in numbers:
        groups[number // samples].append(number)
    return list(groups.values())


def _state(generator: np.random.Generator) -> bytes:
    """Which random numbers come next: seed, index and sample are in it."""
    return json.dumps(generator.bit_generator.state, sort_keys=True, default=str).encode()


def _pack(found: Continuation) -> bytes:
    ids, logprobs = np.array(found.token_ids, "<i4"), np.array(found.logprobs, "<f8")
    return bytes([found.ended]) + ids.tobytes() + logprobs.tobytes()


def _unpack(data: bytes, max_new_tokens: int, rows: int) -> Continuation:
    """What was packed. Raises ValueError if it cannot be a continuation of at most so many tokens."""
    count, rest = divmod(len(data) - 1, 12)
    if rest or not 1 <= count <= max_new_tokens or data[0] > 1:
        raise ValueError(f"{len(data)} bytes")
    ids, logprobs = np.frombuffer(data, "<i4", count, 1), np.frombuffer(data, "<f8", offset=1 + 4 * count)
    whole = data[0] == 1 or count == max_new_tokens
    if not (whole and np.isfinite(logprobs).all() and (logprobs <= 1e-3).all() and (ids >= 0).all()):
        raise ValueError("no text")
    if (ids >= rows).any():
        raise ValueError("no tokens of this model")
    return Continuation(tuple(ids.tolist()), tuple(logprobs.tolist()), data[0] == 1)
