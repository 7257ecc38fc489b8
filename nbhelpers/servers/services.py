"""What is asked of a server: an address below `base_url`, and how the JSON that comes back is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from .reading import Reply, error_message, failed_reply, read_reply


class Answer(Protocol):
    """What becomes of a request: `problem` says in one line why there is nothing usable, and is None if there is."""

    tokens: tuple[str, ...]
    problem: str | None
    cached: bool


Result = TypeVar("Result", bound=Answer)


@dataclass(frozen=True)
class Service(Generic[Result]):
    """One thing that servers offer. Its results are frozen dataclasses with the fields of `Answer`.

    Attributes
    ----------
    path : str
        Below the base URL. One that begins with "/" is below the server's root, without the base URL's ``/v1``.
    read : callable
        What the kept JSON says in reply to a request. A `Failure` if it makes no sense.
    failed : callable
        The result that stands for a failure, from its reason.
    spelling : callable
        What the tokens of the kept JSON spell together. Where that holds the key, nothing is kept.
    keep : callable
        The part of the server's JSON that is worth keeping, from it and the request.
    indent : int or None
        How the cache writes it.
    """

    path: str
    read: Callable[[Any, Mapping[str, Any]], Result]
    failed: Callable[[str], Result]
    spelling: Callable[[Any], str]
    keep: Callable[[Any, Mapping[str, Any]], Any] = lambda body, request: body
    indent: int | None = 1

    def refused(self, body: Any) -> Result:
        """The result for a request that the server refuses for what it holds, from the JSON of its error."""
        return self.failed(f"a content filter refused the request: {error_message(body)}")


def _spelling_of_chat(body: Any) -> str:
    try:
        return "".join(str(entry["token"]) for entry in body["choices"][0]["logprobs"]["content"])
    except Exception:  # no tokens, or none that make sense: `read_reply` says so
        return ""


CHAT: Service[Reply] = Service("chat/completions", read_reply, failed_reply, _spelling_of_chat)
