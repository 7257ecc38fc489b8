"""Where the prompt ends and the answer begins: pairs of texts, encoded as what the engine is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Literal

import numpy as np

from .chats import Chat
from .engine import Request
from .models import LanguageModel, vocabulary_rows
from .prompts import Prompt, one_for_each, read_prompts
from .tokens import (
    ALL,
    Spans,
    encode_each,
    missing_context,
    require_fit,
    require_rows,
    require_text,
    span_texts,
)

Boundary = Literal["joint", "split"]


@dataclass(frozen=True)
class Item:
    """One prompt with its answer, encoded.

    Attributes
    ----------
    prompt, answer : str
    request : Request
        What the engine scores.
    tokens : tuple of str
        The scored tokens as text.
    merged_boundary : bool
        Whether a token straddles the end of the prompt.
    """

    prompt: str
    answer: str
    request: Request
    tokens: tuple[str, ...]
    merged_boundary: bool


def pair_up(
    lm: LanguageModel,
    prompts: str | Chat | Iterable[str | Chat],
    answers: Iterable[str],
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> tuple[list[Prompt], list[str]]:
    """As many prompts as answers, all of them checked; a single prompt is repeated for every answer."""
    prompts, answers = pair(prompts, answers)
    return read_prompts(lm, prompts, "the prompt of item {}", chat_template_kwargs), answers


def pair(prompts: str | Chat | Iterable[str | Chat], answers: Iterable[str]) -> tuple[Sequence[str | Chat], list[str]]:
    """The same with the prompts as they are given, unchecked."""
    if isinstance(answers, str):
        raise TypeError(f"answers is a single string: for one answer give a list of one, [{answers!r:.60}]")
    answers = list(answers)
    prompts = one_for_each(prompts, len(answers))
    if len(prompts) != len(answers):
        raise ValueError(
            f"{len(prompts)} prompts and {len(answers)} answers: give as many of one as of the other, "
            "or a single string as the prompt of all"
        )
    for number, answer in enumerate(answers):
        require_text(answer, f"the answer of item {number}")
    return prompts, answers


def encode_items(
    lm: LanguageModel, prompts: Sequence[Prompt], answers: Sequence[str], boundary: Boundary
) -> Iterator[Item]:
    """Each prompt with its answer as an `Item`."""
    if boundary == "joint":
        return _encode_jointly(lm, prompts, answers)
    if boundary == "split":
        return encode_apart(lm, prompts, answers, as_written=True)
    raise ValueError(f"boundary={boundary!r} is unknown: give 'joint' or 'split'")


def _encode_jointly(lm: LanguageModel, prompts: Sequence[Prompt], answers: Sequence[str]) -> Iterator[Item]:
    """Items encoded as one text each; the answer's tokens are those that reach beyond the prompt's characters."""
    texts = (prompt.text + answer for prompt, answer in zip(prompts, answers, strict=True))
    encoded = encode_each(lm, texts, spans_from=(len(prompt.text) for prompt in prompts))
    rows = vocabulary_rows(lm)
    for number, (prompt, answer, found) in enumerate(zip(prompts, answers, encoded, strict=True)):
        spans = found.spans.tolist()
        straddles = bool(spans) and prompt.text[spans[0][0] :].strip(" ") != ""
        yield _item(lm, rows, number, prompt, answer, prompt.text + answer, found.ids, spans, straddles)


def encode_apart(
    lm: LanguageModel, prompts: Sequence[Prompt], answers: Sequence[str], *, as_written: bool
) -> Iterator[Item]:
    """Items whose prompt and answer are encoded separately and joined.

    With `as_written`, a tokenizer that changes what it encodes is refused. Without, the answer's tokens are those of a
    text of its own, as a model writes them at the beginning of a reply: Llama 2 begins one with "▁A".
    """
    apart = zip(
        encode_each(lm, (prompt.text for prompt in prompts)),
        encode_each(lm, answers, spans_from=repeat(ALL)),
        strict=True,
    )
    rows = vocabulary_rows(lm)
    for number, (prompt, answer, (before, found)) in enumerate(zip(prompts, answers, apart, strict=True)):
        ids = np.concatenate([before.ids, found.ids])
        if as_written and prompt.text:
            joined = lm.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
            if joined != prompt.text + answer:
                raise ValueError(
                    f"item {number}: encoded apart and joined, prompt and answer read {joined[-60:]!r}, because the "
                    f"tokenizer of {lm.name!r} changes what it encodes (many put a space before every text): use "
                    'boundary="joint"'
                )
        yield _item(lm, rows, number, prompt, answer, answer, ids, found.spans.tolist(), False)


def _item(
    lm: LanguageModel,
    rows: int,
    number: int,
    prompt: Prompt,
    answer: str,
    text: str,
    ids: np.ndarray,
    spans: Spans,
    straddles: bool,
) -> Item:
    """An item of ids, the last ``len(spans)`` of which are the answer's and cover these characters of `text`."""
    name, first = f"item {number}", len(ids) - len(spans)
    if not spans:
        raise ValueError(f"{name}: the tokenizer of {lm.name!r} makes no token of the answer {answer!r:.60}")
    missing, start = missing_context(lm, ids, first, prompt.prefix, name)
    row = np.concatenate([np.array(missing, dtype=np.int32), ids]) if missing else ids
    if row.max() >= rows:
        require_rows(lm, row, name)
    require_fit(lm, row, f"{name} (prompt and answer)")
    request = Request(row, start)
    tokens = span_texts(lm, text, ids[first:], spans)
    return Item(prompt.text, answer, request, tokens[len(tokens) - request.scored :], straddles)
