"""`score_answers` and `perplexity` of a model behind an `Endpoint`: what they ask, and what they make of the replies.

The server tokenizes; whatever it reports is held against the text, and the boundary is drawn here, by characters, as
for a local model.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .boundary import pair
from .chats import Chat, check_chat
from .results import AnswerScore, Perplexity
from .servers import Endpoint
from .servers.asking import kept
from .servers.prompt_logprobs import ScoredRow, score_rows, tokenize
from .servers.reading import Failure
from .tokens import require_text
from .windows import check_windows, sliding_windows

# vLLM wants room for the token that it would write, and reads the last token of a row, which need only be predicted.
ROOM = 2
# What each argument is by default, and why it means nothing to a server.
LOCAL = {
    "cache": (None, "an endpoint keeps replies by itself, in the folder Endpoint(cache=...)"),
    "chat_template_kwargs": (None, "chats must be rendered before they reach a server that scores"),
    "engine": ("auto", "the server computes with its own engine"),
    "token_budget": (None, "the server makes its own batches; Endpoint has `concurrency`, the requests at once"),
}


@dataclass(frozen=True)
class Start:
    """What stands before a text: the ids, how they are spelled, and whether the server puts them there by itself."""

    ids: tuple[int, ...] = ()
    text: str = ""
    added: bool = False


@dataclass(frozen=True)
class _Text:
    """A text as it is sent. Its first `written` characters are the start token, which is context and has no score."""

    prompt: str
    answer: str
    written: int
    add_special_tokens: bool

    @property
    def whole(self) -> str:
        return self.prompt + self.answer


def refuse_local(**given: Any) -> None:
    """A clear error for arguments of a local model that were given along with an endpoint."""
    for name, value in given.items():
        default, why = LOCAL[name]
        if value is not default and value != default:
            raise ValueError(f"{name}={value!r:.60} with an Endpoint: {why}. Leave {name} out")


def served_answers(
    endpoint: Endpoint,
    prompts: str | Chat | Iterable[str | Chat],
    answers: Iterable[str],
    boundary: str = "joint",
    *,
    progress: bool = False,
) -> list[AnswerScore]:
    """`nbhelpers.score_answers` of a served model."""
    if boundary != "joint":
        raise ValueError(
            f"boundary={boundary!r} with an Endpoint: the server encodes prompt and answer as one text. Leave boundary "
            "out, or load the model here"
        )
    prompts, answers = pair(prompts, answers)
    for number, prompt in enumerate(prompts):
        _check_prompt(prompt, f"the prompt of item {number}")
    if not answers:
        return []
    start = find_start(endpoint)
    items = [_written(prompt, answer, start) for prompt, answer in zip(prompts, answers, strict=True)]
    return _answers(endpoint, prompts, items, start, progress)


def _check_prompt(prompt: Any, name: str) -> None:
    if isinstance(prompt, str):
        if prompt:
            require_text(prompt, name)
        return
    check_chat(prompt, name, "a string")
    raise ValueError(
        f"{name} is a chat, and a server that scores takes texts: render it yourself with its model's tokenizer, "
        "tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True), and give that string"
    )


def find_start(endpoint: Endpoint) -> Start:
    """What the server puts before a text, found out by asking; else the endpoint's start token."""
    asked = ["a"] if endpoint.start_token is None else ["a", endpoint.start_token]
    own = [True, False][: len(asked)]
    rows = _usable(endpoint, score_rows(endpoint, asked, add_special_tokens=own), "the first request")
    # Of a row's first token nothing is said; if the others spell the text, it is no part of it.
    letter = next((n for n in range(1, len(rows[0].ids)) if rows[0].spells("a", n)), 0)
    if letter == 0 and len(rows[0].ids) > 1:
        raise RuntimeError(
            f"asked for the text 'a', {endpoint.base_urls[0]} reads {[token or '' for token in rows[0].tokens]}: what "
            "it puts before a text cannot be told"
        )
    if letter:
        prefix = tuple(rows[0].ids[:letter])
        # Nothing is said of a row's first token, so let the prefix stand twice to learn how it is spelled.
        (twice,) = _usable(endpoint, score_rows(endpoint, [prefix * 2]), "the start token")
        return Start(prefix, "".join(token or "" for token in twice.tokens[letter:]), added=True)
    if endpoint.start_token is None:
        return Start()
    if len(rows[1].ids) != 1:
        raise ValueError(
            f"start_token={endpoint.start_token!r} is {len(rows[1].ids)} tokens to {endpoint.base_urls[0]}: give the "
            "token that begins its model's texts, such as '<|endoftext|>'"
        )
    return Start(tuple(rows[1].ids), endpoint.start_token)


