"""What an HTTP status other than success says: whose fault it is, whether it passes, and how to mend it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import urljoin, urlsplit

from .reading import Failure, error_message, parse_json
from .redaction import beginning

RETRYABLE = (408, 409, 429)  # and everything from 500 up
# Every other request would get the same answer: the key, the bill, the address, the name of the model, or the load.
SERVER_WIDE = (401, 402, 403, 404, 405, 407, 410, 429, 503)
ABOUT_ITEM = (400, 403, 413, 422)  # these may be about what one request holds

FEWER_ALTERNATIVES = "lower top_logprobs to what the server allows; for a judge, set top_logprobs_limit of its Endpoint"

_FILTERED = re.compile(r"content.?filter|content.?policy|responsible.?ai|moderation|flagged|data.?inspection", re.I)
_TOO_LONG = re.compile(r"context|too long|too large|too many|length|input tokens|maximum", re.I)
_UNSUPPORTED = re.compile(
    r"\b(not|un)[ _-]?(supported|allowed|permitted|recogni[sz]ed|known)|\binstead\b|extra inputs", re.I
)
_NO_MODEL = re.compile(r"not (been )?(found|exist|available|served|loaded)|unknown model|no such model|pinned", re.I)


def read_error(
    status: int, headers: Mapping[str, str], content: bytes, request: Mapping[str, Any], url: str
) -> Failure:
    """The failure that a status and its body stand for."""
    if 300 <= status < 400:
        return Failure(
            f"the server answered {status}, a redirect to {_host(url, headers.get('location'))}, which is not followed "
            "because it would take the conversation there: give the right address as base_url",
            concerns_all=True,
        )
    error = _Error(content, request)
    if status in ABOUT_ITEM and _FILTERED.search(error.codes if status != 403 else f"{error.codes} {error.message}"):
        return Failure(f"a content filter refused the request: {error.message}", refusal=error.body)
    hint, concerns_all = "", status in SERVER_WIDE
    if status == 404:
        hint = " (should base_url end in /v1, and is the model's name right?)"
    elif status in (400, 422):
        hint, concerns_all = error.shared_fault()
    return Failure(
        f"the server answered {status}{hint}: {error.message}",
        retryable=status in RETRYABLE or status >= 500,
        concerns_all=concerns_all,
        wait=_retry_after(headers.get("retry-after")),
        status=status,
    )


def wants_max_completion_tokens(status: int, content: bytes, request: Mapping[str, Any]) -> bool:
    """Whether the server refuses ``max_tokens`` because it calls that ``max_completion_tokens``."""
    error = _Error(content, request)
    return status in (400, 422) and error.names("max_completion_tokens") and bool(_UNSUPPORTED.search(error.everything))


class _Error:
    """The error in a body: OpenAI's ``{"error": {"message", "type", "param", "code"}}``, or whatever came."""

    def __init__(self, content: bytes, request: Mapping[str, Any]) -> None:
        self.request = request
        try:
            self.body = parse_json(content)
            self.message = error_message(self.body)
        except MemoryError:
            raise
        except Exception:  # no JSON, or JSON that nothing can read
            self.body = self.message = beginning(content)
        error = self.body.get("error", self.body) if isinstance(self.body, dict) else {}
        error = error if isinstance(error, dict) else {}
        inner = error.get("innererror")
        codes = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
        self.codes = " ".join(code for code in codes if isinstance(code, str))
        self.param = error.get("param")
        self.everything = f"{self.codes} {self.message}"

    def names(self, field: str) -> bool:
        """Whether the error is about a field. A chat that holds the same word may only be quoted."""
        return self.param == field or (
            not self._in_chat(field) and re.search(rf"\b{re.escape(field)}\b", self.message) is not None
        )

    def _in_chat(self, word: str) -> bool:
        texts = [text for message in self.request.get("messages", ()) for text in message.values()]
        prompt = self.request.get("prompt", ())
        texts += [prompt] if isinstance(prompt, str) else [text for text in prompt if isinstance(text, str)]
        return any(word in text for text in texts)

    def shared_fault(self) -> tuple[str, bool]:
        """For a refused request: a hint, and whether it is about what all requests share, not about this chat."""
        if "top_logprobs" in self.request and (self.names("top_logprobs") or self.names("logprobs")):
            return f" ({FEWER_ALTERNATIVES})", True
        model = self.request["model"]
        quoted = re.search(rf"['\"`]{re.escape(model)}['\"`]", self.message) and not self._in_chat(model)
        if self.param == "model" or "model_not_found" in self.codes or (quoted and _NO_MODEL.search(self.message)):
            return "", True
        if _TOO_LONG.search(self.everything):  # some servers call a long prompt a fault of max_tokens
            return "", False
        shared = {*self.request, *self.request.get("extra_body", ()), "max_completion_tokens"} - {"messages", "prompt"}
        return "", isinstance(self.param, str) and self.param.split(".")[0].split("[")[0] in shared


def _host(url: str, location: str | None) -> str:
    """Where a redirect leads: the host alone, because the rest may hold what nobody should read."""
    try:
        parts = urlsplit(urljoin(url, location or ""))
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if location else "nowhere"
    except ValueError:
        return "an address that makes no sense"


def _retry_after(header: str | None) -> float:
    """Seconds to wait, from a number or a date; 0 if the server does not say, or says what makes no sense."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except Exception:  # a date of year 0, an offset of a thousand hours: foreign data
        return 0.0
