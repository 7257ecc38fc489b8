"""Perplexity of text of any length: windows that slide over it and score every token exactly once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .engines import score_rows
from .head import log_probabilities
from .models import LanguageModel
from .scoring import encode_with_spans, exp, own_prefix, require_text, with_context


@dataclass(frozen=True)
class Perplexity:
    """How well a model predicts a text, or several texts taken together.

    Attributes
    ----------
    nats : float
        Negative log-likelihood of all tokens, summed, in nats: the measurement itself.
    tokens : int
        Tokens of this model, counted, as the next three, over what was scored.
    words : int
        Words between white space.
    characters : int
        Unicode characters.
    bytes : int
        Bytes in UTF-8.
    window : int
        How many tokens the model read at once.
    stride : int
        How many of them were new each time.
    first_token : str
        What stood before the text, so that its first token could be scored.
    """

    nats: float
    tokens: int
    words: int
    characters: int
    bytes: int
    window: int
    stride: int
    first_token: str

    @property
    def perplexity(self) -> float:
        """The effective number of choices per token, exp(nats / tokens). Depends on the tokenizer."""
        return exp(self.nats / self.tokens)

    @property
    def word_perplexity(self) -> float:
        """Comparable between models with different tokenizers; exp(nats / words)."""
        return exp(self.nats / self.words) if self.words else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Comparable between tokenizers, as long as none of them loses a part of the text; nats / ln 2 / bytes."""
        return self.nats / math.log(2) / self.bytes

    def __repr__(self) -> str:
        return (
            f"Perplexity({self.perplexity:.2f} per token; {self.nats:.1f} nats over {self.tokens} tokens, "
            f"{self.words} words, {self.bytes} bytes; {self.bits_per_byte:.3f} bits per byte; "
            f"window {self.window}, stride {self.stride}, after {self.first_token!r})"
        )


def perplexity(
    lm: LanguageModel,
    text: str | Iterable[str],
    window: int | None = None,
    stride: int | None = None,
    *,
    token_budget: int | None = None,
    progress: bool = False,
) -> Perplexity:
    """Perplexity of a text, or of several texts taken together.

    Parameters
    ----------
    lm : LanguageModel
    text : str or iterable of str
        Several texts are measured one by one, each from its own beginning, and their log-likelihoods added up.
    window : int, optional
        How many tokens the model reads at once, at most and by default `lm.context_length` (2,048 where a model
        has no limit).
    stride : int, optional
        How many new tokens each window scores, from 1 to `window`; by default half the window. A small stride
        gives every token more context and costs more. At ``stride=window`` the windows are disjoint.
    token_budget, progress
        As in :func:`nbhelpers.score_answers`.

    Raises
    ------
    TypeError
        If a text is not a string.
    ValueError
        If a text is empty, there is none, window or stride are out of range, the tokenizer has neither BOS nor
        EOS, or the model returns NaN.

    Notes
    -----
    The first window scores all its tokens, each later one the `stride` that follow; the last window is moved back
    to be full. Every token is scored exactly once, with at least ``window - stride`` tokens before it (at the
    beginning of a text: with all there are). Only the first window begins with the start token.

    Source: Jelinek et al. (1977) for the measure; at stride = window, the windows are those of
    lm-evaluation-harness. Explained in the chapter "Perplexity".
    """
    texts = [text] if isinstance(text, str) else list(text)
    if not texts:
        raise ValueError("there is no text to measure: the list is empty")
    window, stride = _check_windows(lm, window, stride)
    prefix = own_prefix(lm.tokenizer)
    rows, scored_texts, first_token = [], [], ""
    for number, one in enumerate(texts):
        name = "the text" if isinstance(text, str) else f"text {number}"
        require_text(one, name)
        ids, spans = encode_with_spans(lm, one)
        row, first = with_context(lm, ids, 0, prefix, name)
        everything = np.array(row, dtype=np.int32)
        first_token = lm.tokenizer.decode(row[:first])
        # A start token that the text itself brings is context: its characters are not counted either.
        scored_texts.append(one[spans[len(ids) - len(row) + first][0] :])
        for begin, scored, end in sliding_windows(len(row) - first, window, stride):
            # Positions in the text, moved by the tokens that stand before it: the window reads
            # row[begin + first - 1 : end + first - 1] and predicts the token after each.
            rows.append((everything[begin + first - 1 : end + first], scored - begin + 1))
    # Windows begin at different places and share no prefix: there is nothing to pack.
    logprobs, _ = score_rows(
        lm,
        rows,
        log_probabilities,
        lambda i: f"window {i}",
        engine="plain",
        token_budget=token_budget,
        progress=progress,
    )
    return Perplexity(
        nats=-logprobs.double().sum().item(),
        tokens=len(logprobs),
        words=sum(len(one.split()) for one in scored_texts),
        characters=sum(map(len, scored_texts)),
        bytes=sum(len(one.encode()) for one in scored_texts),
        window=window,
        stride=stride,
        first_token=first_token,
    )


def sliding_windows(tokens: int, window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Windows over a text of so many tokens, as (begin, scored, end).

    To predict tokens `begin` to `end` (exclusive), the model reads as many: the one before `begin`, then all but
    the last. Only the tokens from `scored` on count; the others were counted by an earlier window.

    >>> list(sliding_windows(10, window=4, stride=2))
    [(0, 0, 4), (2, 4, 6), (4, 6, 8), (6, 8, 10)]
    """
    scored = 0
    end = min(window, tokens)
    while scored < tokens:
        yield max(0, end - window), scored, end
        scored, end = end, min(end + stride, tokens)


def _check_windows(lm: LanguageModel, window: int | None, stride: int | None) -> tuple[int, int]:
    if window is None:
        window = lm.context_length or 2_048
    limit = lm.context_length or window
    if not isinstance(window, int) or not 1 <= window <= limit:
        raise ValueError(f"window={window!r}: {lm.name!r} reads from 1 to {limit} tokens at once")
    if stride is None:
        stride = max(1, window // 2)
    if not isinstance(stride, int) or not 1 <= stride <= window:
        raise ValueError(
            f"stride={stride!r} with window={window}: give 1 to {window}, or tokens would be skipped between windows"
        )
    return window, stride