def _written(prompt: str, answer: str, start: Start, precede: bool = False) -> _Text:
    """The text that is sent. With `precede`, the start token is written before it."""
    begins = bool(start.text) and (prompt + answer).startswith(start.text)
    if start.added or not start.text:
        return _Text(prompt, answer, len(start.text) * begins, add_special_tokens=not begins)
    if begins:
        return _Text(prompt, answer, len(start.text), add_special_tokens=True)
    if prompt == "" or precede:
        return _Text(start.text + prompt, answer, len(start.text), add_special_tokens=True)
    return _Text(prompt, answer, 0, add_special_tokens=True)


def _score(endpoint: Endpoint, items: Sequence[_Text], progress: bool = False) -> list[ScoredRow]:
    texts, own = [item.whole for item in items], [item.add_special_tokens for item in items]
    prefixes = [item.prompt for item in items]
    return score_rows(endpoint, texts, prefixes, add_special_tokens=own, progress=progress)


def _answers(
    endpoint: Endpoint, prompts: Sequence[str], items: Sequence[_Text], start: Start, progress: bool
) -> list[AnswerScore]:
    """Ask, and read the scores; a RuntimeError if one is not to be had."""
    rows = _score(endpoint, items, progress)
    found = [_read_answer(number, item, row, start) for number, (item, row) in enumerate(zip(items, rows, strict=True))]
    bare = [number for number, one in enumerate(found) if one is None]  # nothing precedes their first token
    if bare and start.text and not start.added:
        again = [_written(items[number].prompt, items[number].answer, start, precede=True) for number in bare]
        for number, item, row in zip(bare, again, _score(endpoint, again), strict=True):
            found[number] = _read_answer(number, item, row, start)
    problems = [one for one in found if isinstance(one, str)]
    problems += [
        f"item {number}: nothing precedes the answer's first token, and the server puts nothing before a text: begin "
        "with a prompt that is not empty, or name the start_token of the Endpoint, such as '<|endoftext|>'"
        for number, one in enumerate(found)
        if one is None
    ]
    if problems:
        raise RuntimeError(
            f"{len(problems)} of {len(items)} answers have no score from {endpoint.base_urls[0]}; the first is "
            f"{problems[0]}. The replies to the others {kept(endpoint)}"
        )
    return [replace(answer, prompt=prompt) for prompt, answer in zip(prompts, found, strict=True)]


def _read_answer(number: int, item: _Text, row: ScoredRow, start: Start) -> AnswerScore | str | None:
    """The score of one answer; why there is none; or None if nothing precedes the answer's first token."""
    if row.problem is not None:
        return f"item {number}: {row.problem}"
    before = len(start.ids) if start.added and item.add_special_tokens else 0  # tokens that are not in the text
    try:
        begins_with = tuple(row.ids[:before])
        if begins_with != start.ids[:before]:
            raise Failure(f"the text begins with the tokens {begins_with}, and another text with {start.ids}")
        found = row.align(item.whole, before)
    except Failure as failure:
        return f"item {number}: {failure.reason}"
    begin = len(item.prompt)
    if any(low < begin < high for low, high in found.unclear):
        return (
            f"item {number}: the prompt ends within characters that share tokens, and the server does not show how: "
            f"move its end ({item.whole[max(0, begin - 5) : begin + 5]!r})"
        )
    first, straddles = _first_of_answer(item.prompt, found.spans)
    first = max(first, sum(end <= item.written for _, end in found.spans))  # a start token is never scored
    if first == len(found.spans):
        return f"item {number}: the server makes no token of the answer {item.answer!r:.60}"
    scored = slice(before + first, None)
    if math.isnan(row.logprobs[scored][0]):
        return None
    return AnswerScore(
        prompt=item.prompt,
        answer=item.answer,
        token_ids=tuple(row.ids[scored]),
        tokens=found.tokens[first:],
        logprobs=tuple(row.logprobs[scored]),
        is_greedy=all(rank == 1 for rank in row.ranks[scored]),
        merged_boundary=straddles,
    )


