"""Reading a sentence token by token: what stands where, and whether a verdict ends there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from . import verdict_words as words
from .legal_verdicts import Legal, as_number
from .reply_text import Token

OPENING = frozenset("\"'([{`|") | {"[["}
CLOSING = frozenset("\"')]}`|") | {"]]"}
BRACKETS = {"[[": "]]", "[": "]", "(": ")"}
LONGEST_SKIP = 12  # tokens
FURTHEST = 60  # tokens between the beginning of a clause and its verdict


class TokenReader:
    """One sentence, and the verdicts that are looked for in it. Places are indices of tokens."""

    def __init__(self, tokens: Sequence[Token], legal: Legal) -> None:
        self.tokens, self.legal = tokens, legal
        self.mentions = [place for place in range(len(tokens)) if legal.at(tokens, place)]
        self.mentions_set = frozenset(self.mentions)

    def low(self, place: int) -> str:
        return self.tokens[place].low if 0 <= place < len(self.tokens) else ""

    def skip(self, place: int, of: frozenset[str]) -> int:
        stop = min(place + LONGEST_SKIP, len(self.tokens))  # else a page of "so so so" takes quadratic time
        while place < stop and self.tokens[place].low in of and not self.is_letter_verdict(place):
            place += 1
        return place

    def is_letter_verdict(self, place: int) -> bool:
        """Whether this is "A" as a verdict: among words to skip, "a" is the article."""
        return len(self.tokens[place].text) == 1 and self.tokens[place].text.isupper() and place in self.mentions_set

    def mention_near(self, place: int) -> bool:
        """Whether a verdict stands at this place or shortly after it."""
        after = bisect_left(self.mentions, place)
        return after < len(self.mentions) and self.mentions[after] <= place + FURTHEST

    def verdict_at(self, place: int) -> tuple[str, int] | None:
        """A verdict with its brackets, quotes, denominator and unit, if the sentence may stop after it."""
        first = place
        place = self.skip(place, OPENING)
        at = self.legal.at(self.tokens, place)
        if at is None:
            return None
        brackets = sum(token.low in BRACKETS for token in self.tokens[first:place])
        verdict, stop = at
        if self.tokens[place].tight and not (place and self.low(place - 1) in OPENING | {":", "=", "–", "→", "]"}):
            return None  # "!A", ".3"
        if stop < len(self.tokens) and self.tokens[stop].tight and not self._may_touch(stop):
            return None
        end = stop
        stop = self.skip(stop, CLOSING)
        if self.legal.top is not None:
            stop = self.after_denominator(stop)
            if stop < 0:
                return None
            stop = self.skip(stop, words.UNITS)
        stop = self.skip(stop, CLOSING)
        closed = sum(token.low in BRACKETS.values() for token in self.tokens[end:stop])
        return (verdict, stop) if closed >= brackets else None  # "[[1" may go on as "[[10]]"

    def _may_touch(self, place: int) -> bool:
        sign = self.low(place)
        return sign in CLOSING or sign in {".", ",", ";", ":", "!", "–", "/", "("}

    def after_denominator(self, place: int) -> int:
        """The place after "/5" or "out of 5"; -1 if it is not the top grade."""
        stop = place
        inside = self.low(stop) == "("
        stop += inside
        if self.low(stop) == "/":
            stop += 1
            bare = self.legal.top is not None and self.legal.top <= 2
        elif self.low(stop) == "out" and self.low(stop + 1) == "of":
            stop, bare = stop + 2, False
        elif self.low(stop) == "of" and as_number(self.low(stop + 1)) is not None:
            stop, bare = stop + 1, False
        else:
            return place
        stop = self.skip(stop, OPENING)
        number = as_number(self.low(stop))
        if number is None or number != self.legal.top or bare:
            return -1
        return self.skip(stop + 1, CLOSING)

    def stops(self, place: int, also: frozenset[str] = frozenset()) -> bool:
        """Whether nothing may follow that belongs to the verdict: the end, a sign, "because"."""
        if place >= len(self.tokens):
            return True
        token = self.tokens[place]
        low = token.low
        if low in words.BECAUSE or low in also or (low == "as" and self.low(place + 1) in words.STARTERS):
            return True
        if low in {".", "!"}:
            return self.low(place + 1) in CLOSING
        if low in {"–", "-"}:
            after = self.tokens[place + 1] if place + 1 < len(self.tokens) else None
            spaced = not token.tight or low == "–"
            return spaced and after is not None and after.is_word and not after.low[0].isdigit()
        if low == ":" and place + 1 < len(self.tokens) and self.tokens[place + 1].tight:
            return not self.low(place + 1)[0].isdigit()
        return low in {",", ";", ":", "("}

    def after_remark(self, place: int) -> int:
        """The place after "(1-5)"; -1 if it names another scale or does not end soon."""
        for stop in range(place + 1, min(place + 9, len(self.tokens))):
            if self.low(stop) == ")":
                inside = [part for token in self.tokens[place + 1 : stop] for part in token.low.split("-")]
                numbers = [as_number(part) for part in inside if part]
                known = [number for number in numbers if number is not None]
                return stop + 1 if not known or max(known) == self.legal.top else -1
        return -1

    def mentions_other(self, place: int, verdict: str) -> bool:
        """Whether another verdict stands here, as one: not compared with, and not describing the next word."""
        at = self.legal.at(self.tokens, place)
        if at is None or at[0] == verdict:
            return False
        before = place - 1
        while self.low(before) in words.OPTION_NOUNS or self.low(before) in OPENING:
            before -= 1
        if self.low(before) in words.COMPARES and self.low(before) != "not":
            return False
        letters = self.legal.names and self.legal.top is None
        return letters or self.stops(at[1]) or self.low(at[1]) in CLOSING | {"or", "and"}
