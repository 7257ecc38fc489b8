"""Any OpenAI-compatible server, as a model that generates and judges: one chat a request, every reply kept on disk.

vLLM, Ollama, llama.cpp, ``transformers serve`` and OpenAI all answer ``POST /chat/completions``. Their replies cost
time or money, so each one is written to a folder as soon as it comes: after a crash, a Ctrl-C or an error the same
call asks only for what is missing. Needs the package ``openai``, which the rest of nbhelpers does not.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import math
import os
import random
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tqdm import tqdm

from .embedded import cache_folder
from .generation import Chat, check_options

if TYPE_CHECKING:
    from openai import OpenAI

ROLES = ("system", "developer", "user", "assistant")

# Seconds: before the first retry (doubled before each further one), and the longest that a server may make us wait.
FIRST_WAIT = 0.5
LONGEST_WAIT = 120.0

# Answers that may change if one asks again (as all from 500 up), and those that every other request would get too.
PASSING = (408, 409, 429)
SERVER_WIDE = (401, 403, 404, 429, 503)

_jitter = random.Random()  # not the global one: a program's own seeded draws must not depend on our retries


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served, and how to treat the server.

    Attributes
    ----------
    base_url : str
        Up to where ``/chat/completions`` begins: ``"http://localhost:8000/v1"``.
    model : str
        The name by which the server knows the model.
    key_variable : str
        The environment variable that holds the key. The key itself is read when requests are sent, and never stored.
        Where it is set, it goes to the server, whichever that is. A server on this very machine may do without.
    concurrency : int
        Requests under way at once, at most; 1 or more.
    timeout : float
        Seconds that the server may be silent before a request counts as failed.
    retries : int
        Further tries after a failure that may pass, each after a longer wait.
    cache : str, path or None
        The folder that keeps the replies to each request, known by `base_url` and `model`: if another model comes to
        stand behind the same names, or to ask the same again, use another folder. By default ``replies``
        in `nbhelpers.embedded.cache_folder()`. With None nothing is kept.

    Raises
    ------
    TypeError, ValueError
        If a value cannot be meant, or `base_url` carries a name, a password or a query.
    """

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 4
    timeout: float = 60.0
    retries: int = 4
    cache: str | Path | None = field(default_factory=lambda: cache_folder() / "replies")

    def __post_init__(self) -> None:
        for name in ("base_url", "model", "key_variable"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be text, not {type(getattr(self, name)).__name__}")
        if set("@?#") & set(self.base_url):
            raise ValueError(
                "base_url (not repeated here) carries a user name, a password or a query: leave them out, and put "
                "the key into an environment variable that key_variable names"
            )
        if not re.fullmatch(r"https?://(\[[\da-f:.]+\]|[^\s/:\[\]]+)(:\d{1,5})?(/\S*)?", self.base_url, re.IGNORECASE):
            raise ValueError(f"base_url={self.base_url!r}: give the whole address, such as 'http://localhost:8000/v1'")
        if not self.model.strip():
            raise ValueError("model is empty: give the name by which the server knows the model")
        if not re.fullmatch(r"[A-Za-z_]\w*", self.key_variable, re.ASCII):
            raise ValueError(
                "key_variable (not repeated here) is no name of an environment variable: give the name of the "
                "variable that holds the key, such as 'OPENAI_API_KEY', and not the key"
            )
        if not isinstance(self.concurrency, int) or self.concurrency < 1:
            raise ValueError(f"concurrency={self.concurrency!r}: give the number of requests at once, 1 or more")
        if not isinstance(self.timeout, int | float) or not 0 < self.timeout < math.inf:
            raise ValueError(f"timeout={self.timeout!r}: give a number of seconds above 0")
        if not isinstance(self.retries, int) or self.retries < 0:
            raise ValueError(f"retries={self.retries!r}: give the number of further tries, 0 or more")
        if self.cache is not None and not isinstance(self.cache, str | os.PathLike):
            raise TypeError(f"cache={self.cache!r}: give the path of a folder, or None to keep no replies")


@dataclass(frozen=True)
class Reply:
    """What a server's model wrote in reply to a chat.

    Attributes
    ----------
    text : str
        Up to the stop string, without it.
    finish_reason : str
        In the server's word: "stop" if the model ended the text or wrote a stop string, "length" if it was cut at
        `max_new_tokens`, others such as "content_filter".
    tokens : tuple of str
        The tokens as the server spells them, where log-probabilities were asked for; else empty, as the next two.
    logprobs : tuple of float
        The log-probability of each token, in nats.
    alternatives : tuple of tuple of (str, float)
        For each token, the most likely ones at its place with their log-probabilities, best first.
    cached : bool
        Whether it was read from the cache. Replies that differ in nothing else are equal.
    """

    text: str
    finish_reason: str
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    alternatives: tuple[tuple[tuple[str, float], ...], ...] = ()
    cached: bool = field(default=False, compare=False)


def complete(
    endpoint: Endpoint,
    chats: Iterable[Chat],
    max_new_tokens: int = 256,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    top_logprobs: int = 0,
    progress: bool = False,
) -> list[Reply]:
    """Let the model behind an endpoint reply to each chat.

    Parameters
    ----------
    endpoint : Endpoint
    chats : iterable of chat
        Each a list of messages, ``{"role": "user", "content": "Hello"}``.
    max_new_tokens : int
        At most so many tokens a reply, 1 or more.
    temperature : float
        0 takes the most likely token each time.
    seed : int
        For drawing, where the server heeds it. The same chat with the same seed is the same request and is sent once:
        to draw several replies to one chat, call with several seeds.
    stop : str or sequence of str
        Writing stops when the text holds one of these, and the text ends before it.
    top_logprobs : int
        If above 0, ask for the log-probability of each token and for so many alternatives (servers allow 20 or so).
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Reply
        In the order of the chats.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be meant, or a server elsewhere needs a key and the environment variable holds none.
    ImportError
        If the package ``openai`` is missing and a request must be sent.
    RuntimeError
        If requests failed for good. It says how many, and why the first did. All other replies are in the cache by
        then. A failure that all requests share (server away, key refused, model unknown, rate limit) ends the call.
    OSError
        If the cache cannot be written.

    Notes
    -----
    The protocol is OpenAI's "Create chat completion". Asked again after a growing wait, or after as long as the
    server's ``Retry-After`` says: no connection, a timeout, half a reply or none, and the answers 408, 409, 429 and
    5xx. `max_new_tokens` travels as ``max_tokens``, which OpenAI's own reasoning models refuse. ``transformers serve``
    (5.23) has no log-probabilities, and draws only where the model's own settings say so, whatever the temperature.
    Explained in the chapter "Judging with a Model".
    """
    requests = _requests(endpoint, chats, max_new_tokens, temperature, seed, stop, top_logprobs)
    names = [_digest(request) for request in requests]
    distinct = dict(zip(names, requests, strict=True))
    folder = _open(endpoint.cache)
    outcomes: dict[str, Reply | _Trouble | None] = {name: _load(folder, name, distinct[name]) for name in distinct}
    missing = {name: request for name, request in distinct.items() if outcomes[name] is None}
    if missing:
        client, halt = _client(endpoint), Event()
        try:
            done = _send(client, endpoint, missing, folder, halt)
            for _ in tqdm(missing, disable=not progress):
                name, outcome = done.get()
                if not isinstance(outcome, Reply | _Trouble | None):
                    raise outcome
                outcomes[name] = outcome
            client.close()
        finally:
            halt.set()  # after a Ctrl-C no further request is sent, and those under way still keep their replies
    replies = [outcomes[name] for name in names]
    failures = {i: str(outcome) for i, outcome in enumerate(replies) if isinstance(outcome, _Trouble)}
    if failures:
        raise RuntimeError(_account(endpoint, failures, len(replies), replies.count(None)))
    return replies


class _Trouble(Exception):
    """Why a request failed; whether asking again may help; whether all others must fail too; seconds to wait."""

    def __init__(self, reason: str, *, again: bool = False, everyone: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.again, self.everyone, self.wait = again, everyone, wait


def _send(
    client: OpenAI, endpoint: Endpoint, requests: Mapping[str, dict[str, Any]], folder: Path | None, halt: Event
) -> SimpleQueue[tuple[str, Reply | BaseException | None]]:
    """Start sending. The queue receives one outcome for each request: None if `halt` came before its reply."""
    workers = min(endpoint.concurrency, len(requests))
    waiting, done = SimpleQueue(), SimpleQueue()
    for name in [*requests, *[None] * workers]:
        waiting.put(name)

    def work() -> None:
        for name in iter(waiting.get, None):
            try:
                outcome = None if halt.is_set() else _ask(client, endpoint, requests[name], folder, name, halt)
            except BaseException as error:  # a full disk, for one: the caller's thread must learn of it
                outcome = error
                if getattr(error, "everyone", True):
                    halt.set()
            done.put((name, outcome))

    # Threads work under Jupyter's running event loop too. Those of an executor would be waited for when Python exits,
    # and a Ctrl-C would have to wait for a slow server; daemon threads end with the program.
    for _ in range(workers):
        Thread(target=work, daemon=True).start()
    return done


def _ask(
    client: OpenAI, endpoint: Endpoint, request: dict[str, Any], folder: Path | None, name: str, halt: Event
) -> Reply | None:
    """One request, with its retries; the reply is on disk before it is returned."""
    for tried in count():
        try:
            body = _post(client, endpoint, request)
            reply = _reply(body, request)
        except _Trouble as trouble:
            trouble.args = (_presentable(endpoint, str(trouble)),)
            if not trouble.again or tried == endpoint.retries or trouble.wait > LONGEST_WAIT:
                raise
            pause = min(FIRST_WAIT * 2**tried, LONGEST_WAIT) * _jitter.uniform(0.75, 1.25)
            if halt.wait(trouble.wait + pause):
                return None
        else:
            _save(folder, name, request, body)
            return reply


def _post(client: OpenAI, endpoint: Endpoint, request: dict[str, Any]) -> Any:
    """The server's JSON. The client's errors, which hold the key in a header, do not leave this function."""
    import openai

    arguments = {name: value for name, value in request.items() if name != "base_url"}
    try:
        content = client.chat.completions.with_raw_response.create(**arguments).content
    except openai.APIConnectionError as error:
        # By name, because the client's HTTP library has been httpx and is httpx2.
        away = type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
        late = isinstance(error, openai.APITimeoutError)
        reason = f"no reply within {endpoint.timeout:g} s" if late else f"the connection failed: {error.__cause__}"
        trouble = _Trouble(reason, again=True, everyone=away)
    except openai.APIStatusError as error:
        status = error.status_code
        hint = " (should base_url end in /v1, and is the model's name right?)" if status == 404 else ""
        trouble = _Trouble(
            f"the server answered {status}{hint}: {error.response.text}",
            again=status in PASSING or status >= 500,
            everyone=status in SERVER_WIDE,
            wait=_retry_after(error.response.headers.get("retry-after")),
        )
    else:
        try:
            return json.loads(content)
        except ValueError:
            trouble = _Trouble(f"the reply is not JSON, or half of it: {content!r}", again=True)
    raise trouble


def _retry_after(header: str | None) -> float:
    """Seconds to wait, from a number or a date; 0 where the server does not say."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except ValueError:
        return 0.0


def _reply(body: Any, request: Mapping[str, Any]) -> Reply:
    """What the server's JSON says, or the reason why it cannot be used."""
    try:
        if not body["choices"]:
            raise _Trouble(f"the reply's choices are empty: {body!r}", again=True)
        choice = body["choices"][0]
        text, finish_reason = choice["message"].get("content"), choice["finish_reason"]
    except (KeyError, TypeError, AttributeError):
        raise _Trouble(f"the reply is no chat completion: {body!r}", again=True) from None
    if not isinstance(finish_reason, str):
        raise _Trouble(f"the reply is unfinished, its finish_reason is {finish_reason!r}", again=True)
    if not isinstance(text, str):
        raise _Trouble(f"the reply's content is not text but {text!r} (finish_reason {finish_reason!r})")
    found = ((), (), ())
    if "logprobs" in request:
        try:
            found = _token_logprobs(choice["logprobs"]["content"])
        except (KeyError, TypeError, ValueError):
            if text:
                raise _Trouble(
                    "log-probabilities were asked for and the reply has none, or none that make sense: this server "
                    "or model cannot give them (use top_logprobs=0)"
                ) from None
    # Some servers, transformers' for one, leave the stop string in the text.
    cut = min((place for s in request.get("stop", ()) if (place := text.find(s)) >= 0), default=len(text))
    return Reply(text[:cut], finish_reason, *found)


def _token_logprobs(entries: Sequence[Mapping[str, Any]]) -> tuple[tuple[Any, ...], ...]:
    """Tokens, their log-probabilities, and the alternatives to each; an error if anything is missing or impossible."""

    def pairs(those: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
        result = [(entry["token"], entry["logprob"]) for entry in those]
        # A little above 0 is rounding. More, or NaN, is no log-probability.
        if not result or not all(isinstance(t, str) and isinstance(p, int | float) and p < 1e-3 for t, p in result):
            raise ValueError("no log-probabilities")
        return result

    tokens, logprobs = zip(*pairs(entries), strict=True)
    # Sorted, because some servers put the chosen token before likelier ones.
    best_first = [sorted(pairs(entry["top_logprobs"]), key=lambda pair: -pair[1]) for entry in entries]
    return tokens, logprobs, tuple(map(tuple, best_first))


def _account(endpoint: Endpoint, failures: Mapping[int, str], total: int, left: int) -> str:
    """The message of the one error that a call raises."""
    first = min(failures)
    kept = "are lost, because cache is None" if endpoint.cache is None else f"are kept in {endpoint.cache}"
    return (
        f"{len(failures)} of {total} requests to {endpoint.base_url} failed"
        + (f" and {left} were given up, because they would fail too" if left else "")
        + f"; the first is request {first}: {failures[first]}. The other "
        + f"{total - len(failures) - left} replies {kept}; a rerun continues with what is missing"
    )


def _presentable(endpoint: Endpoint, reason: str) -> str:
    """On one line, of bearable length, and without the key: servers repeat a key that they refuse."""
    key = os.environ.get(endpoint.key_variable, "").strip()
    return " ".join((reason.replace(key, "[key]") if key else reason).split())[:300]


def _client(endpoint: Endpoint) -> OpenAI:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise ImportError("asking a server needs the package openai: run pip install openai") from error
    host = urlsplit(endpoint.base_url).hostname
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    key = os.environ.get(endpoint.key_variable, "").strip()
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
        max_retries=0,  # the client would not ask again after half a reply, nor wake from its wait for a Ctrl-C
        # This machine is not behind a proxy, whatever HTTP_PROXY says.
        http_client=openai.DefaultHttpxClient(trust_env=False) if local else None,
    )


def _digest(value: Any) -> str:
    """SHA-256 of the canonical JSON. A character cut in half (a lone surrogate) has a place in it too."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _open(cache: str | Path | None) -> Path | None:
    if cache is None:
        return None
    folder = Path(cache).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the folder {folder} for replies ({error}): give cache another path") from None
    return folder


def _save(folder: Path | None, name: str, request: Mapping[str, Any], body: Any) -> None:
    """Write the request and the server's own words to a file that appears whole or not at all."""
    if folder is None:
        return
    record = {"sha256": _digest([request, body]), "request": request, "reply": body}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        building = Path(scratch, "reply.json")
        building.write_bytes(json.dumps(record, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        os.replace(building, folder / f"{name}.json")


def _load(folder: Path | None, name: str, request: Mapping[str, Any]) -> Reply | None:
    """The kept reply; None where there is none, or the file is damaged or belongs to another request."""
    if folder is None:
        return None
    try:
        record = json.loads((folder / f"{name}.json").read_bytes().decode("utf-8", "surrogatepass"))
        if record["request"] != request or record["sha256"] != _digest([request, record["reply"]]):
            return None
        return replace(_reply(record["reply"], request), cached=True)
    except (OSError, ValueError, KeyError, TypeError, _Trouble):
        return None


def _requests(
    endpoint: Endpoint,
    chats: Iterable[Chat],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    stop: str | Sequence[str],
    top_logprobs: int,
) -> list[dict[str, Any]]:
    """For each chat, all that determines its reply; or a clear error."""
    example = "[{'role': 'user', 'content': 'Hello'}]"
    if isinstance(chats, str | Mapping):
        raise TypeError(f"chats must be a list of chats such as {example}, not {chats!r:.80}")
    stops = check_options(max_new_tokens, temperature, seed, stop)
    if not isinstance(top_logprobs, int) or top_logprobs < 0:
        raise ValueError(f"top_logprobs={top_logprobs!r}: give the number of alternatives to each token, 0 for none")
    shared: dict[str, Any] = {"base_url": endpoint.base_url.rstrip("/"), "model": endpoint.model}
    shared |= {"max_tokens": max_new_tokens, "temperature": float(temperature), "seed": seed}
    # Some servers refuse what they do not know: these are named only where they are wanted.
    shared |= {"stop": stops} if stops else {}
    shared |= {"logprobs": True, "top_logprobs": top_logprobs} if top_logprobs else {}
    requests = []
    for number, chat in enumerate(chats):
        if isinstance(chat, Mapping):
            raise TypeError("chats is a single chat: for one chat give a list of one")
        if not isinstance(chat, Sequence) or not all(
            isinstance(message, Mapping) and "content" in message and all(isinstance(v, str) for v in message.values())
            for message in chat
        ):
            raise TypeError(f"chat {number} must be a list of messages such as {example}, not {chat!r:.80}")
        if not chat:
            raise ValueError(f"chat {number} has no messages: there is nothing to reply to")
        for role in (message.get("role") for message in chat):
            if role not in ROLES:
                raise ValueError(f"chat {number} has the role {role!r}: give one of {', '.join(ROLES)}")
        try:
            "".join(text for message in chat for text in message.values()).encode()
        except UnicodeEncodeError:
            raise ValueError(f"chat {number} holds half a character (a lone surrogate), which cannot be sent") from None
        requests.append({**shared, "messages": [dict(message) for message in chat]})
    return requests