def _first_of_answer(prompt: str, spans: Sequence[tuple[int, int]]) -> tuple[int, bool]:
    """The number of the first token that reaches beyond the prompt, and whether it straddles the prompt's end.

    The tokens' spans must be those of the text that begins with the prompt. Spaces at its end do not count.
    """
    first = bisect_right(spans, len(prompt), key=lambda span: span[1])
    return first, first < len(spans) and prompt[spans[first][0] :].strip(" ") != ""


def measure(
    endpoint: Endpoint,
    text: str | Iterable[str],
    window: int | None,
    stride: int | None,
    *,
    progress: bool = False,
) -> Perplexity:
    """`nbhelpers.perplexity` of a served model."""
    texts = [text] if isinstance(text, str) else list(text)
    if not texts:
        raise ValueError("there is no text to measure: the list is empty")
    for number, one in enumerate(texts):
        require_text(one, "the text" if isinstance(text, str) else f"text {number}")
    start = find_start(endpoint)
    if not start.ids:
        raise ValueError(
            f"nothing precedes the first token, and {endpoint.base_urls[0]} puts nothing before a text: name the "
            "start_token of the Endpoint, such as '<|endoftext|>'"
        )
    # A start token that the text itself brings is context: its characters do not count either.
    counted = [one.removeprefix(start.text) for one in texts]
    for number, one in enumerate(counted):
        if not one:
            raise ValueError(f"text {number} holds nothing but the token that begins every text")
    encoded = tokenize(endpoint, counted)
    if encoded is None:
        nats, sizes, window, stride = _whole(endpoint, counted, start, window, stride, progress)
    else:
        _usable(endpoint, encoded, "the text")
        limit = max(1, min(one.context_length for one in encoded) - ROOM)
        window, stride = check_windows(endpoint.model, limit, window, stride)
        sizes = [len(one.ids) for one in encoded]
        nats = _in_windows(endpoint, [start.ids + one.ids for one in encoded], len(start.ids), window, stride, progress)
    return Perplexity(
        nats=nats,
        tokens=sum(sizes),
        words=sum(len(one.split()) for one in counted),
        characters=sum(map(len, counted)),
        bytes=sum(len(one.encode()) for one in counted),
        window=window,
        stride=stride,
        first_token=start.text,
    )


def _in_windows(
    endpoint: Endpoint, rows: Sequence[tuple[int, ...]], first: int, window: int, stride: int, progress: bool
) -> float:
    """The negative log-likelihood of the rows' tokens from number `first` on."""
    cut = [
        (row[begin + first - 1 : end + first], scored - begin + 1)
        for row in rows
        for begin, scored, end in sliding_windows(len(row) - first, window, stride)
    ]
    found = _usable(endpoint, score_rows(endpoint, [ids for ids, _ in cut], progress=progress), "a window")
    return -math.fsum(value for (_, scored), row in zip(cut, found, strict=True) for value in row.logprobs[scored:])


def _whole(
    endpoint: Endpoint, texts: Sequence[str], start: Start, window: int | None, stride: int | None, progress: bool
) -> tuple[float, list[int], int, int]:
    """The same of a server without ``/tokenize``: each text in one request, and what that is worth as a window."""
    items = [_written("", one, start) for one in texts]
    try:
        answers = _answers(endpoint, [""] * len(texts), items, start, progress)
    except RuntimeError as error:
        raise RuntimeError(
            f"{error}. The server has no /tokenize to cut windows with, so each text must fit its context"
        ) from None
    sizes = [len(answer.logprobs) for answer in answers]
    if window is not None and window < max(sizes):
        raise ValueError(
            f"window={window} and a text of {max(sizes)} tokens: the server has no /tokenize to cut windows with, so "
            "leave window out"
        )
    return -math.fsum(value for answer in answers for value in answer.logprobs), sizes, max(sizes), max(sizes)


def _usable(endpoint: Endpoint, rows: list, what: str) -> list:
    """The rows, if all of them are usable."""
    problems = [row.problem for row in rows if row.problem is not None]
    if problems:
        raise RuntimeError(
            f"{len(problems)} of {len(rows)} requests to {endpoint.base_urls[0]} failed; the first, for {what}: "
            f"{problems[0]}. The other replies {kept(endpoint)}"
        )
    return rows
