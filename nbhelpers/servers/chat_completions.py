"""`complete`: turn chats into requests, ask for what the cache lacks, and warn of what failed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

from ..chats import Chat, check_chat
from ..sampling import check_sampling
from ..warn import warn_caller
from .asking import ask
from .endpoint import Endpoint, read_key
from .reading import DEEPEST, Failure, Reply, parse_json
from .redaction import Secret
from .services import CHAT

ROLES = ("system", "developer", "user", "assistant")
# Fields that a request has of its own, and others that would change what comes back so that it cannot be read.
OWN_FIELDS = ("base_url", "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "seed", "stop")
OWN_FIELDS += ("logprobs", "top_logprobs", "n", "stream", "stream_options")


def complete(
    endpoint: Endpoint,
    chats: Iterable[Chat],
    max_new_tokens: int = 256,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    top_logprobs: int = 0,
    extra_body: Mapping[str, Any] | None = None,
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
        If above 0, ask for the log-probability of each token and for this many alternatives, up to the endpoint's
        `top_logprobs_limit`.
    extra_body : mapping, optional
        More fields of the request, for what this server offers beyond the protocol. To switch off a model's reasoning
        at vLLM: ``{"chat_template_kwargs": {"enable_thinking": False}}``. Another `extra_body` is another request.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Reply
        In the order of the chats. Where a request got no usable reply, `text` is None and `problem` says why: a
        refusal, a content filter, a chat that is too long, a reasoning cut short by `max_new_tokens`, and after all
        retries a server error, a timeout or a reply that makes no sense. One warning counts them.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, if a request holds the key, or if a server on another
        machine needs a key and the environment variable holds none.
    ImportError
        If the package ``openai`` is missing and a request must be sent.
    RuntimeError
        If all requests fail for one reason: server unreachable or elsewhere, key refused, bill unpaid, model or
        parameter unknown, rate limit, no log-probabilities to be had. The message says how many failed, and why the
        first did. Replies that have come are in the cache, and a rerun continues with what is missing.
    OSError
        If the cache cannot be written.

    Notes
    -----
    The protocol is OpenAI's "Create chat completion". Failed connections, timeouts, missing or truncated replies and
    the statuses 408, 409, 429 and 5xx are retried, after a growing wait or after as long as the server's
    ``Retry-After`` says. A redirect is not followed. A reply of more than 16 MB or a million characters is a problem.
    ``transformers serve`` (5.23) returns no log-probabilities, and it samples only if the model's own settings say so,
    whatever the temperature. Explained in the chapter "Judging with a Model".

    `max_new_tokens` is sent as ``max_tokens``, and as ``max_completion_tokens`` to servers that say they want that.
    OpenAI's reasoning models also refuse a temperature other than 1.

    The cache keeps replies, and with them what would be the same again: a refusal, a filtered request or reply, a null
    in place of a text, a reasoning cut short. A rerun reads these and does not pay for them twice. To ask again after
    all, give another `seed`, another `max_new_tokens`, or an Endpoint with another `cache`. Other failures are not
    kept, and a rerun asks again.
    """
    secret = Secret(read_key(endpoint.key_variable))
    options = _shared_fields(endpoint, max_new_tokens, temperature, seed, stop, top_logprobs, extra_body)
    requests = _build_requests(options, chats, secret, endpoint.key_variable)
    prefixes = ["\n".join(text for message in request["messages"] for text in message.values()) for request in requests]
    replies = ask(endpoint, secret, CHAT, requests, prefixes, progress)
    problems = {number: reply.problem for number, reply in enumerate(replies) if reply.problem is not None}
    if problems:
        first = min(problems)
        warn_caller(
            f"{len(problems)} of {len(replies)} requests got no usable reply; the first is request {first}: "
            f"{problems[first]}. Their text is None, and their problem says why"
        )
    return replies


