"""The numbers in a plain text: where each stands, what it is worth, and whether it can be read in one way only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MOST_DIGITS = 100  # a longer number is not read

RUN = re.compile(r"(?:(?<![\w.,)])\.)?(?<!\d)\d[\d.,\u00a0]*+")  # digits, and what may stand between them
ENGLISH = re.compile(r"\d*(?:\.\d+)?|[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|[1-9]\d{0,2}(?:\u00a0\d{3})+(?:\.\d+)?")
BELOW = re.compile(r"\s?/\s?(\d{1,15})(?![\d,]|\.\d)")
MIXED = re.compile(r"[ \u00a0](\d{1,4})/(\d{1,4})(?![\d/])")
POWER_OF_TEN = re.compile(r"[eE]([+-]?\d{1,3})(?!\w)|\s?[*x]\s?10\s?\^\s?(?:\{([+-]?\d{1,3})\}|([+-]?\d{1,3}))(?!\d)")
MULTIPLES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
MULTIPLE = re.compile(rf"[ \u00a0-]({'|'.join(MULTIPLES)})\b", re.IGNORECASE)
UNIT = re.compile(r"[ \u00a0]{0,2}(%|°[CF]?|[^\W\d_]{1,20})")
REST = re.compile(r"(?:[.,:/'^]?\d)*+")  # of what cannot be read
GLUED = re.compile(r"[^\W\d_]++")
FORMULA = re.compile(r"(?:\\(?!f?box|text)[A-Za-z]+\s?[{\[(]|\}\s?\{|√|sqrt\()\s?-?$")
SIGN = re.compile(r"([-+])?([$€£¥₹][ \u00a0]?)?([-+])?$")
WORD_SIGN = re.compile(r"(\S?)\s?\b(?:minus|negative) ?[$€£¥₹]?$", re.IGNORECASE)
LABEL = re.compile(
    r"\b(?:step|problem|question|part|example|case|equation|figure|chapter|no\.) ?$|(?<!#)#$", re.IGNORECASE
)
MARKER = re.compile(r"^[ \t]{0,8}(\d{1,2})[.)][ \t]++(?=\S)", re.MULTILINE)
NEITHER_UNIT_NOR_WORD = frozenset(["k", "K", "M", "B", "m²", "x", "y", "z", "n", "a", "b", "e", "i", "X", "bn", "mn"])


@dataclass(frozen=True)
class Numeral:
    """A number in a text. `value` is None where it can be read in more than one way, and `doubt` says which."""

    start: int
    end: int
    text: str
    value: Fraction | None
    unit: str
    doubt: str = ""


def numerals_in(text: str) -> list[Numeral]:
    """The numbers of a plain text, in order. Left out are parts of names ("x2", "H2O"), ordinals ("2nd"), the labels of
    steps ("Step 2") and the markers of a numbered list."""
    markers = _list_markers(text)
    found: list[Numeral] = []
    end = 0
    for run in RUN.finditer(text):
        if run.start() < end or run.start() in markers:
            continue
        numeral = _numeral(text, run.start(), run[0])
        if numeral is not None:
            found.append(numeral)
            end = numeral.end
    return found


def _list_markers(text: str) -> frozenset[int]:
    """Where the numbers of "1. ... 2. ..." stand, if they begin with 1 and go up by one."""
    found = list(MARKER.finditer(text))
    if [int(marker[1]) for marker in found] != list(range(1, len(found) + 1)):
        return frozenset()
    return frozenset(marker.start(1) for marker in found)


def _numeral(text: str, start: int, run: str) -> Numeral | None:
    digits = run.rstrip(".,\u00a0")
    end = start + len(digits)
    before, after = text[max(0, start - 40) : start], text[end : end + 40]
    if re.search(r"[\w^]$|[\^_]\{$", before) or LABEL.search(before):
        return None
    glued = GLUED.match(after)
    if glued and glued[0].lower() in ("st", "nd", "rd", "th"):
        return None
    negative, begin, currency = _sign(before, start)
    value, doubt = (None, "part of a formula") if FORMULA.search(before) else _value(digits)
    if value is not None:
        value, end, doubt = _continued(text, end, value, digits)
    unit, doubt = _unit(text, end, currency, doubt)
    if doubt:
        value, end = None, REST.match(text, end).end()
    elif value is not None and negative:
        value = -value
    shown = text[begin:end] if unit or not currency else text[begin:end].replace(currency, "")  # LaTeX's dollar
    return Numeral(begin, end, shown, value, unit, doubt)


def _value(digits: str) -> tuple[Fraction | None, str]:
    if len(digits) > MOST_DIGITS:
        return None, f"a number of {len(digits)} characters is not read"
    if not ENGLISH.fullmatch(digits):
        return None, f"{digits!r} can be read in more than one way"
    return Fraction(digits.replace(",", "").replace("\u00a0", "")), ""


def _sign(before: str, start: int) -> tuple[bool, int, str]:
    """Whether a number is negative, where it begins with its sign and currency, and the currency."""
    worded = WORD_SIGN.search(before)
    if worded:
        return not worded[1].isalnum(), start, ""
    outer, currency, inner = SIGN.search(before).groups()
    if not (outer or inner):
        return False, start - len(currency or ""), (currency or "").strip()
    left = before[: len(before) - len((outer or "") + (currency or "") + (inner or ""))]
    neighbour = left.rstrip()[-1:]
    if neighbour.isdigit() or neighbour in (")", "%") or (left == left.rstrip() and neighbour.isalnum()):
        return False, start, (currency or "").strip()  # "10-20", "10 -3", "x-3": no sign of this number
    return "-" in (outer, inner), start - (len(before) - len(left)), (currency or "").strip()


def _continued(text: str, end: int, value: Fraction, digits: str) -> tuple[Fraction | None, int, str]:
    """A fraction, a mixed number, a power of ten, or a word such as "million" after the digits."""
    whole = digits.isdigit()
    mixed = MIXED.match(text, end) if whole else None
    if mixed and 0 < int(mixed[1]) < int(mixed[2]):
        return value + Fraction(int(mixed[1]), int(mixed[2])), mixed.end(), ""
    below = BELOW.match(text, end)
    if below:
        if int(below[1]) == 0:
            return None, below.end(), "a division by zero"
        if text[below.end() : below.end() + 1] == "/":
            return None, below.end(), "several slashes, as in a date"
        return value / int(below[1]), below.end(), ""
    power = POWER_OF_TEN.match(text, end)
    if power:
        return value * Fraction(10) ** int(power[1] or power[2] or power[3]), power.end(), ""
    multiple = MULTIPLE.match(text, end)
    if multiple:
        return value * MULTIPLES[multiple[1].lower()], multiple.end(), ""
    return value, end, ""


def _unit(text: str, end: int, currency: str, doubt: str) -> tuple[str, str]:
    after = text[end : end + 40]
    if doubt:
        return "", doubt
    if re.match(r"\s?(?:\^|\*\*)|[²³⁰-⁹]", after):
        return "", "a power follows"
    if re.match(r"[:']\d", after):
        return "", "a time or a ratio"
    if after[:1] == "±" or after[:2] == " ±":
        return "", "a margin follows"
    glued = GLUED.match(after)
    if glued and (glued[0] in NEITHER_UNIT_NOR_WORD or after[glued.end() : glued.end() + 1].isdigit()):
        return "", f"{glued[0]!r} follows: a unit, a factor or a name"
    if currency:
        return ("", "") if currency == "$" and re.match(r"[^\s\d]{0,3}\$", after) else (currency, "")
    unit = UNIT.match(after)
    return (unit[1] if unit else ""), ""
