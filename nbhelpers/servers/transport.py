"""How requests reach a server: the HTTP client and its key, threads, retries, waits, and the bounds of a reply."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import random
import re
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

from .endpoint import Endpoint, read_key
from .reading import Failure, parse_json
from .redaction import Secret, one_line
from .replies import save_reply
from .services import CHAT, Answer, Result, Service
from .statuses import read_error, wants_max_completion_tokens

# Seconds before the first retry, doubled before each further one; and the longest wait that we accept from a server.
FIRST_WAIT = 0.5
LONGEST_WAIT = 120.0

# A request may take this many times the endpoint's timeout as a whole, however steadily its bytes trickle in.
DEADLINE = 10
# Bytes of a reply, decompressed: 20 alternatives to each of 8,000 tokens. Of an error, the first bytes will do.
LARGEST_BODY = 16 * 2**20
LARGEST_ERROR = 64 * 2**10
# Fields of a request that say where it goes.
NOT_SENT = ("base_url", "path", "extra_body")

_jitter = random.Random()  # our own: retries must not change a program's seeded draws from the global one


@dataclass(frozen=True)
class Outcome:
    """What became of one request: one of `reply`, `failure` and `crash`, or none if it was given up after a halt.

    Attributes
    ----------
    name : str
    reply : Answer or None
        It is on disk already, unless it has a problem that may pass.
    failure : Failure or None
        Why this request and all others fail, or why its reply lacks log-probabilities. Its reason is one line, with
        the key redacted.
    crash : BaseException or None
        An error on this machine, such as a full disk, for the caller's thread to raise.
    """

    name: str
    reply: Answer | None = None
    failure: Failure | None = None
    crash: BaseException | None = None


class Connection:
    """One address as the threads of one call share it: its service, its key, and what the server calls a field."""

    def __init__(self, endpoint: Endpoint, secret: Secret, local: bool, base_url: str, service: Service) -> None:
        self.endpoint, self.secret, self.local, self.service = endpoint, secret, local, service
        root = base_url.removesuffix("/v1") if service.path.startswith("/") else base_url
        self.url = f"{root}/{service.path.removeprefix('/')}"
        self.token_limit = "max_tokens"
        self.ssl_context: Any = False  # made once, because reading the certificates takes 50 ms

    def open(self) -> Any:
        """A client for one thread.

        It is the HTTP library's own, not ``OpenAI``: that one adds headers from the environment (OPENAI_ORG_ID,
        OPENAI_PROJECT_ID, OPENAI_CUSTOM_HEADERS) whichever server it speaks to.
        """
        import openai

        if self.ssl_context is False and self.url.lower().startswith("https:"):
            library = sys.modules[openai.DefaultAsyncHttpxClient.__base__.__module__.partition(".")[0]]  # httpx, httpx2
            self.ssl_context = library.create_ssl_context()
        return openai.DefaultAsyncHttpxClient(
            headers={
                "Authorization": self.secret.authorization(),
                "Accept": "application/json",
                "Accept-Encoding": "gzip",  # and nothing else, because we cap what we unpack
                "Content-Type": "application/json",
                "User-Agent": "nbhelpers",
            },
            timeout=self.endpoint.timeout,
            follow_redirects=False,  # a redirect may lead anywhere, and 307 takes the conversation along
            trust_env=not self.local,  # no proxy stands before this machine, whatever HTTP_PROXY says
            verify=self.ssl_context,
        )


def make_connections(endpoint: Endpoint, secret: Secret, service: Service = CHAT) -> list[Connection]:
    """The way to each address; a clear error if the key or the package ``openai`` is missing."""
    try:
        import openai  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError("asking a server needs the package openai: run pip install openai") from error
    return [_make_connection(endpoint, secret, base_url, service) for base_url in endpoint.base_urls]


def _make_connection(endpoint: Endpoint, secret: Secret, base_url: str, service: Service) -> Connection:
    host = urlsplit(base_url).hostname
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not read_key(endpoint.key_variable) and not local:
        raise ValueError(
            f"the environment variable {endpoint.key_variable}, which should hold the key for {host}, is not set: set "
            "it, to any word if the server asks for no key, or name another variable in key_variable"
        )
    if not re.fullmatch(r"[!-~]*", read_key(endpoint.key_variable)):
        raise ValueError(f"the key in {endpoint.key_variable} holds a space or another character that no key has")
    connection = Connection(endpoint, secret, local, base_url, service)
    try:
        connection.open()
    except Exception as error:  # a proxy's address without a scheme, a missing file of certificates
        reason = type(error).__name__
    else:
        return connection
    raise ValueError(  # outside the handler: what the client says may hold the password of a proxy
        f"the HTTP client cannot be set up ({reason}): look at HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE"
    )


def send(
    connections: Sequence[Connection],
    shares: Sequence[Mapping[str, dict[str, Any]]],
    folder: Path | None,
    halt: Event,
) -> SimpleQueue[Outcome]:
    """Start sending the named requests, each address its share. The queue receives one outcome for each.

    Once `halt` is set, no further request is sent; those under way still keep their replies.
    """
    outcomes: SimpleQueue[Outcome] = SimpleQueue()
    for connection, requests in zip(connections, shares, strict=True):
        _start_threads(connection, requests, folder, halt, outcomes)
    return outcomes


def _start_threads(
    connection: Connection,
    requests: Mapping[str, dict[str, Any]],
    folder: Path | None,
    halt: Event,
    outcomes: SimpleQueue[Outcome],
) -> None:
    waiting: SimpleQueue[str] = SimpleQueue()
    for name in requests:
        waiting.put(name)

    def work() -> None:
        # An event loop of its own for each thread: only asyncio can end a request whose bytes trickle in for ever.
        try:
            with asyncio.Runner() as runner:
                client = connection.open()
                while (name := _next(waiting)) is not None:
                    outcomes.put(_outcome(runner, client, connection, name, requests[name], folder, halt))
                runner.run(client.aclose())
        except BaseException as crash:  # the caller's thread waits for outcomes, so it must learn of it
            halt.set()
            outcomes.put(Outcome("", crash=crash))

    # Threads also work under Jupyter's running event loop. They are daemons because Python waits at exit for the
    # threads of an executor: a Ctrl-C would have to wait for a slow server.
    for number in range(min(connection.endpoint.concurrency, len(requests))):
        try:
            Thread(target=work, daemon=True).start()
        except RuntimeError:  # the system allows no more threads: those that run will do
            if number == 0:
                raise
            break


def _next(waiting: SimpleQueue[str]) -> str | None:
    try:
        return waiting.get_nowait()
    except Empty:
        return None


def _outcome(
    runner: asyncio.Runner,
    client: Any,
    connection: Connection,
    name: str,
    request: dict[str, Any],
    folder: Path | None,
    halt: Event,
) -> Outcome:
    """Ask for one reply. Set `halt` if all other requests would fail too."""
    if halt.is_set():
        return Outcome(name)
    try:
        return Outcome(name, reply=_ask(runner, client, connection, name, request, folder, halt))
    except Failure as failure:
        secret = connection.secret
        try:
            if failure.refusal is not None:
                body = secret.redact_json(failure.refusal)
                save_reply(folder, name, request, body, refused=True)
                return Outcome(name, reply=clean(connection.service.refused(body), secret))
        except BaseException as crash:
            halt.set()
            return Outcome(name, crash=crash)
        failure.reason = one_line(secret.redact(failure.reason))
        if failure.concerns_all:
            halt.set()
        return Outcome(name, failure=failure)
    except BaseException as crash:
        halt.set()
        return Outcome(name, crash=crash)


def clean(reply: Result, secret: Secret) -> Result:
    """The reply with its problem in one line, and the key redacted."""
    return reply if reply.problem is None else replace(reply, problem=one_line(secret.redact(reply.problem)))


def _ask(
    runner: asyncio.Runner,
    client: Any,
    connection: Connection,
    name: str,
    request: dict[str, Any],
    folder: Path | None,
    halt: Event,
) -> Answer | None:
    """Send one request, with retries. Its reply is on disk before it is returned; None if a halt ends the wait."""
    service = connection.service
    for attempt in count():
        try:
            body = service.keep(runner.run(post(client, connection, request)), request)
            body = _without_key(body, connection)
            reply = clean(service.read(body, request), connection.secret)
        except Failure as failure:
            if not failure.retryable or attempt == connection.endpoint.retries or failure.wait > LONGEST_WAIT:
                raise
            wait = wait_before_retry(failure, attempt)
        else:
            save_reply(folder, name, request, body, indent=service.indent)
            return reply
        if halt.wait(wait):
            return None


def wait_before_retry(failure: Failure, attempt: int) -> float:
    """Seconds to wait: what the server asks for, and a time of our own that grows with the attempts."""
    return failure.wait + min(FIRST_WAIT * 2 ** min(attempt, 30), LONGEST_WAIT) * _jitter.uniform(0.75, 1.25)


def _without_key(body: Any, connection: Connection) -> Any:
    """The server's JSON without the key. Where tokens spell it together, nothing of the reply can be kept."""
    body = connection.secret.redact_json(body)
    if connection.secret.stands_in(connection.service.spelling(body)):
        raise Failure("the tokens of the reply spell the key: it is not kept")
    return body


