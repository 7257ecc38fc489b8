"""``POST /completions`` with ``echo``: a server's log-probabilities of the tokens of whole texts.

One call is one request to the server, which may hold several texts. What it sends is foreign: bounded, checked, and
without the key; whatever is wrong with it is one RuntimeError with a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .asking import try_to_ask
from .endpoint import Endpoint, read_key
from .logprobs import LARGEST_LOGPROB
from .reading import Failure
from .redaction import Secret
from .services import Service


@dataclass(frozen=True)
class EchoedText:
    """The tokens of one text as the server read them, those it put before the text included.

    Attributes
    ----------
    tokens : tuple of str
        As the server spells them.
    logprobs : tuple of (float or None)
        In nats; None for a token that nothing precedes.
    """

    tokens: tuple[str, ...]
    logprobs: tuple[float | None, ...]


def echoed_logprobs(endpoint: Endpoint, texts: Sequence[str]) -> list[EchoedText]:
    """Log-probabilities of every token of each text, in the order of the texts. Nothing is cached.

    Raises
    ------
    RuntimeError
        If the server cannot be reached, refuses the request, or returns no such log-probabilities.
    ValueError, ImportError
        If the key or the package ``openai`` is missing.
    """
    # Servers differ in whether they take max_tokens=0, so let them write one token, which is dropped. And some take one
    # text only, and no list.
    prompt = texts[0] if len(texts) == 1 else list(texts)
    request = {"model": endpoint.model, "prompt": prompt, "max_tokens": 1, "temperature": 0.0}
    request |= {"echo": True, "logprobs": 1}
    secret = Secret(read_key(endpoint.key_variable))
    found, fatal = try_to_ask(replace(endpoint, cache=None), secret, ECHO, [request], [""])
    said = fatal.reason if fatal is not None else found[0].problem
    if said is not None:
        raise RuntimeError(f"{endpoint.base_urls[0]}/completions: {said}")
    return list(found[0].texts)


@dataclass(frozen=True)
class _Echoed:
    """The reply to one request, as `ask` wants it."""

    texts: tuple[EchoedText, ...] = ()
    problem: str | None = None
    cached: bool = field(default=False, compare=False)
    tokens: tuple[str, ...] = ()


def _read_reply(body: Any, request: Mapping[str, Any]) -> _Echoed:
    texts = request["prompt"] if isinstance(request["prompt"], list) else [request["prompt"]]
    return _Echoed(tuple(_read(body, texts)))


def _read(body: Any, texts: Sequence[str]) -> list[EchoedText]:
    try:
        choices = sorted(body["choices"], key=lambda choice: choice["index"])
        if [choice["index"] for choice in choices] != list(range(len(texts))):
            raise Failure(f"{len(choices)} choices for {len(texts)} texts")
        return [_echoed(choice, text) for choice, text in zip(choices, texts, strict=True)]
    except (Failure, MemoryError):
        raise
    except Exception:  # foreign data: a list for an object, a text for a number, whatever comes
        raise Failure(
            f"the reply holds no log-probabilities of the prompt (echo and logprobs asked for them): {body!r:.200}"
        ) from None


def _echoed(choice: Any, text: str) -> EchoedText:
    tokens, logprobs = choice["logprobs"]["tokens"], choice["logprobs"]["token_logprobs"]
    if len(tokens) != len(logprobs) or not all(isinstance(token, str) for token in tokens):
        raise ValueError
    logprobs = [None if value is None else read_logprob(value) for value in logprobs]
    end = len(tokens) - _written(tokens, text)
    return EchoedText(tuple(tokens[:end]), tuple(logprobs[:end]))


def read_logprob(value: Any) -> float:
    """A log-probability of a token; a `Failure` for anything else, minus infinity included."""
    if type(value) in (int, float) and math.isfinite(value) and value <= LARGEST_LOGPROB:
        return float(value)
    raise Failure(f"{value!r:.50} is no log-probability")


def _written(tokens: Sequence[str], text: str) -> int:
    """How many tokens at the end the server wrote itself: one as a rule, none if it stopped at once.

    The offsets that servers give do not say: vLLM counts the letters of a BOS token as if they stood in the text.
    """
    plain = [token.replace("Ġ", " ").replace("Ċ", "\n") for token in tokens]
    return 0 if "".join(plain).endswith(text) and not "".join(plain[:-1]).endswith(text) else 1


ECHO = Service("completions", _read_reply, lambda problem: _Echoed(problem=problem), lambda body: "")