def _shared_fields(
    endpoint: Endpoint,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    stop: str | Sequence[str],
    top_logprobs: int,
    extra_body: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What determines the replies to all chats; or a clear error."""
    stops = check_sampling(max_new_tokens, temperature, seed, stop)
    for text in stops:
        _check_encodable(text, "stop")
    if not isinstance(top_logprobs, Integral) or top_logprobs < 0:
        raise ValueError(f"top_logprobs={top_logprobs!r}: give the number of alternatives to each token, 0 for none")
    if top_logprobs > endpoint.top_logprobs_limit:
        raise ValueError(
            f"top_logprobs={top_logprobs}, and the endpoint's top_logprobs_limit is {endpoint.top_logprobs_limit}: ask "
            "for fewer, or raise that limit if the server gives more"
        )
    shared: dict[str, Any] = {"base_url": endpoint.base_urls[0], "model": endpoint.model}
    # NumPy's numbers are no JSON.
    shared |= {"max_tokens": int(max_new_tokens), "temperature": float(temperature), "seed": int(seed)}
    # Some servers refuse parameters they do not know, so send these only if they are wanted.
    shared |= {"stop": stops} if stops else {}
    shared |= {"logprobs": True, "top_logprobs": int(top_logprobs)} if top_logprobs else {}
    more = _extra_fields(extra_body)
    shared |= {"extra_body": more} if more else {}
    try:
        json.dumps(shared)
    except ValueError:  # Python writes no integers of more than 4,300 digits
        raise ValueError("max_new_tokens or seed is a number too long to be sent: give a shorter one") from None
    return shared


def _extra_fields(extra_body: Mapping[str, Any] | None) -> dict[str, Any]:
    """`extra_body` as the JSON that is sent; or a clear error."""
    if extra_body is None:
        return {}
    if not isinstance(extra_body, Mapping) or not all(isinstance(name, str) for name in extra_body):
        raise TypeError(f"extra_body must be a mapping from names of fields to values, not {extra_body!r:.80}")
    for name in extra_body:
        if name in OWN_FIELDS:
            raise ValueError(f"extra_body holds {name!r}, which complete sets itself or cannot do with: leave it out")
    try:
        text = json.dumps(dict(extra_body), allow_nan=False)
        _check_encodable(json.dumps(dict(extra_body), ensure_ascii=False), "extra_body")
        return parse_json(text.encode())
    except Failure:
        raise ValueError(f"extra_body is nested more than {DEEPEST} deep") from None
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"extra_body cannot be sent as JSON ({error}): give texts, numbers, lists and dicts") from None


def _build_requests(
    shared: Mapping[str, Any], chats: Iterable[Chat], secret: Secret, key_variable: str
) -> list[dict[str, Any]]:
    """For each chat, everything that determines its reply; or a clear error."""
    if isinstance(chats, str | Mapping):
        example = "[{'role': 'user', 'content': 'Hello'}]"
        raise TypeError(f"chats must be a list of chats such as {example}, not {chats!r:.80}")
    _refuse_key(secret, json.dumps(shared), "the request's options hold", key_variable)
    requests = []
    for number, chat in enumerate(chats):
        if isinstance(chat, Mapping):
            raise TypeError("chats is a single chat: for one chat give a list of one")
        check_chat(chat, f"chat {number}")
        _check_sendable(chat, f"chat {number}")
        for message in chat:
            _refuse_key(secret, "\n".join(message.values()), f"chat {number} holds", key_variable)
        requests.append({**shared, "messages": [dict(message) for message in chat]})
    return requests


def _check_sendable(chat: Chat, name: str) -> None:
    """What servers ask of a chat beyond `check_chat`: nothing but text, known roles, and no lone surrogate."""
    for message in chat:
        for field, value in message.items():
            if not isinstance(field, str) or not isinstance(value, str):
                raise TypeError(f"{name} has a message whose {field!r} is not text but {value!r:.80}")
        if message["role"] not in ROLES:
            raise ValueError(f"{name} has the role {message['role']!r}: give one of {', '.join(ROLES)}")
        _check_encodable("".join([*message.keys(), *message.values()]), name)


def _check_encodable(text: str, name: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} holds half a character (a lone surrogate), which cannot be sent") from None


def _refuse_key(secret: Secret, text: str, what: str, key_variable: str) -> None:
    if secret.stands_plainly_in(text):
        raise ValueError(f"{what} the key that {key_variable} holds, and would be kept with it: take it out")
