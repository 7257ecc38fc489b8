"""What a server's JSON says: a `Reply`, or a `Failure` if it cannot be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..sampling import before_stop
from .logprobs import TokenLogprobs, has_logprobs, read_logprobs
from .redaction import beginning

# A million characters of text or of reasoning, and JSON nested this deep: no model is asked for more.
LONGEST_TEXT = 1_000_000
DEEPEST = 64


@dataclass(frozen=True)
class Reply:
    """What a server's model wrote in reply to a chat, or why there is nothing usable.

    Attributes
    ----------
    text : str or None
        The text before the stop string. None if the request got no usable reply; then `problem` says why.
    finish_reason : str
        As the server reports it: "stop" if the model ended the text or wrote a stop string, "length" if it was cut at
        `max_new_tokens`, or another word such as "content_filter". "error" if no reply came at all.
    tokens : tuple of str
        The tokens of `text`, as the server spells them. This and the next two are empty unless log-probabilities were
        asked for. Tokens after a stop string, and those of a reasoning that `reasoning` holds, are left out. The token
        that ended the text, such as ``<|im_end|>``, may follow. Where a server spells tokens so that they cannot be
        found in the text, all are here.
    logprobs : tuple of float
        The log-probability of each token, in nats.
    alternatives : tuple of tuple of (str, float)
        For each token, the most likely tokens at its position with their log-probabilities, best first.
    reasoning : str or None
        What the model thought before `text`, if the server returns that separately.
    problem : str or None
        Why there is no text, in one line with the key redacted; None if there is.
    cached : bool
        Whether it was read from the cache. Not compared: a cached reply equals the one that the server sent.
    """

    text: str | None
    finish_reason: str
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    alternatives: tuple[tuple[tuple[str, float], ...], ...] = ()
    reasoning: str | None = None
    problem: str | None = None
    cached: bool = field(default=False, compare=False)


class Failure(Exception):
    """Why a request got no usable reply.

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
    lacks_logprobs : bool
        Whether the reply had none of the log-probabilities that were asked for.
    refusal : object
        The JSON of a refusal that is worth keeping, because the same request would be refused again; else None.
    status : int or None
        The HTTP status, where that is what failed.
    """

    def __init__(
        self,
        reason: str,
        *,
        retryable: bool = False,
        concerns_all: bool = False,
        wait: float = 0.0,
        lacks_logprobs: bool = False,
        refusal: Any = None,
        status: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason, self.retryable, self.concerns_all, self.wait = reason, retryable, concerns_all, wait
        self.lacks_logprobs, self.refusal, self.status = lacks_logprobs, refusal, status


def parse_json(content: bytes, deepest: int = DEEPEST) -> Any:
    """The JSON of a body; a `Failure` for anything else, and for JSON nested too deep to be handled."""
    try:
        value = json.loads(content)
    except MemoryError:
        raise
    except Exception:  # ValueError, UnicodeDecodeError, RecursionError: foreign data may cause any
        raise Failure(f"the reply is not JSON, or half of it: {beginning(content)}", retryable=True) from None
    level = [value]
    for _ in range(deepest):
        inner = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list))
        level = [value for values in inner for value in values]
        if not level:
            return value
    raise Failure(f"the reply is JSON nested more than {deepest} deep: {beginning(content)}", retryable=True)


def read_reply(body: Any, request: Mapping[str, Any]) -> Reply:
    """Read the JSON of a chat completion; raise a `Failure` if it is no reply to `request`.

    What the same request would get again, such as a refusal, is a Reply with a `problem`.
    """
    try:
        return _read(body, request)
    except (Failure, MemoryError):
        raise
    except Exception:  # foreign data: a list for an object, a number for a list, whatever comes
        raise Failure(f"the reply is no chat completion: {body!r:.1000}", retryable=True) from None


def _read(body: Any, request: Mapping[str, Any]) -> Reply:
    if not body["choices"]:
        raise Failure(f"the reply's choices are empty: {body!r:.1000}", retryable=True)
    choice = body["choices"][0]
    message, finish_reason = choice["message"], choice["finish_reason"]
    text, refusal = message.get("content"), message.get("refusal")
    if not isinstance(finish_reason, str):
        raise Failure(f"the reply is unfinished, its finish_reason is {finish_reason!r:.100}", retryable=True)
    thoughts = (message.get(name) for name in ("reasoning_content", "reasoning"))
    reasoning = next((thought for thought in thoughts if isinstance(thought, str) and thought), None)
    if max(len(text) if isinstance(text, str) else 0, len(reasoning or "")) > LONGEST_TEXT:
        raise Failure(f"the reply is longer than {LONGEST_TEXT:,} characters")
    problem = _problem(text, finish_reason, refusal, reasoning, has_logprobs(choice))
    if problem is not None:
        return Reply(None, finish_reason[:100], reasoning=reasoning, problem=problem)
    if not isinstance(text, str):
        raise Failure(f"the reply's content is not text but {text!r:.1000} (finish_reason {finish_reason!r:.100})")
    stops = request.get("stop", ())
    shown = before_stop(text, stops)  # some servers leave the stop string in, `transformers serve` for one
    found = TokenLogprobs()
    if "logprobs" in request and (text or has_logprobs(choice)):  # an empty text has no tokens, so it needs none
        cut = shown != text or (bool(stops) and finish_reason == "stop")
        try:
            found = read_logprobs(choice, shown, reasoning, cut)
        except ValueError as error:
            raise Failure(
                f"log-probabilities were asked for and the reply has none, or none that make sense ({error}): does "
                "this server or model give them? (use top_logprobs=0 if not)",
                lacks_logprobs=not has_logprobs(choice),
            ) from None
    return Reply(shown, finish_reason[:100], *found, reasoning=reasoning)


def _problem(text: Any, finish_reason: str, refusal: Any, reasoning: str | None, has_tokens: bool) -> str | None:
    """Why a complete reply holds no text; None if it does, or if it is odd in another way."""
    if (isinstance(text, str) and text.strip()) or not (text is None or isinstance(text, str)):
        return None
    odd = f"content is not text but {text!r:.1000} (finish_reason {finish_reason!r:.100})"
    if isinstance(refusal, str) and refusal:
        return f"the model refused: {refusal}"
    if finish_reason == "content_filter":
        return f"a content filter withheld the reply: {odd}"
    if finish_reason == "length" and (not text or reasoning) and (reasoning or not has_tokens):
        spent = "in its reasoning" if reasoning else "perhaps in a reasoning that the server does not show"
        return f"the reply was cut before its text began, {spent}: raise max_new_tokens"
    if text is None:
        return f"the reply's {odd}"
    return None


def failed_reply(problem: str) -> Reply:
    """A Reply without text, and why."""
    return Reply(None, "error", problem=problem)


def error_message(body: Any) -> str:
    """What the JSON of an error says, for a person; the JSON itself where it has no message."""
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) and message.strip() else repr(body)
