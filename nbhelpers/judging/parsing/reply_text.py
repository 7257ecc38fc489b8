"""A reply as sentences of tokens, without markup: what the search for a verdict reads.

Every pattern here takes time in proportion to the text: repetitions are bounded or possessive.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from .verdict_words import LEAD, MODIFIERS, NOUNS, REPORTS, WEAK

OVERRIDES = re.compile("[\u202d\u202e]")  # what is shown is not what is written
LETTERS = str.maketrans(
    {
        **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full width
        **{code: unicodedata.normalize("NFKC", chr(code)) for code in range(0x1D400, 0x1D800)},  # mathematical
        **dict.fromkeys("“”„‟«»″「」『』", '"'),
        **dict.fromkeys("‘’‚‛‹›´", "'"),
        **dict.fromkeys("–—―‒", "–"),
        **dict.fromkeys("‐‑", "-"),
        **dict.fromkeys("【〔［", "["),
        **dict.fromkeys("】〕］", "]"),
        **dict.fromkeys("\r\x0b\x0c\x85\u2028\u2029", "\n"),
        "−": "-",
        "。": ". ",
        "，": ", ",
        "、": ", ",
        "،": ", ",
        "؟": "?",
        "：": ": ",
        "…": "...",
        **dict.fromkeys("⭐★☆✅✔☑\ufe0f", ""),
        "\u20e3": "",
    }
)
INNER = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathbb|mathsf|texttt)\s?\{([^{}]{0,200})\}")
BOXED = re.compile(r"\\f?box(?:ed)?\s?\{([^{}]{0,200})\}")
DOLLARS = re.compile(r"\$\s?(\[\[[^\[\]$]{0,200}\]\]|[A-Za-z]{1,12})\s?\$")
TAG = re.compile(r"<(/?)([A-Za-z][\w:.-]{0,40})(?:\s[^<>]{0,100})?/?>")
STRUCK = re.compile(r"~~|<(?:s|del|strike)>", re.IGNORECASE)
FORMATTING = frozenset(["b", "i", "u", "em", "strong", "code", "span", "br", "p", "font", "mark", "center"])
BULLET = re.compile(r"[ \t]*(?:[-*•+–·▪]|#{1,6}|\d{1,3}[.)])[ \t]++(?=\S)")
FENCE = re.compile(r"^[ \t]{0,8}(?:```|~~~)[^\n`]{0,40}$", re.MULTILINE)
STARS = re.compile(r"\*++")
UNDERSCORES = re.compile(r"(?<![^\W_])_{1,3}(?=[^\W_])|(?<=[^\W_])_{1,3}(?![^\W_])")
TOKEN = re.compile(
    r"[+-]?\d++(?:[.,]\d++)*+\w*+(?:[-']\w++)*+"  # a number, and what hangs on it: 4, 4.5, -1, 4th, 4-star
    r"|\w++(?:[-'./&]\w++)*+"  # a word: isn't, B-tree, e.g, and/or
    r"|\n|[^\S\n]++|\[\[|\]\]|."
)
ABBREVIATIONS = frozenset(
    {"vs", "e.g", "i.e", "etc", "approx", "resp", "fig", "eq", "cf", "dr", "mr", "mrs", "ms", "st"}
)
ENDS = frozenset(".!?")


@dataclass(frozen=True)
class Token:
    """A word, a number or a sign."""

    text: str
    low: str
    tight: bool  # no space stands before it
    line: int
    quoted: bool  # stands inside quotation marks

    @property
    def is_word(self) -> bool:
        return self.text[0].isalnum() or (len(self.text) > 1 and self.text[-1].isalnum())


@dataclass(frozen=True)
class Sentence:
    """The tokens of a sentence, without its end, and where it stands."""

    tokens: tuple[Token, ...]
    end: str  # ".", "!", "?", a newline, or nothing at the end of the reply
    begins_line: bool
    ends_line: bool
    quoted: bool  # begins inside quotation marks, or is what "the answer says:"


def visible(text: str) -> str | None:
    """The text without characters that do not show, or None if its direction is overridden: it shows as another."""
    if OVERRIDES.search(text):
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in text if c in "\n\t\x0b\x0c\x85" or unicodedata.category(c) not in ("Cc", "Cf"))


def plain_text(text: str) -> str | None:
    """A visible text in one alphabet of signs and without markup, or None if a passage is struck out."""
    if STRUCK.search(text):
        return None
    text = unicodedata.normalize("NFC", text).translate(LETTERS).replace("->", "→").replace("=>", "→")
    text = re.sub(r"\\[()\[\]]", " ", INNER.sub(r"\1", text))
    text = DOLLARS.sub(r"\1", BOXED.sub(r"[[\1]]", text))
    text = TAG.sub(_tag, _own_fences(text))
    return "\n".join(map(_without_markup, text.split("\n")))


def _tag(found: re.Match[str]) -> str:
    closes, name = found[1], found[2].lower()
    if name in FORMATTING:
        return ""
    words = re.split(r"[_:.-]", name)
    if not closes and all(word in NOUNS or word in WEAK or word in MODIFIERS for word in words):
        return f"\n{' '.join(words)}: "
    return "\n"


def _own_fences(text: str) -> str:
    """Without the fences that begin or end the reply; what a fence in its midst holds is quoted, and left out."""
    parts = FENCE.split(text)
    filled = [number for number, part in enumerate(parts) if part.strip()]
    own = {filled[0], filled[-1]} if filled else set()
    return "\n".join(part if number % 2 == 0 or number in own else "\n\n" for number, part in enumerate(parts))


def _without_markup(line: str) -> str:
    if line.lstrip().startswith(">"):
        return ""  # a quotation
    bullet = BULLET.match(line)
    if bullet:
        line = line[bullet.end() :]
    if len(STARS.findall(line)) % 2 == 0:
        line = re.sub(r"(?<!\w)\*++|\*++(?!\w)", "", line)
    return UNDERSCORES.sub("", line)


def tokens_of(text: str) -> tuple[Token, ...]:
    found: list[Token] = []
    tight, line, double, single = False, 0, False, False
    for match in TOKEN.finditer(text):
        sign = match[0]
        if sign == "\n":
            line += 1
            tight, single = False, False
        elif sign.isspace():
            tight = False
        else:
            found.append(Token(sign, sign.casefold(), tight, line, double or single))
            if sign in {'"', "`"}:
                double = not double
            elif sign == "'":
                after = text[match.end() : match.end() + 1]
                single = (not tight and after.isalnum()) or (single and not tight)
            tight = True
    return tuple(found)


def sentences_of(text: str) -> list[Sentence]:
    """The sentences of a plain text. A line that is only a label ("Verdict:") goes with the line below it."""
    tokens = tokens_of(_joined_labels(text))
    sentences: list[Sentence] = []
    start, told_line, told_on = 0, -1, False
    for place, token in enumerate(tokens):
        following = tokens[place + 1] if place + 1 < len(tokens) else None
        ends_line = following is None or following.line > token.line
        ends = token.low in ENDS and not _is_inner_point(tokens, start, place)
        if not ends and not ends_line:
            continue
        inside = tokens[start : place if ends else place + 1]
        start = place + 1
        if not inside:
            continue
        begins_line = not sentences or sentences[-1].tokens[-1].line < inside[0].line
        told = inside[0].line == told_line
        end = token.low if ends else ("" if following is None else "\n")
        sentences.append(Sentence(inside, end, begins_line, ends_line, inside[0].quoted or told))
        if ends_line and following is not None:
            if inside[-1].low == ":" and not ends and _introduces_foreign_text(inside):
                told_line, told_on = following.line, any(token.low in REPORTS for token in inside)
            elif told and told_on and following.line == token.line + 1:
                told_line = following.line
    return sentences


def _is_inner_point(tokens: tuple[Token, ...], start: int, place: int) -> bool:
    """Whether a point or mark ends no sentence: "vs.", "No. 1", the first points of "...", the point before a quote."""
    if place + 1 == len(tokens):
        return False
    following = tokens[place + 1]
    if following.tight and following.low in ".!?'\")]":
        return True
    before = tokens[place - 1].low if place > start else ""
    return tokens[place].low == "." and (before in ABBREVIATIONS or (before == "no" and following.low.isdigit()))


def _introduces_foreign_text(tokens: tuple[Token, ...]) -> bool:
    words = [token.low for token in tokens if token.is_word]
    return not all(word in LEAD or word in NOUNS or word in WEAK or word in MODIFIERS for word in words)


def _joined_labels(text: str) -> str:
    joined: list[str] = []
    label = ""
    for line in text.split("\n"):
        if label and line.strip():
            joined.append(f"{label}: {line.strip()}")
            label = ""
        elif not label and _is_label(line):
            label = line.strip().rstrip(":-– ")
        elif not label:
            joined.append(line)
    return "\n".join([*joined, label])


def _is_label(line: str) -> bool:
    bare = line.strip().rstrip(":-– ")
    words = re.findall(r"[^\W_]+", bare.casefold()) if len(bare) < 60 and ":" not in bare else []
    nouns = [word in NOUNS or word in WEAK for word in words]
    known = all(noun or word in MODIFIERS - {"a", "an", "i"} for noun, word in zip(nouns, words, strict=True))
    return known and any(nouns) and bare[-1] not in ".!?"
