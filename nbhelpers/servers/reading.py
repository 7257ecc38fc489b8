"""What a server's JSON says: a `Reply`, or a `Failure` if it cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..sampling import before_stop


@dataclass(frozen=True)
class Reply:
    """What a server's model wrote in reply to a chat.

    Attributes
    ----------
    text : str
        The text before the stop string.
    finish_reason : str
        As the server reports it: "stop" if the model ended the text or wrote a stop string, "length" if it was cut at
        `max_new_tokens`, or another word such as "content_filter".
    tokens : tuple of str
        The tokens as the server spells them. This and the next two are empty unless log-probabilities were asked for.
    logprobs : tuple of float
        The log-probability of each token, in nats.
    alternatives : tuple of tuple of (str, float)
        For each token, the most likely tokens at its position with their log-probabilities, best first.
    cached : bool
        Whether it was read from the cache. Not compared: a cached reply equals the one that the server sent.
    """

    text: str
    finish_reason: str
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    alternatives: tuple[tuple[tuple[str, float], ...], ...] = ()
    cached: bool = field(default=False, compare=False)


class Failure(Exception):
    """Why a request failed.

    Attributes
    ----------
    reason : str
        It may quote the server at length, and the server may quote the key: redact it before showing it.
    retryable : bool
        Whether the same request may succeed later.
    concerns_all : bool
        Whether every other request must fail for the same reason.
    wait : float
        How many seconds the server asks us to wait before a retry.
    """

    def __init__(self, reason: str, *, retryable: bool = False, concerns_all: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.retryable, self.concerns_all, self.wait = reason, retryable, concerns_all, wait


def read_reply(body: Any, request: Mapping[str, Any]) -> Reply:
    """Read the JSON of a chat completion; raise a `Failure` if it is no usable reply to `request`."""
    try:
        if not body["choices"]:
            raise Failure(f"the reply's choices are empty: {body!r}", retryable=True)
        choice = body["choices"][0]
        text, finish_reason = choice["message"].get("content"), choice["finish_reason"]
    except (KeyError, TypeError, AttributeError):
        raise Failure(f"the reply is no chat completion: {body!r}", retryable=True) from None
    if not isinstance(finish_reason, str):
        raise Failure(f"the reply is unfinished, its finish_reason is {finish_reason!r}", retryable=True)
    if not isinstance(text, str):
        raise Failure(f"the reply's content is not text but {text!r} (finish_reason {finish_reason!r})")
    token_logprobs = ((), (), ())
    if "logprobs" in request:
        try:
            token_logprobs = _read_logprobs(choice["logprobs"]["content"])
        except (KeyError, TypeError, ValueError):
            if text:  # an empty text has no tokens, so it needs none
                raise Failure(
                    "log-probabilities were asked for and the reply has none, or none that make sense: this server "
                    "or model cannot give them (use top_logprobs=0)"
                ) from None
    # Some servers leave the stop string in the text, `transformers serve` for one.
    return Reply(before_stop(text, request.get("stop", ())), finish_reason, *token_logprobs)


def _read_logprobs(entries: Sequence[Mapping[str, Any]]) -> tuple[tuple[Any, ...], ...]:
    """The tokens, their log-probabilities and their alternatives; an error if one is missing or impossible."""
    tokens, logprobs = zip(*_token_logprob_pairs(entries), strict=True)
    # Sort, because some servers put the chosen token before likelier ones.
    alternatives = [sorted(_token_logprob_pairs(e["top_logprobs"]), key=lambda pair: -pair[1]) for e in entries]
    return tokens, logprobs, tuple(map(tuple, alternatives))


def _token_logprob_pairs(entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    pairs = [(entry["token"], entry["logprob"]) for entry in entries]
    # Rounding may put a log-probability slightly above 0. Anything higher, or NaN, is no log-probability.
    if not pairs or not all(isinstance(t, str) and isinstance(p, int | float) and p < 1e-3 for t, p in pairs):
        raise ValueError("no log-probabilities")
    return pairs