async def post(client: Any, connection: Connection, request: Mapping[str, Any]) -> Any:
    """The server's JSON. The client's errors know the key, so none of them may leave this function."""
    body = {name: value for name, value in request.items() if name not in NOT_SENT}
    body |= request.get("extra_body", {})
    if "max_tokens" in body:
        body[connection.token_limit] = body.pop("max_tokens")
    status, headers, content = await exchange(client, connection, body)
    if "max_tokens" in body and wants_max_completion_tokens(status, content, request):
        connection.token_limit = "max_completion_tokens"
        body[connection.token_limit] = body.pop("max_tokens")
        status, headers, content = await exchange(client, connection, body)
    if not 200 <= status < 300:
        raise read_error(status, headers, content, request, connection.url)
    return parse_json(content)


async def exchange(client: Any, connection: Connection, body: Mapping[str, Any]) -> tuple[int, Mapping, bytes]:
    """One request and its answer, within the bounds of time and size: status, headers, content."""
    timeout = connection.endpoint.timeout
    try:
        async with asyncio.timeout(DEADLINE * timeout):
            async with client.stream("POST", connection.url, content=json.dumps(body).encode()) as response:
                good = 200 <= response.status_code < 300
                content = await _read(response, LARGEST_BODY if good else LARGEST_ERROR, good)
                return response.status_code, response.headers, content
    except (Failure, MemoryError):
        raise
    except TimeoutError:
        failure = Failure(f"no whole reply within {DEADLINE * timeout:g} s", retryable=True)
    except Exception as error:  # the client's own, of whichever HTTP library, and whatever odd bytes may cause
        kinds = {kind.__name__ for kind in type(error).__mro__}
        reason = f"the connection failed: {_origin(error)}"
        if "TimeoutException" in kinds:
            reason = f"no reply within {timeout:g} s"
        # These concern the server; any other failure may be due to this request.
        unreachable = bool(
            kinds & {"ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol", "InvalidURL"}
        )
        failure = Failure(reason, retryable=True, concerns_all=unreachable)
    raise failure  # outside the handlers, so that the client's error is not its context


def _origin(error: BaseException) -> str:
    """What went wrong in the first place: the libraries wrap "connection refused" several times."""
    for _ in range(20):
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
        if inner is None:
            break
        error = inner
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # "Connection refused", where asyncio says "Connect call failed"
    return str(error) or type(error).__name__


async def _read(response: Any, largest: int, whole: bool) -> bytes:
    """The body, decompressed. If it is larger, that is a failure, unless its beginning will do."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        if not whole:
            return b""
        raise Failure(f"the reply is compressed as {encoding!r}, which was not asked for", retryable=True)
    unpack = zlib.decompressobj(wbits=31) if encoding.endswith("gzip") else None
    content, received = bytearray(), 0
    async for chunk in response.aiter_raw():
        received += len(chunk)  # counted too, for what follows the end of a compressed reply unpacks to nothing
        content += unpack.decompress(chunk, largest + 1 - len(content)) if unpack else chunk
        if max(len(content), received) > largest:
            if whole:
                raise Failure(f"the reply is longer than {largest:,} bytes")
            return bytes(content[:largest])
    if whole and unpack and not unpack.eof:
        raise Failure("the reply is half of a compressed one", retryable=True)
    return bytes(content)
