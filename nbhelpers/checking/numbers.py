"""Which number a reply gives as its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from .numerals import Numeral, numerals_in
from .plain import LONGEST, Unreadable, plain, said

Rule = Literal["careful", "boxed", "marked", "only", "last", "first"]
RULES = ("careful", "boxed", "marked", "only", "last", "first")

BOX = re.compile(r"\\f?box(?:ed)?\s?\{")
MARK = re.compile(r"\banswer\b(?:[^\n.:;=?!]{0,60}?\bis\b|[ \t]{0,3}[:=])|#{4}", re.IGNORECASE)
LEAD = re.compile(
    r"a|all|altogether|are|boxed|can|equal|exactly|gets?|has|have|he|is|it|just|left|mathbf|now|of|number|she|simply|so|"
    r"that|the|there|therefore|they|thus|to|total|we|will|x|you",
    re.IGNORECASE,
)
BETWEEN = 60  # characters between a mark and its number
SECOND = re.compile(r"[^\n.;,]{0,30}?(?:\bor\b|\bto\b|\band\b|/|[,;]|-)\s?[-$€£]?\d")
HALF = re.compile(r"(?<![\d.,])[\d.,]++\s*+$")  # a number that ends the text
OPERATOR = re.compile(r"\s?(?:[+*/^]|-\s?[\d(]|\\[a-z]+\s?\d)")
CALCULATED = re.compile(r"(?:[+*/^]|[^\W_]\s?-)\s?$")
DOUBTFUL = re.compile(
    r"\?|n't\b|\b(?:not|cannot|about|approximately|around|roughly|nearly|almost|between|more|less|fewer|least|most|over|"
    r"under|above|below|if|maybe|perhaps|either|or|unknown|unsure|wait|wrong)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class NumberRead:
    """The number that was read in a reply, and why.

    Attributes
    ----------
    value : fractions.Fraction or None
        Exact; None if no number was read. "50%" is 50, with the unit "%".
    text : str
        What was read, as it stands in the reply once signs and marks are made plain.
    unit : str
        The currency before the number, or the sign or word after it, whatever it means.
    rule : str or None
        The rule that found it.
    why : str
        One sentence, also when nothing was read.
    """

    value: Fraction | None
    text: str
    unit: str
    rule: str | None
    why: str

    def equals(self, key: int | float | str | Fraction, tolerance: float = 0) -> bool:
        """Whether a number was read that is `key`, or no further from it than `tolerance`. 0.1 means one tenth.

        Raises
        ------
        ValueError
            If the key is no single number: "1,250" and "$3.50" are, "12 or 13" is not.
        """
        wanted = exact_number(key)
        return self.value is not None and abs(self.value - wanted) <= exact_number(tolerance)


def extract_number(reply: str, rule: Rule = "careful", *, finished: bool = True) -> NumberRead:
    """The number that a reply gives as its answer, or None rather than a guess.

    Understood are thousands ("1,250", a thin space, LaTeX's ``1{,}250``), decimals, signs (also "−" and "minus"),
    fractions ("3/4", "1½", ``\\frac{3}{4}``), powers of ten, "million" and its like, currencies, percent and units,
    Markdown and LaTeX around a number, and digits of other scripts. What can be read in two ways ("12,5", "1.2.3",
    "3/4/2026", "12:30", "5k") is no number. Words for numbers ("twelve") are not read. Reasoning between tags such as
    ``<think>`` is left out.

    Parameters
    ----------
    reply : str
        What the model wrote.
    rule : str
        - "boxed": the number in ``\\boxed{}``; None if two boxes differ.
        - "marked": the number after "answer is", "answer:" or "####"; None if two of them differ.
        - "only": the number of a reply that has one, and neither a question nor a word of doubt such as "not" or
          "about".
        - "careful": the box, else the mark, else the only number. A box and a mark that differ, or a mark without a
          readable number, give None.
        - "last", "first": the last or first number, whatever it says.
    finished : bool
        False if the reply was cut off by a limit of tokens (``finish_reason == "length"``). Then the only number is
        perhaps not the answer, and a number at the very end perhaps half of one: "last" and "first" apart, neither is
        read.

    Returns
    -------
    NumberRead

    Raises
    ------
    TypeError, ValueError
        If the reply is no string or the rule is unknown.

    Notes
    -----
    English notation and English marks. Of a reply of more than 10,000 characters only the end is searched ("first": the
    beginning), and "only" reads nothing. "####" ends the solutions of GSM8K (Cobbe et al., 2021, arXiv 2110.14168).
    Explained in the chapter "Checking Answers".
    """
    if rule not in RULES:
        raise ValueError(f"rule={rule!r} is unknown: give one of {', '.join(map(repr, RULES))}")
    try:
        full = said(reply)
        text = plain(full[:LONGEST] if rule == "first" else full[-LONGEST:])
        if rule in ("first", "last"):
            return _at_the(text, rule)
        if not finished:
            return _read(HALF.sub("", text), rule, "the reply was cut off, and no number is marked")
        return _read(text, rule, f"the reply has more than {LONGEST:,} characters" if len(full) > LONGEST else "")
    except Unreadable as error:
        return NumberRead(None, "", "", None, str(error))


def exact_number(key: object) -> Fraction:
    """A number as the fraction that its decimal digits say."""
    if isinstance(key, Fraction):
        return key
    if isinstance(key, bool) or not isinstance(key, (str, int, float)):
        raise TypeError(f"{key!r:.60} is no number: give an int, a float, a Fraction, or a text such as '1,250'")
    found = numerals_in(plain(str(key)[:LONGEST]))
    if len(found) != 1 or found[0].value is None:
        raise ValueError(f"{str(key)[:60]!r} is not a single number: give one, such as 12, 0.5 or '1,250'")
    return found[0].value


def bare_number(text: str) -> Fraction | None:
    """The value of a text that is a number and nothing else."""
    text = plain(text).strip()
    found = numerals_in(text)
    return found[0].value if len(found) == 1 and (found[0].start, found[0].end) == (0, len(text)) else None


def _read(text: str, rule: str, cut: str) -> NumberRead:
    """By one of the rules that may refuse. `cut` says why not all of the reply is known, if so."""
    if rule == "only":
        return _only(text, cut)
    boxes, marks = _boxes(text), _marks(text)
    boxed, marked = _agreed(boxes, "boxed", "in a box"), _agreed(marks, "marked", "after a mark")
    if rule != "careful":
        return boxed if rule == "boxed" else marked
    if boxed.value is not None and marked.value not in (None, boxed.value):
        return _nothing("the box and the words after 'answer' differ")
    return boxed if boxes else marked if marks else _only(text, cut)


def _nothing(why: str) -> NumberRead:
    return NumberRead(None, "", "", None, why)


def _found(numeral: Numeral, rule: str, why: str) -> NumberRead:
    if numeral.value is None:
        return _nothing(numeral.doubt)
    return NumberRead(numeral.value, numeral.text, numeral.unit, rule, why)


def _at_the(text: str, rule: str) -> NumberRead:
    numerals = numerals_in(text)
    if not numerals:
        return _nothing("there is no number")
    return _found(numerals[-1 if rule == "last" else 0], rule, f"the {rule} of {len(numerals)} numbers")


def _only(text: str, cut: str) -> NumberRead:
    if cut:
        return _nothing(cut)
    numerals = numerals_in(text)
    if len(numerals) != 1:
        return _nothing(f"there are {len(numerals)} numbers, and none is marked" if numerals else "there is no number")
    doubt = DOUBTFUL.search(text)
    if doubt:
        return _nothing(f"{doubt[0]!r} leaves a doubt about the only number")
    one = numerals[0]
    if OPERATOR.match(text, one.end) or CALCULATED.search(text[: one.start]):
        return _nothing("the only number is part of a calculation")
    return _found(one, "only", "the only number")


def _agreed(found: list[Numeral | str], rule: str, where: str) -> NumberRead:
    """What all boxes or marks say. A text in the list says why one of them could not be read."""
    if not found:
        return _nothing(f"there is nothing {where}")
    for one in found:
        if isinstance(one, str):
            return _nothing(one)
    if len({one.value for one in found}) > 1:
        return _nothing(f"the numbers {where} differ")
    return _found(found[-1], rule, f"the number {where}")


def _boxes(text: str) -> list[Numeral | str]:
    return [_result(_inside(text, box.end()), "in the box") for box in BOX.finditer(text)]


def _inside(text: str, start: int) -> str:
    """What stands before the closing brace, at most 200 characters of it."""
    depth = 1
    for place, sign in enumerate(text[start : start + 200], start):
        depth += (sign == "{") - (sign == "}")
        if depth == 0:
            return text[start:place]
    return ""


def _marks(text: str) -> list[Numeral | str]:
    marks = list(MARK.finditer(text))
    found: list[Numeral | str] = []
    for number, mark in enumerate(marks):
        stop = marks[number + 1].start() if number + 1 < len(marks) else len(text)
        rest = text[mark.end() : min(stop, mark.end() + 300)]
        if number + 1 < len(marks) and len(rest) < BETWEEN and all(map(LEAD.fullmatch, re.findall(r"\w+", rest))):
            continue  # "Answer: the answer is 12"
        found.append(_after_mark(rest))
    return found


def _after_mark(rest: str) -> Numeral | str:
    numerals = numerals_in(rest)
    if not numerals or numerals[0].start > BETWEEN:
        return "no number follows the mark"
    before = rest[: numerals[0].start]
    words = re.findall(r"[^\W\d_]+", before)
    if not all(map(LEAD.fullmatch, words)) or re.search(r"[.?!;]", before):
        return f"{' '.join(before.split())!r} stands between the mark and the number"
    begin = len(before) - len(before.lstrip())
    return _result(re.split(r"\n|[.;!?](?:\s|$)", rest[begin:], maxsplit=1)[0], "after the mark")


def _result(clause: str, where: str) -> Numeral | str:
    """The single number of a clause, or what stands after its last "="."""
    clause = clause.rpartition("=")[2]
    numerals = numerals_in(clause)
    if not numerals:
        return f"there is no number {where}"
    first = numerals[0]
    if OPERATOR.match(clause, first.end):
        return f"a calculation stands {where}"
    if SECOND.match(clause, first.end):
        return f"more than one number stands {where}"
    return first
