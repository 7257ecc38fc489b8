"""`complete`: turn chats into requests, dedupe them, ask for what the cache lacks, and account for failures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from threading import Event
from typing import Any

from tqdm import tqdm

from ..chats import Chat, check_chat
from ..sampling import check_sampling
from .endpoint import Endpoint
from .reading import Reply
from .replies import digest, load_reply, open_folder
from .transport import make_client, send

ROLES = ("system", "developer", "user", "assistant")


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
        Each is a list of messages, ``{"role": "user", "content": "Hello"}``.
    max_new_tokens : int
        Maximum length of a reply in tokens, 1 or more.
    temperature : float
        0 takes the most likely token each time.
    seed : int
        For sampling, if the server heeds it. The same chat with the same seed is the same request and is sent once:
        to sample several replies to one chat, call with several seeds.
    stop : str or sequence of str
        Generation stops when the text contains one of these strings, and the text ends before it.
    top_logprobs : int
        If above 0, ask for the log-probability of each token and for this many alternatives. Servers allow about 20.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Reply
        In the order of the chats.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or a server on another machine needs a key and the
        environment variable holds none.
    ImportError
        If the package ``openai`` is missing and a request must be sent.
    RuntimeError
        If requests failed for good. The message says how many, and why the first did. All other replies are in the
        cache by then. A failure that all requests share (server unreachable, key refused, model unknown, rate limit)
        ends the call.
    OSError
        If the cache cannot be written.

    Notes
    -----
    The protocol is OpenAI's "Create chat completion". Failed connections, timeouts, missing or truncated replies and
    the statuses 408, 409, 429 and 5xx are retried, after a growing wait or after as long as the server's
    ``Retry-After`` says. `max_new_tokens` is sent as ``max_tokens``, which OpenAI's own reasoning models refuse.
    ``transformers serve`` (5.23) returns no log-probabilities, and it samples only if the model's own settings say so,
    whatever the temperature. Explained in the chapter "Judging with a Model".
    """
    requests = _build_requests(endpoint, chats, max_new_tokens, temperature, seed, stop, top_logprobs)
    names = [digest(request) for request in requests]
    distinct = dict(zip(names, requests, strict=True))
    folder = open_folder(endpoint.cache)
    found = {name: load_reply(folder, name, request) for name, request in distinct.items()}
    missing = {name: request for name, request in distinct.items() if found[name] is None}
    reasons: dict[str, str] = {}
    if missing:
        client, halt = make_client(endpoint), Event()
        try:
            outcomes = send(client, endpoint, missing, folder, halt)
            for _ in tqdm(missing, disable=not progress):
                outcome = outcomes.get()
                if outcome.crash is not None:
                    raise outcome.crash
                if outcome.failure is not None:
                    reasons[outcome.name] = outcome.failure
                found[outcome.name] = outcome.reply
            client.close()
        finally:
            halt.set()  # after a Ctrl-C, send nothing more
    failures = {number: reasons[name] for number, name in enumerate(names) if name in reasons}
    if failures:
        replied = sum(found[name] is not None for name in names)
        raise RuntimeError(_account(endpoint, failures, len(names), replied))
    return [found[name] for name in names]


def _account(endpoint: Endpoint, failures: Mapping[int, str], total: int, replied: int) -> str:
    """The message of the one error that a call raises: what failed, why, and what is kept."""
    first = min(failures)
    given_up = total - replied - len(failures)
    kept = "are lost, because cache is None" if endpoint.cache is None else f"are kept in {endpoint.cache}"
    return (
        f"{len(failures)} of {total} requests to {endpoint.base_url} failed"
        + (f" and {given_up} were given up, because they would fail too" if given_up else "")
        + f"; the first is request {first}: {failures[first]}. The other "
        + f"{replied} replies {kept}; a rerun continues with what is missing"
    )


def _build_requests(
    endpoint: Endpoint,
    chats: Iterable[Chat],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    stop: str | Sequence[str],
    top_logprobs: int,
) -> list[dict[str, Any]]:
    """For each chat, everything that determines its reply; or a clear error."""
    if isinstance(chats, str | Mapping):
        example = "[{'role': 'user', 'content': 'Hello'}]"
        raise TypeError(f"chats must be a list of chats such as {example}, not {chats!r:.80}")
    stops = check_sampling(max_new_tokens, temperature, seed, stop)
    if not isinstance(top_logprobs, int) or top_logprobs < 0:
        raise ValueError(f"top_logprobs={top_logprobs!r}: give the number of alternatives to each token, 0 for none")
    shared: dict[str, Any] = {"base_url": endpoint.base_url.rstrip("/"), "model": endpoint.model}
    shared |= {"max_tokens": max_new_tokens, "temperature": float(temperature), "seed": seed}
    # Some servers refuse parameters they do not know, so send these only if they are wanted.
    shared |= {"stop": stops} if stops else {}
    shared |= {"logprobs": True, "top_logprobs": top_logprobs} if top_logprobs else {}
    requests = []
    for number, chat in enumerate(chats):
        if isinstance(chat, Mapping):
            raise TypeError("chats is a single chat: for one chat give a list of one")
        check_chat(chat, f"chat {number}")
        _check_sendable(chat, f"chat {number}")
        requests.append({**shared, "messages": [dict(message) for message in chat]})
    return requests


def _check_sendable(chat: Chat, name: str) -> None:
    """What servers ask of a chat beyond `check_chat`: nothing but text, known roles, and no lone surrogate."""
    for message in chat:
        for field, value in message.items():
            if not isinstance(value, str):
                raise TypeError(f"{name} has a message whose {field!r} is not text but {value!r:.80}")
        if message["role"] not in ROLES:
            raise ValueError(f"{name} has the role {message['role']!r}: give one of {', '.join(ROLES)}")
        try:
            "".join(message.values()).encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} holds half a character (a lone surrogate), which cannot be sent") from None
