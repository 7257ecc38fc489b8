"""Text that a model writes: prompts or chats in batches, greedily or by seeded sampling, with log-probabilities."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

from .chats import Chat
from .models import LanguageModel, require_model
from .prompt_continuations import continue_each
from .prompts import read_prompts
from .runs import Run, open_run
from .sampling import before_stop, check_sampling, generator_of
from .tokens import encode_with_spans, require_rows, tokens_text, with_context

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Generation:
    """What a model wrote after a prompt.

    Attributes
    ----------
    text : str
        Up to the stop string or the end-of-text token, without either.
    token_ids : tuple of int
        Every chosen token, including those of the stop string and the end-of-text token.
    logprobs : tuple of float
        Log-probability of each, in nats, under the model itself, whatever the temperature.
    finish_reason : "stop" or "length"
        "stop" if the model ended the text or wrote a stop string, "length" if it was cut at `max_new_tokens`.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length"]

    @property
    def total(self) -> float:
        """Log-probability of all tokens, in nats."""
        return math.fsum(self.logprobs)


@overload
def generate(
    lm: LanguageModel,
    prompts: Iterable[str | Chat],
    max_new_tokens: int,
    *,
    samples: None = None,
    temperature: float = 0.0,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    chat_template_kwargs: Mapping[str, Any] | None = None,
    token_budget: int | None = None,
    progress: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> list[Generation]: ...


@overload
def generate(
    lm: LanguageModel,
    prompts: Iterable[str | Chat],
    max_new_tokens: int,
    *,
    samples: int,
    temperature: float = 0.0,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    chat_template_kwargs: Mapping[str, Any] | None = None,
    token_budget: int | None = None,
    progress: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> list[list[Generation]]: ...


def generate(
    lm: LanguageModel,
    prompts: Iterable[str | Chat],
    max_new_tokens: int,
    *,
    samples: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    chat_template_kwargs: Mapping[str, Any] | None = None,
    token_budget: int | None = None,
    progress: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> list[Generation] | list[list[Generation]]:
    """Let the model continue each prompt, or reply to each chat.

    Parameters
    ----------
    lm : LanguageModel
    prompts : iterable of str or chat
        A string is continued as it stands. A chat is a list of messages, ``{"role": "user", "content": "Hello"}``;
        the tokenizer's chat template renders it, up to where the reply begins.
    max_new_tokens : int
        How many tokens to write at most, 1 or more.
    samples : int, optional
        How many texts to draw for each prompt, at a temperature above 0. The prompt is read once for all of them (in
        one batch), where a trial on this model has given the same numbers.
    temperature : float
        0 takes the most likely token each time. A positive number divides the logits, and a token is sampled.
    seed : int
        For sampling. Each sample of each prompt has its own random numbers, made from the seed and its index, so that
        neither the other prompts, nor how many samples are drawn, nor the batches change what is sampled for it.
    stop : str or sequence of str
        Generation stops when the text contains one of these, and the text ends before it.
    chat_template_kwargs : mapping, optional
        For the chat template: ``{"enable_thinking": False}``.
    token_budget : int, optional
        Tokens in a finished batch, padding included.
    progress : bool
        Show a progress bar.
    cache : path, optional
        A file that keeps texts as they are written, one batch after the other, as in :func:`nbhelpers.score_answers`.
        A text is found again only for the same settings, too: length, temperature, seed, index, sample, stop strings.

    Returns
    -------
    list of Generation, or with `samples` a list of such lists
        In the order of the prompts. A batch is computed in another order than a single prompt, so logits differ by
        rounding: where two tokens are almost equally likely, greedy texts may diverge.

    Raises
    ------
    TypeError
        If `prompts` is a single string, or an item is neither a string nor a list of messages.
    ValueError
        If a number is out of range, several samples are asked for at temperature 0, a stop string or a chat is empty,
        the tokenizer has no chat template, prompt and new tokens are longer than the model's context, a token has no
        row in the model, the model is not causal, or it returns NaN.
    OSError
        If the file `cache` cannot be written, before anything is computed.

    Notes
    -----
    The model's own settings for `generate` (repetition penalties, top-p) are not used. Prompts run together, padded on
    the left, if a trial on this model has given the same numbers so as alone; if not, only prompts of one length do, or
    none. Under ``torchrun`` or ``accelerate launch``, the processes share the work: see
    :func:`split_between_processes`.
    Used in the chapters "BLEU" and "ROUGE".
    """
    require_model(lm)
    with open_run(lm, "generate", cache) as run:
        stops = check_sampling(max_new_tokens, temperature, seed, stop, samples)
        copies = int(samples or 1)
        rows = _encode_prompts(lm, prompts, max_new_tokens, chat_template_kwargs)
        results = continue_rows(
            lm,
            rows,
            int(max_new_tokens),
            stops=stops,
            temperature=float(temperature),
            generators=[generator_of(seed, i, sample) for i in range(len(rows)) for sample in range(copies)],
            samples=copies,
            token_budget=token_budget,
            progress=progress,
            run=run,
        )
    if samples is None:
        return results
    return [results[first : first + copies] for first in range(0, len(results), copies)]


def continue_rows(
    lm: LanguageModel,
    rows: Sequence[tuple[int, ...]],
    max_new_tokens: int,
    *,
    stops: Sequence[str],
    temperature: float,
    generators: Sequence[np.random.Generator],
    samples: int = 1,
    token_budget: int | None = None,
    progress: bool = False,
    run: Run | None = None,
) -> list[Generation]:
    """:func:`generate` after prompts that are encoded already; the samples of one stand together."""
    ends = _end_tokens(lm)

    def is_end(written: list[int]) -> bool:
        return written[-1] in ends or (bool(stops) and any(s in tokens_text(lm, written) for s in stops))

    written = continue_each(
        lm,
        rows,
        max_new_tokens,
        temperature=temperature,
        generators=generators,
        samples=samples,
        pad=ends[0] if ends else 0,
        is_end=is_end,
        ending=f"{list(stops)!r} {ends}",
        token_budget=token_budget,
        progress=progress,
        run=run,
    )
    results = []
    for found in written:
        ids = found.token_ids[:-1] if found.token_ids[-1] in ends else found.token_ids
        text = before_stop(tokens_text(lm, ids), stops)
        results.append(Generation(text, found.token_ids, found.logprobs, "stop" if found.ended else "length"))
    return results


def _end_tokens(lm: LanguageModel) -> list[int]:
    """The tokens that end a text: the tokenizer's EOS, and any that the model's settings name."""
    named = getattr(lm.model.generation_config, "eos_token_id", None)
    ends = [lm.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    return sorted({end for end in ends if end is not None})


def _encode_prompts(
    lm: LanguageModel,
    prompts: Iterable[str | Chat],
    max_new_tokens: int,
    chat_template_kwargs: Mapping[str, Any] | None,
) -> list[tuple[int, ...]]:
    """The token ids of every prompt, or a clear error."""
    if isinstance(prompts, str):
        raise TypeError(f"prompts is a single string: for one prompt give a list of one, [{prompts!r:.60}]")
    rows = []
    for number, prompt in enumerate(read_prompts(lm, prompts, "prompt {}", chat_template_kwargs)):
        name = f"prompt {number}"
        ids, _ = encode_with_spans(lm, prompt.text)
        row = ids if ids[: len(prompt.prefix)] == prompt.prefix else prompt.prefix + ids
        row = row or with_context(lm, (), 0, prompt.prefix, name)[0]  # nothing at all: begin after BOS, else EOS
        limit = lm.context_length
        if limit is not None and len(row) + max_new_tokens > limit:
            raise ValueError(
                f"{name} is {len(row)} tokens long; with max_new_tokens={max_new_tokens} that is more than the {limit} "
                f"which {lm.name!r} can read: shorten either"
            )
        require_rows(lm, row, name)
        rows.append(row)
    return rows
