"""Perplexity of text of any length: sliding windows that score every token exactly once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import numpy as np

from .engine import Request
from .models import LanguageModel, require_model
from .request_scores import score_each
from .results import Perplexity
from .runs import Run, open_run
from .served import measure, refuse_local
from .servers import Endpoint
from .tokens import encode_with_spans, own_prefix, require_rows, require_text, with_context
from .windows import check_windows, sliding_windows


def perplexity(
    lm: LanguageModel | Endpoint,
    text: str | Iterable[str],
    window: int | None = None,
    stride: int | None = None,
    *,
    token_budget: int | None = None,
    progress: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> Perplexity:
    """Perplexity of a text, or of several texts taken together.

    Parameters
    ----------
    lm : LanguageModel or Endpoint
        An endpoint is a vLLM server, see the notes.
    text : str or iterable of str
        Each of several texts is measured from its own beginning, and their log-likelihoods are added up.
    window : int, optional
        How many tokens the model reads at once: by default, and at most, `lm.context_length` (2,048 where a model has
        no limit).
    stride : int, optional
        How many new tokens each window scores, from 1 to `window`; by default half the window. A smaller stride gives
        every token more context and costs more. At ``stride=window`` the windows are disjoint.
    token_budget, progress, cache
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
    The first window scores all its tokens. Each later one scores the next `stride` tokens; the last window is moved
    back so that it is full. Every token is scored exactly once, with at least ``window - stride`` tokens before it, or
    with all there are at the beginning of a text. Only the first window begins with the start token.

    Of an :class:`nbhelpers.Endpoint`, vLLM's ``/tokenize`` cuts the text into ids, and each window is one request, kept
    on disk. vLLM needs room for two tokens more than it reads, so the largest window is the context less two. A server
    without ``/tokenize`` scores texts that fit its context as a whole.

    Jelinek et al. (1977) introduced the measure. At stride = window, the windows are those of lm-evaluation-harness.
    Explained in the chapter "Perplexity".
    """
    if isinstance(lm, Endpoint):
        refuse_local(token_budget=token_budget, cache=cache)
        return measure(lm, text, window, stride, progress=progress)
    require_model(lm)
    with open_run(lm, "perplexity", cache) as run:
        return _perplexity(lm, text, window, stride, token_budget, progress, run)


def _perplexity(
    lm: LanguageModel,
    text: str | Iterable[str],
    window: int | None,
    stride: int | None,
    token_budget: int | None,
    progress: bool,
    run: Run | None,
) -> Perplexity:
    texts = [text] if isinstance(text, str) else list(text)
    if not texts:
        raise ValueError("there is no text to measure: the list is empty")
    window, stride = check_windows(lm.name, lm.context_length, window, stride)
    prefix = own_prefix(lm.tokenizer)
    requests, scored_texts, first_token = [], [], ""
    for number, one in enumerate(texts):
        name = "the text" if isinstance(text, str) else f"text {number}"
        require_text(one, name)
        ids, spans = encode_with_spans(lm, one)
        row, first = with_context(lm, ids, 0, prefix, name)
        require_rows(lm, row, name)
        first_token = lm.tokenizer.decode(row[:first])
        # A start token that the text itself brings is context: its characters do not count either.
        unscored = len(ids) - (len(row) - first)
        scored_texts.append(one[spans[unscored][0] :])
        requests += _windows(np.array(row, dtype=np.int32), first, window, stride)
    # Windows begin at different places and share no prefix: there is nothing to pack.
    columns = score_each(
        lm, requests, engine="plain", token_budget=token_budget, progress=progress, run=run, name="window {}"
    )
    logprobs = np.concatenate([logprobs.numpy() for logprobs, _ in columns])
    return Perplexity(
        nats=-logprobs.astype(np.float64).sum().item(),
        tokens=len(logprobs),
        words=sum(len(one.split()) for one in scored_texts),
        characters=sum(map(len, scored_texts)),
        bytes=sum(len(one.encode()) for one in scored_texts),
        window=window,
        stride=stride,
        first_token=first_token,
    )


def _windows(row: np.ndarray, first: int, window: int, stride: int) -> Iterator[Request]:
    """The sliding windows over a text whose first scored token is row[first], as requests.

    `sliding_windows` counts from the first scored token: a window over tokens `begin` to `end` reads
    row[begin + first - 1 : end + first - 1] and predicts the token after each.
    """
    for begin, scored, end in sliding_windows(len(row) - first, window, stride):
        yield Request(row[begin + first - 1 : end + first], scored - begin + 1)
