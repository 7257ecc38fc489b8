"""The verdicts as they are looked for in a reply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .reply_text import Token, tokens_of
from .verdict_words import UNITS


@dataclass(frozen=True)
class Legal:
    """Verdicts by their tokens. Single characters are told apart by case, and words that differ by case alone."""

    by_tokens: dict[tuple[str, ...], str]
    exact: frozenset[str]  # the verdicts whose case matters
    top: float | None  # of grades, the largest
    names: bool  # "A", "B" or "1", "2": names of answers, of which one can be better

    @classmethod
    def of(cls, verdicts: Sequence[str]) -> Legal:
        folded = Counter(verdict.casefold() for verdict in verdicts)
        by_tokens: dict[tuple[str, ...], str] = {}
        for verdict in verdicts:
            by_tokens.setdefault(_key(verdict), verdict)
        numbers = [number for number in map(as_number, verdicts) if number is not None]
        top = max(numbers) if len(numbers) * 2 > len(verdicts) else None
        letters = [verdict for verdict in verdicts if len(verdict) == 1 and verdict.isascii() and verdict.isalpha()]
        return cls(
            by_tokens,
            frozenset(verdict for verdict in verdicts if len(verdict) == 1 or folded[verdict.casefold()] > 1),
            top,
            len(letters) >= 2 or set(numbers) == {1.0, 2.0},
        )

    def at(self, tokens: Sequence[Token], place: int) -> tuple[str, int] | None:
        """The longest verdict that begins at this token, and the place after it."""
        found = None
        for key, verdict in self.by_tokens.items():
            part = tokens[place : place + len(key)]
            if (
                len(part) == len(key)
                and (found is None or len(key) > found[1] - place)
                and all(self._same(token, wanted, verdict) for token, wanted in zip(part, key, strict=True))
            ):
                found = verdict, place + len(key)
        return found

    def _same(self, token: Token, wanted: str, verdict: str) -> bool:
        if verdict in self.exact:
            return token.text == wanted or (self.top is not None and whole_number(token.text) == wanted)
        return token.low == wanted.casefold() or (self.top is not None and whole_number(token.text) == wanted)


def _key(verdict: str) -> tuple[str, ...]:
    tokens = [token.text for token in tokens_of(verdict)]
    while len(tokens) > 1 and tokens[-1] in ".!?":
        tokens.pop()
    return tuple(tokens)


def as_number(text: str) -> float | None:
    """A plain number of at most 8 characters, or None."""
    digits = text.lstrip("+-").replace(".", "", 1)
    return float(text) if len(text) <= 8 and digits.isascii() and digits.isdigit() and text[-1] != "." else None


def whole_number(text: str) -> str:
    """ "4.0" and "4分" as "4", all else as it is."""
    if len(text) > 1 and text[-1] in UNITS and text[:-1].isdigit():
        return text[:-1]
    head, point, tail = text.partition(".")
    return head if point and tail and not tail.strip("0") else text
