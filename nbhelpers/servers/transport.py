"""How requests reach a server: the HTTP client and its key, threads, retries and waits."""

from __future__ import annotations

import ipaddress
import json
import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .endpoint import Endpoint
from .reading import Failure, Reply, read_reply
from .replies import save_reply

if TYPE_CHECKING:
    from openai import OpenAI

# Seconds before the first retry, doubled before each further one; and the longest wait that we accept from a server.
FIRST_WAIT = 0.5
LONGEST_WAIT = 120.0

RETRYABLE = (408, 409, 429)  # and everything from 500 up
SERVER_WIDE = (401, 403, 404, 429, 503)  # every other request would get the same answer

_jitter = random.Random()  # our own: retries must not change a program's seeded draws from the global one


@dataclass(frozen=True)
class Outcome:
    """What became of one request: one of `reply`, `failure` and `crash`, or none if it was given up after a halt.

    Attributes
    ----------
    name : str
    reply : Reply or None
        It is on disk already.
    failure : str or None
        Why the request failed for good: one line, with the key redacted.
    crash : BaseException or None
        An error on this machine, such as a full disk, for the caller's thread to raise.
    """

    name: str
    reply: Reply | None = None
    failure: str | None = None
    crash: BaseException | None = None


def make_client(endpoint: Endpoint) -> OpenAI:
    """The HTTP client, which holds the key; a clear error if the key or the package ``openai`` is missing."""
    try:
        import openai
    except ModuleNotFoundError as error:
        raise ImportError("asking a server needs the package openai: run pip install openai") from error
    host = urlsplit(endpoint.base_url).hostname
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    key = _key(endpoint)
    if not key and not local:
        raise ValueError(
            f"the environment variable {endpoint.key_variable}, which should hold the key for {host}, is not set: set "
            "it, to any word if the server asks for no key, or name another variable in key_variable"
        )
    if not re.fullmatch(r"[!-~]*", key):
        raise ValueError(f"the key in {endpoint.key_variable} holds a space or another character that no key has")
    return openai.OpenAI(
        base_url=endpoint.base_url,
        api_key=key or "none",
        timeout=endpoint.timeout,
        max_retries=0,  # we retry ourselves: the client does not after half a reply, and Ctrl-C cannot end its waits
        # No proxy stands before this machine, whatever HTTP_PROXY says.
        http_client=openai.DefaultHttpxClient(trust_env=False) if local else None,
    )


def send(
    client: OpenAI, endpoint: Endpoint, requests: Mapping[str, dict[str, Any]], folder: Path | None, halt: Event
) -> SimpleQueue[Outcome]:
    """Start sending the named requests. The queue receives one outcome for each.

    Once `halt` is set, no further request is sent; those under way still keep their replies.
    """
    waiting, outcomes = SimpleQueue(), SimpleQueue()
    for name in requests:
        waiting.put(name)

    def work() -> None:
        while True:
            try:
                name = waiting.get_nowait()
            except Empty:
                return
            outcomes.put(_outcome(client, endpoint, name, requests[name], folder, halt))

    # Threads also work under Jupyter's running event loop. They are daemons because Python waits at exit for the
    # threads of an executor: a Ctrl-C would have to wait for a slow server.
    for _ in range(min(endpoint.concurrency, len(requests))):
        Thread(target=work, daemon=True).start()
    return outcomes


def _outcome(
    client: OpenAI, endpoint: Endpoint, name: str, request: dict[str, Any], folder: Path | None, halt: Event
) -> Outcome:
    """Ask for one reply. Set `halt` if all other requests would fail too."""
    if halt.is_set():
        return Outcome(name)
    try:
        return Outcome(name, reply=_ask(client, endpoint, name, request, folder, halt))
    except Failure as failure:
        if failure.concerns_all:
            halt.set()
        return Outcome(name, failure=_redact(endpoint, failure.reason))
    except BaseException as crash:  # whatever it is, the caller's thread must learn of it
        halt.set()
        return Outcome(name, crash=crash)


def _ask(
    client: OpenAI, endpoint: Endpoint, name: str, request: dict[str, Any], folder: Path | None, halt: Event
) -> Reply | None:
    """Send one request, with retries. Its reply is on disk before it is returned; None if a halt ends the wait."""
    for attempt in count():
        try:
            body = _post(client, endpoint, request)
            reply = read_reply(body, request)
        except Failure as failure:
            if not failure.retryable or attempt == endpoint.retries or failure.wait > LONGEST_WAIT:
                raise
            backoff = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * _jitter.uniform(0.75, 1.25)
            wait = failure.wait + backoff
        else:
            save_reply(folder, name, request, body)
            return reply
        if halt.wait(wait):
            return None


def _post(client: OpenAI, endpoint: Endpoint, request: dict[str, Any]) -> Any:
    """The server's JSON. The client's errors hold the key in a header, so none of them may leave this function."""
    import openai

    arguments = {name: value for name, value in request.items() if name != "base_url"}
    try:
        content = client.chat.completions.with_raw_response.create(**arguments).content
    except openai.APIConnectionError as error:
        # Compare names: the client's HTTP library has been httpx and is httpx2.
        unreachable = type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
        timed_out = isinstance(error, openai.APITimeoutError)
        reason = f"no reply within {endpoint.timeout:g} s" if timed_out else f"the connection failed: {error.__cause__}"
        failure = Failure(reason, retryable=True, concerns_all=unreachable)
    except openai.APIStatusError as error:
        status = error.status_code
        hint = " (should base_url end in /v1, and is the model's name right?)" if status == 404 else ""
        failure = Failure(
            f"the server answered {status}{hint}: {error.response.text}",
            retryable=status in RETRYABLE or status >= 500,
            concerns_all=status in SERVER_WIDE,
            wait=_retry_after(error.response.headers.get("retry-after")),
        )
    else:
        try:
            return json.loads(content)
        except ValueError:
            failure = Failure(f"the reply is not JSON, or half of it: {content!r}", retryable=True)
    raise failure  # outside the handlers, so that the client's error is not its context


def _retry_after(header: str | None) -> float:
    """Seconds to wait, from a number or a date; 0 if the server does not say."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except ValueError:
        return 0.0


def _key(endpoint: Endpoint) -> str:
    return os.environ.get(endpoint.key_variable, "").strip()


def _redact(endpoint: Endpoint, reason: str) -> str:
    """One line, truncated, with the key redacted: servers repeat a key that they refuse."""
    key = _key(endpoint)
    return " ".join((reason.replace(key, "[key]") if key else reason).split())[:300]
