"""`ask`: the one way to a server. Requests are deduplicated, read from the cache, sent, kept, and failures counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from tqdm import tqdm

from .endpoint import Endpoint
from .reading import Failure
from .redaction import Secret
from .replicas import spread
from .replies import digest, load_reply, open_folder, require_room
from .services import Result, Service
from .transport import Connection, clean, make_connections, send

# So many replies without log-probabilities, and none with, show that the server gives none.
ENOUGH_WITHOUT = 3


class Fatal(NamedTuple):
    """A failure that concerns all requests.

    Attributes
    ----------
    message : str
        What failed, why, and what is kept.
    reason : str
        Why the first one failed.
    unknown : bool
        Whether the server does not know what was asked for at all.
    """

    message: str
    reason: str
    unknown: bool


def ask(
    endpoint: Endpoint,
    secret: Secret,
    service: Service[Result],
    requests: Sequence[dict[str, Any]],
    prefixes: Sequence[Sequence],
    progress: bool = False,
) -> list[Result]:
    """A result for each request, in their order. Equal requests are sent once.

    `prefixes` are what the requests begin with; they decide which replica is asked. Each result is on disk before the
    next request is sent, so after an error or a Ctrl-C the same call continues.

    Raises
    ------
    RuntimeError
        If all requests fail for one reason.
    """
    results, fatal = try_to_ask(endpoint, secret, service, requests, prefixes, progress)
    if fatal is not None:
        raise RuntimeError(fatal.message)
    return results


def try_to_ask(
    endpoint: Endpoint,
    secret: Secret,
    service: Service[Result],
    requests: Sequence[dict[str, Any]],
    prefixes: Sequence[Sequence],
    progress: bool = False,
) -> tuple[list[Result], Fatal | None]:
    """:func:`ask`, which returns the error of all requests, if there is one, and no results then."""
    names = [digest(request) for request in requests]
    distinct = dict(zip(names, requests, strict=True))
    folder = open_folder(endpoint.cache) if distinct else None
    found = {name: load_reply(folder, name, request, service) for name, request in distinct.items()}
    found = {name: clean(reply, secret) for name, reply in found.items() if reply is not None}
    missing = {name: request for name, request in distinct.items() if name not in found}
    if missing:
        prefix_of = dict(zip(names, prefixes, strict=True))
        connections = make_connections(endpoint, secret, service)
        numbers = spread([prefix_of[name] for name in missing], [_size(missing[n]) for n in missing], len(connections))
        waiting = list(missing)
        shares = [{waiting[i]: missing[waiting[i]] for i in share} for share in numbers]
        failures = _ask_for(shares, found, connections, folder, progress)
        if failures:
            first = next(iter(failures.values()))
            unknown = all(failure.status in (404, 405) for failure in failures.values())
            return [], Fatal(_account(endpoint, names, found, failures), first.reason, unknown)
    return [found[name] for name in names], None


def _size(request: Mapping[str, Any]) -> int:
    """What a request weighs, in characters or tokens of what the server reads."""
    if "prompt" in request:
        return len(request["prompt"])
    return sum(len(text) for message in request["messages"] for text in message.values())


def _ask_for(
    shares: Sequence[Mapping[str, dict[str, Any]]],
    found: dict[str, Any],
    connections: Sequence[Connection],
    folder: Path | None,
    progress: bool,
) -> dict[str, Failure]:
    """Send the missing requests and add their replies to `found`. What is returned names failures that concern all."""
    require_room(folder)
    halt, fatal, without = Event(), {}, {}
    total = sum(map(len, shares))
    enough = min(ENOUGH_WITHOUT, total + len(found))
    try:
        outcomes = send(connections, shares, folder, halt)
        for _ in tqdm(range(total), disable=not progress):
            outcome = outcomes.get()
            if outcome.crash is not None:
                raise outcome.crash
            if outcome.reply is not None:
                found[outcome.name] = outcome.reply
            failure: Failure | None = outcome.failure
            if failure is None:
                continue
            if failure.concerns_all:
                fatal[outcome.name] = failure
                continue
            found[outcome.name] = connections[0].service.failed(failure.reason)
            if failure.lacks_logprobs:
                without[outcome.name] = failure
            if len(without) >= enough and not any(reply.tokens for reply in found.values()):
                halt.set()
                fatal |= without
    finally:
        halt.set()  # after a Ctrl-C, send nothing more
    return fatal


def _account(endpoint: Endpoint, names: Sequence[str], found: Mapping[str, Any], fatal: Mapping[str, Failure]) -> str:
    """The message of the one error that a call raises: what failed, why, and what is kept."""
    replied = [name in found and found[name].problem is None for name in names]
    failed = [name in fatal or (name in found and found[name].problem is not None) for name in names]
    first = next(number for number, name in enumerate(names) if name in fatal)
    given_up = len(names) - sum(replied) - sum(failed)
    return (
        f"{sum(failed)} of {len(names)} requests to {' and '.join(endpoint.base_urls)} failed"
        + (f" and {given_up} were given up, because they would fail too" if given_up else "")
        + f"; the first is request {first}: {fatal[names[first]].reason}. The other "
        + f"{sum(replied)} replies {kept(endpoint)}; a rerun continues with what is missing"
    )


def kept(endpoint: Endpoint) -> str:
    """What became of replies that had come before an error."""
    return "are lost, because cache is None" if endpoint.cache is None else f"are kept in {endpoint.cache}"
