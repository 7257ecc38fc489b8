"""Where the prompt ends and the answer begins: pairs of texts, encoded as what the engine is asked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import add
from typing import Literal

import numpy as np

from .engine import Request
from .models import LanguageModel
from .tokens import encode_each, encode_with_spans, own_prefix, require_fit, require_text, span_texts, with_context

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


def encode_items(
    lm: LanguageModel, prompts: Sequence[str], answers: Sequence[str], boundary: Boundary
) -> Iterator[Item]:
    """Each prompt with its answer as an `Item`."""
    if boundary == "joint":
        return _encode_jointly(lm, prompts, answers)
    if boundary == "split":
        return _encode_apart(lm, prompts, answers)
    raise ValueError(f"boundary={boundary!r} is unknown: give 'joint' or 'split'")


def pair_up(prompts: str | Iterable[str], answers: Iterable[str]) -> tuple[list[str], list[str]]:
    """As many prompts as answers, all of them checked; a single prompt is repeated for every answer."""
    if isinstance(answers, str):
        raise TypeError(f"answers is a single string: for one answer give a list of one, [{answers!r:.60}]")
    answers = list(answers)
    prompts = [prompts] * len(answers) if isinstance(prompts, str) else list(prompts)
    if len(prompts) != len(answers):
        raise ValueError(
            f"{len(prompts)} prompts and {len(answers)} answers: give as many of one as of the other, "
            "or a single string as the prompt of all"
        )
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        if prompt != "":
            require_text(prompt, f"the prompt of item {number}")
        require_text(answer, f"the answer of item {number}")
    return prompts, answers


def _encode_jointly(lm: LanguageModel, prompts: Sequence[str], answers: Sequence[str]) -> Iterator[Item]:
    """Items encoded as one text each; the answer's tokens are those that reach beyond the prompt's characters."""
    prefix = own_prefix(lm.tokenizer)
    encoded = encode_each(lm, map(add, prompts, answers))
    for number, (prompt, answer, (ids, spans)) in enumerate(zip(prompts, answers, encoded, strict=True)):
        first = bisect_right(spans, len(prompt), key=lambda span: span[1])
        tokens = span_texts(lm, prompt + answer, ids[first:], spans[first:])
        straddles = first < len(ids) and prompt[spans[first][0] :].strip(" ") != ""
        request = _request(lm, ids, first, prefix, answer, f"item {number}")
        yield Item(prompt, answer, request, tokens[len(tokens) - request.scored :], straddles)


def _encode_apart(lm: LanguageModel, prompts: Sequence[str], answers: Sequence[str]) -> Iterator[Item]:
    """Items whose prompt and answer are encoded separately and joined."""
    prefix = own_prefix(lm.tokenizer)
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        prompt_ids, _ = encode_with_spans(lm, prompt)
        answer_ids, spans = encode_with_spans(lm, answer)
        ids = prompt_ids + answer_ids
        joined = lm.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        if prompt and joined != prompt + answer:
            raise ValueError(
                f"item {number}: encoded apart and joined, prompt and answer read {joined[-60:]!r}, because the "
                f"tokenizer of {lm.name!r} changes what it encodes (many put a space before every text): use "
                'boundary="joint"'
            )
        tokens = span_texts(lm, answer, answer_ids, spans)
        request = _request(lm, ids, len(prompt_ids), prefix, answer, f"item {number}")
        yield Item(prompt, answer, request, tokens[len(tokens) - request.scored :], merged_boundary=False)


def _request(
    lm: LanguageModel, ids: tuple[int, ...], first: int, prefix: tuple[int, ...], answer: str, name: str
) -> Request:
    """What the engine is asked: the ids with what must stand before them, and where the answer begins."""
    if first == len(ids):
        raise ValueError(f"{name}: the tokenizer of {lm.name!r} makes no token of the answer {answer!r:.60}")
    row, start = with_context(lm, ids, first, prefix, name)
    require_fit(lm, row, f"{name} (prompt and answer)")
    return Request(np.array(row, dtype=np.int32), start)
