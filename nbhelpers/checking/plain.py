"""A reply as plain text of bounded length: one alphabet of digits and signs, without marks of Markdown and LaTeX.

Every pattern here takes time in proportion to the text: repetitions are bounded or possessive.
"""

from __future__ import annotations

import re
import unicodedata

from ..judging.parsing import without_reasoning

LONGEST = 10_000  # characters of a reply that are looked at

OVERRIDES = re.compile("[\u202a-\u202e\u2066-\u2069]")  # what is shown is not what is written
SIGNS = str.maketrans(
    {
        **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full width
        **dict.fromkeys("−‐‑‒–—―﹣➖", "-"),
        **dict.fromkeys("\u2009\u202f\u2007", "\u00a0"),  # narrow spaces group digits
        **dict.fromkeys("\r\x0b\x0c\x85\u2028\u2029", "\n"),
        "⁄": "/",
        "∕": "/",
        "٫": ".",
        "٬": ",",
        "×": "*",
        "·": "*",
        "÷": "/",
        "’": "'",
        "‘": "'",
    }
)
LATEX = (
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<=\d)\\[,!; ](?=\d{3})"), "\u00a0"),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s?\{([^{}]{0,200})\}"), r" \1"),
    (re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])"), "*"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\(?:left|right|displaystyle|quad|qquad)(?![A-Za-z])"), " "),
    (re.compile(r"\^\s?\{?\\circ\}?"), "°"),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"\\[()\[\],!;: ]"), " "),
)
FRACTION = re.compile(r"(\d?)\\[dt]?frac\s?(?:\{\s?(-?\d{1,15})\s?\}\s?\{\s?(\d{1,15})\s?\}|(\d)(\d))")
STARS = re.compile(r"(?<![\d\s])\*++|\*++(?![\d\s*])|(?<!\S)\*++(?=\S)|(?<=\S)\*++(?!\S)")
UNDERSCORES = re.compile(r"(?<![^\W_])_++(?=\S)|(?<=\S)_++(?![^\W_])")


class Unreadable(ValueError):
    """A reply in which nothing is looked for; its text says why."""


def require_text(name: str, text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"the {name} must be a string, not {type(text).__name__}: give the text itself")
    return text


def said(reply: str) -> str:
    """The reply without the reasoning between tags, at full length."""
    kept = without_reasoning(require_text("reply", reply))
    if kept is None:
        raise Unreadable("the reply was cut off inside its reasoning")
    if not kept.strip():
        raise Unreadable("the reply is empty")
    if OVERRIDES.search(kept):
        raise Unreadable("the reply holds characters that change the order in which it is shown")
    return kept


def plain(text: str) -> str:
    """One alphabet of digits and signs, no marks. Lines stay lines. Give it at most `LONGEST` characters."""
    text = "".join(map(_plain_character, text.translate(SIGNS)))
    for pattern, replacement in LATEX:
        text = pattern.sub(replacement, text)
    text = FRACTION.sub(_fraction, text)
    return UNDERSCORES.sub("", STARS.sub("", text.replace("`", "")))


def _plain_character(character: str) -> str:
    """ASCII digits for all others, "½" as " 1/2", nothing for what is invisible."""
    if character.isascii():
        return character if character >= " " or character in "\n\t" else ""
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if unicodedata.category(character) == "No" and "FRACTION" in unicodedata.name(character, ""):
        return " " + unicodedata.normalize("NFKC", character).replace("⁄", "/")  # 1½ is 1 1/2
    return "" if unicodedata.category(character) in ("Cf", "Cc") else character


def _fraction(found: re.Match[str]) -> str:
    whole, above, below, digit, other = found.groups()
    return f"{whole}{' ' if whole else ''}{above or digit}/{below or other}"
