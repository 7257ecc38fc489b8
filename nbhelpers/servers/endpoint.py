"""Where a model is served, and how to treat the server."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..embedded import cache_folder
from .redaction import Secret


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served, and how to treat the server.

    Attributes
    ----------
    base_url : str or sequence of str
        The address up to, but not including, ``/chat/completions``: ``"http://localhost:8000/v1"``. Several addresses
        are replicas of one model: requests that begin alike go to the same one, so that its prefix cache serves them.
    model : str
        The name by which the server knows the model.
    key_variable : str
        The environment variable that holds the key. The key is read when requests are sent, and never stored. If the
        variable is set, the key goes to the server, whichever that is. A server on this machine may need none.
    concurrency : int
        Maximum number of requests under way at once, 1 or more; at each address, if there are several.
    timeout : float
        A request fails if the server stays silent for this many seconds, or takes ten times as long as a whole.
    retries : int
        How often to retry after a failure that may pass, waiting longer each time.
    cache : str, path or None
        The folder that keeps the reply to each request. It knows the model by the (first) `base_url` and `model` alone:
        use another folder if another model takes over the same names, or to ask the same again. The default is
        ``replies`` in `nbhelpers.embedded.cache_folder()`. With None nothing is kept.
    top_logprobs_limit : int
        How many alternatives to a token the server gives at most: 20 at OpenAI and vLLM, 5 at some others.
    start_token : str, optional
        The token that :func:`nbhelpers.score_answers` and :func:`nbhelpers.perplexity` put before a text where nothing
        else would precede its first token, as written: ``"<|endoftext|>"`` for GPT-2 and Qwen. A server that begins
        every text with BOS by itself needs none.

    Raises
    ------
    TypeError, ValueError
        If a value has the wrong type or is out of range, if `base_url` contains a user name, a password or a query, or
        if the key stands where it does not belong. Such a message does not repeat the value.

    Notes
    -----
    Files in `cache` can be read by their owner alone (mode 600). The folder, too, is closed to others (mode 700) if it
    is new, or if it is yours and holds nothing but replies. One that holds anything else, or that is shared with a
    group by its setgid bit, keeps its mode. What a killed process left unfinished is removed from it after an hour.

    The key never gets into the cache, a message or a reply: where a server repeats it, ``[key]`` stands in its place.
    It is recognised as it is, and escaped for JSON, URLs or HTML, in hexadecimal and in base64; not if a server takes
    it apart or translates it. A short word, such as "EMPTY" or "none", is taken for a placeholder, and replies may
    contain it: under 8 characters, or under 16 without a digit.
    """

    base_url: str | Sequence[str]
    model: str
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 4
    timeout: float = 60.0
    retries: int = 4
    cache: str | Path | None = field(default_factory=lambda: cache_folder() / "replies")
    top_logprobs_limit: int = 20
    start_token: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.base_url, list | tuple):
            if not self.base_url:
                raise ValueError("base_url is an empty list: give one address or more")
            object.__setattr__(self, "base_url", tuple(self.base_url))
        for url in self.base_url if isinstance(self.base_url, tuple) else (self.base_url,):
            _check_text("base_url", url)
            _check_address(url)
        if len({url.rstrip("/") for url in self.base_urls}) < len(self.base_urls):
            raise ValueError("base_url names one address twice: name each replica once")
        for name in ("model", "key_variable"):
            _check_text(name, getattr(self, name))
        if self.start_token is not None:
            _check_text("start_token", self.start_token)
            if not self.start_token:
                raise ValueError("start_token is empty: give a token such as '<|endoftext|>', or None")
        if not self.model.strip():
            raise ValueError("model is empty: give the name by which the server knows the model")
        if not re.fullmatch(r"[A-Za-z_]\w*", self.key_variable, re.ASCII) or _looks_like_a_key(self.key_variable):
            raise ValueError(
                "key_variable (not repeated here) is no name of an environment variable, or looks like a key: give the "
                "name of the variable that holds the key, such as 'OPENAI_API_KEY', and not the key"
            )
        if not isinstance(self.concurrency, int) or self.concurrency < 1:
            raise ValueError(f"concurrency={self.concurrency!r}: give the number of requests at once, 1 or more")
        if not isinstance(self.timeout, int | float) or not 0 < self.timeout < math.inf:
            raise ValueError(f"timeout={self.timeout!r}: give a number of seconds above 0")
        if not isinstance(self.retries, int) or self.retries < 0:
            raise ValueError(f"retries={self.retries!r}: give the number of further tries, 0 or more")
        if not isinstance(self.top_logprobs_limit, int) or self.top_logprobs_limit < 1:
            raise ValueError(
                f"top_logprobs_limit={self.top_logprobs_limit!r}: give a number of alternatives, 1 or more"
            )
        if self.cache is not None and not isinstance(self.cache, str | os.PathLike):
            raise TypeError(f"cache={self.cache!r}: give the path of a folder, or None to keep no replies")
        secret = Secret(read_key(self.key_variable))
        for name in ("base_url", "model", "cache", "start_token"):
            if secret.stands_plainly_in(str(getattr(self, name))):
                raise ValueError(
                    f"{name} (not repeated here) holds the key: leave it out. The variable {self.key_variable} is all "
                    "that the endpoint needs"
                )

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The addresses, without a slash at their ends; one as a rule."""
        urls = self.base_url if isinstance(self.base_url, tuple) else (self.base_url,)
        return tuple(url.rstrip("/") for url in urls)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {type(value).__name__}")
    if not value.isprintable():
        raise ValueError(f"{name} holds half a character, or one that cannot be seen: write it anew")


def read_key(key_variable: str) -> str:
    """The key, without the end of line that it may have from a file; empty if there is none."""
    return os.environ.get(key_variable, "").strip()


def _check_address(base_url: str) -> None:
    if re.search("[@?#]|%(25)*(40|3f|23)", base_url, re.IGNORECASE):
        raise ValueError(
            "base_url (not repeated here) carries a user name, a password or a query: leave them out, and put "
            "the key into an environment variable that key_variable names"
        )
    match = re.fullmatch(r"https?://(\[[\da-f:.]+\]|[\w.-]+)(:\d{1,5})?(/[^\s\\]*)?", base_url, re.IGNORECASE)
    try:
        if match and urlsplit(base_url).port != 0:
            return
    except ValueError:  # a port above 65535, or brackets around no address
        pass
    # Repeat it only if it looks like an address: it may be a key, or hold a password.
    harmless = re.fullmatch(r"([a-z]{1,8}://)?[a-z][a-z\d. -]*(:\d{1,6})?/[\w./-]{0,40}", base_url)
    shown = f"base_url={base_url!r}" if harmless else "base_url (not repeated here) is no address"
    raise ValueError(f"{shown}: give the whole address, such as 'http://localhost:8000/v1'")


def _looks_like_a_key(name: str) -> bool:
    """Whether what may name a variable is rather a key: long, mixed, and no variable that is set."""
    lower, upper, digit = (any(map(is_such, name)) for is_such in (str.islower, str.isupper, str.isdigit))
    mixed = (lower and digit) or (lower and upper and "_" not in name)
    return len(name) >= 16 and mixed and name not in os.environ
