"""The key, kept out of all that is shown or kept; and foreign text made fit for one line of a message."""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from functools import cached_property
from typing import Any

LONGEST_LINE = 300  # characters
REDACTED = "[key]"


class Secret:
    """A key that can be sent and recognised. Its repr shows nothing, so it may stand in a traceback's variables.

    It is recognised as it is, escaped for JSON, URLs or HTML, in hexadecimal, and inside base64. Not recognised is what
    a server does to hide it: a key reversed, cut in two or translated.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        # "EMPTY", "none" and "not-needed" stand for no key, and a reply may well use such words.
        self.is_secret = len(key) >= 16 or (len(key) >= 8 and any(c.isdigit() for c in key))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(_forms(self._key), re.IGNORECASE)

    def authorization(self) -> str:
        """The header that carries the key."""
        return f"Bearer {self._key or 'none'}"

    def redact(self, text: str) -> str:
        """A text for a message: the key goes, even if it is a plain word."""
        return self._pattern.sub(REDACTED, text) if len(self._key) >= 4 else text

    def stands_in(self, text: str) -> bool:
        """Whether a text holds the key, unless that is a word that a text may hold by chance."""
        return self.is_secret and len(text) >= len(self._key) and self._pattern.search(text) is not None

    def stands_plainly_in(self, text: str) -> bool:
        """The same for a text of the user's own, who has no reason to disguise the key; much faster."""
        return self.is_secret and self._key in text

    def redact_json(self, value: Any) -> Any:
        """Parsed JSON without the key: in texts, in names of fields, and in lists of bytes."""
        return self._without(value) if self.is_secret else value

    def _without(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._pattern.sub(REDACTED, value) if len(value) >= len(self._key) else value
        if isinstance(value, dict):
            return {self._without(name): self._without(inner) for name, inner in value.items()}
        if isinstance(value, list):
            if all(type(byte) is int and 0 <= byte < 256 for byte in value):
                return [] if self.stands_in(bytes(value).decode("latin-1")) else value
            return [self._without(inner) for inner in value]
        return value


def _forms(key: str) -> str:
    """A regular expression for the key, escaped in whatever way."""
    plain = "".join(map(_escaped_character, key))
    others = [key.encode().hex()]
    for offset in range(3):  # base64 turns three bytes into four characters, so it depends on what stands before
        padded = b"\0" * offset + key.encode()
        first, last = -(-offset * 8 // 6), len(padded) * 8 // 6  # the characters that hold bits of the key alone
        others += [encode(padded).decode()[first:last] for encode in (b64encode, urlsafe_b64encode)]
    others = [re.escape(other).replace("/", r"\\{0,4}/") for other in dict.fromkeys(others) if len(other) >= 8]
    return "|".join([plain, *others])


def _escaped_character(c: str) -> str:
    entity = {"&": "|&amp;", "<": "|&lt;", ">": "|&gt;", '"': "|&quot;", "'": "|&apos;"}.get(c, "")
    slash = r"\\{0,4}" if not c.isalnum() else ""  # what escapes a letter changes its meaning
    code = f"{ord(c):02x}"
    number = rf"&#(?:x0{{0,4}}{code}|0{{0,4}}{ord(c)});"
    return rf"(?:{slash}{re.escape(c)}|\\{{1,4}}(?:u00|x){code}|%(?:25){{0,3}}{code}|{number}{entity})"


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """A foreign text as one line, cut to a readable length, without characters that steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 50 * longest]).split())[:longest]


def beginning(content: bytes, longest: int = 10_000) -> str:
    """Enough of a body for a message. What the cut may have left of a key goes, because nothing would recognise it."""
    text = content[:longest].decode("utf-8", "replace")
    if len(content) <= longest:
        return text
    *words, last = text.rsplit(None, 1) or [""]
    return " ".join([*words, last[: -longest // 2]])
