"""Where a model is served, and how to treat the server."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..embedded import cache_folder


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served, and how to treat the server.

    Attributes
    ----------
    base_url : str
        The address up to, but not including, ``/chat/completions``: ``"http://localhost:8000/v1"``.
    model : str
        The name by which the server knows the model.
    key_variable : str
        The environment variable that holds the key. The key is read when requests are sent, and never stored. If the
        variable is set, the key goes to the server, whichever that is. A server on this machine may need none.
    concurrency : int
        Maximum number of requests under way at once, 1 or more.
    timeout : float
        A request fails if the server stays silent for this many seconds.
    retries : int
        How often to retry after a failure that may pass, waiting longer each time.
    cache : str, path or None
        The folder that keeps the reply to each request. It knows the model by `base_url` and `model` alone: use another
        folder if another model takes over the same names, or to ask the same again. The default is ``replies`` in
        `nbhelpers.embedded.cache_folder()`. With None nothing is kept.

    Raises
    ------
    TypeError, ValueError
        If a value has the wrong type or is out of range, or `base_url` contains a user name, a password or a query.
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
