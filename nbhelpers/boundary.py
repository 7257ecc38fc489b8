"""Where the prompt ends and the answer begins: pairs of texts, encoded as what the engine is asked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .chats import Chat
from .engine import Request
from .models import LanguageModel
from .prompts import Prompt, one_for_each, read_prompts
from .tokens import (
    encode_each,
    encode_with_spans,
    require_fit,
    require_rows,
    require_text,
    span_texts,
    with_context,
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
    for number, (prompt, answer, (ids, spans)) in enumerate(zip(prompts, answers, encode_each(lm, texts), strict=True)):
        text = prompt.text
        first = bisect_right(spans, len(text), key=lambda span: span[1])
        tokens = span_texts(lm, text + answer, ids[first:], spans[first:])
        straddles = first < len(ids) and text[spans[first][0] :].strip(" ") != ""
        request = _request(lm, ids, first, prompt, answer, f"item {number}")
        yield Item(text, answer, request, tokens[len(tokens) - request.scored :], straddles)


def encode_apart(
    lm: LanguageModel, prompts: Sequence[Prompt], answers: Sequence[str], *, as_written: bool
) -> Iterator[Item]:
    """Items whose prompt and answer are encoded separately and joined.

    With `as_written`, a tokenizer that changes what it encodes is refused. Without, the answer's tokens are those of a
    text of its own, as a model writes them at the beginning of a reply: Llama 2 begins one with "▁A".
    """
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        text = prompt.text
        prompt_ids, _ = encode_with_spans(lm, text)
        answer_ids, spans = encode_with_spans(lm, answer)
        ids = prompt_ids + answer_ids
        joined = lm.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        if as_written and text and joined != text + answer:
            raise ValueError(
                f"item {number}: encoded apart and joined, prompt and answer read {joined[-60:]!r}, because the "
                f"tokenizer of {lm.name!r} changes what it encodes (many put a space before every text): use "
                'boundary="joint"'
            )
        tokens = span_texts(lm, answer, answer_ids, spans)
        request = _request(lm, ids, len(prompt_ids), prompt, answer, f"item {number}")
        yield Item(text, answer, request, tokens[len(tokens) - request.scored :], merged_boundary=False)


def _request(lm: LanguageModel, ids: tuple[int, ...], first: int, prompt: Prompt, answer: str, name: str) -> Request:
    """What the engine is asked: the ids with what must stand before them, and where the answer begins."""
    if first == len(ids):
        raise ValueError(f"{name}: the tokenizer of {lm.name!r} makes no token of the answer {answer!r:.60}")
    row, start = with_context(lm, ids, first, prompt.prefix, name)
    require_rows(lm, row, name)
    require_fit(lm, row, f"{name} (prompt and answer)")
    return Request(np.array(row, dtype=np.int32), start)
