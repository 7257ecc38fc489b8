"""``POST /completions`` with ``echo``: a server's log-probabilities of the tokens of whole texts.

One call is one request to the server, which may hold several texts. What it sends is foreign: bounded, checked, and
without the key; whatever is wrong with it is one RuntimeError with a sentence.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from .endpoint import Endpoint, read_key
from .logprobs import LARGEST_LOGPROB
from .reading import Failure, parse_json
from .redaction import Secret, one_line
from .statuses import read_error
from .transport import LONGEST_WAIT, Connection, exchange, make_connection, wait_before_retry


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
    connection = make_connection(endpoint, Secret(read_key(endpoint.key_variable)), "completions")
    # Servers differ in whether they take max_tokens=0, so let them write one token, which is dropped. And some take one
    # text only, and no list.
    prompt = texts[0] if len(texts) == 1 else list(texts)
    body = {"model": endpoint.model, "prompt": prompt, "max_tokens": 1, "temperature": 0.0}
    body |= {"echo": True, "logprobs": 1}
    for attempt in count():
        try:
            with asyncio.Runner() as runner:
                return _read(runner.run(_post(connection, body)), texts)
        except Failure as failure:
            if not failure.retryable or attempt == endpoint.retries or failure.wait > LONGEST_WAIT:
                said = one_line(connection.secret.redact(failure.reason))
                break
            wait = wait_before_retry(failure, attempt)
        time.sleep(wait)
    raise RuntimeError(f"{connection.url}: {said}")  # outside the handler: the context may hold the key


async def _post(connection: Connection, body: dict[str, Any]) -> Any:
    async with connection.open() as client:
        status, headers, content = await exchange(client, connection, body)
    if not 200 <= status < 300:
        raise read_error(status, headers, content, {**body, "messages": []}, connection.url)
    return connection.secret.redact_json(parse_json(content))


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
    for value in logprobs:
        if value is not None and not (
            type(value) in (int, float) and math.isfinite(value) and value <= LARGEST_LOGPROB
        ):
            raise Failure(f"{value!r:.50} is no log-probability")
    end = len(tokens) - _written(tokens, text)
    return EchoedText(tuple(tokens[:end]), tuple(None if value is None else float(value) for value in logprobs[:end]))


def _written(tokens: Sequence[str], text: str) -> int:
    """How many tokens at the end the server wrote itself: one as a rule, none if it stopped at once.

    The offsets that servers give do not say: vLLM counts the letters of a BOS token as if they stood in the text.
    """
    plain = [token.replace("Ġ", " ").replace("Ċ", "\n") for token in tokens]
    return 0 if "".join(plain).endswith(text) and not "".join(plain[:-1]).endswith(text) else 1
