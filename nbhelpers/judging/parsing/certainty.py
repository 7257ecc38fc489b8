"""Whether what stands around a verdict in its sentence leaves it certain."""

from __future__ import annotations

from collections.abc import Iterator

from . import verdict_words as words
from .token_reader import BRACKETS, OPENING, TokenReader


class SentenceReader(TokenReader):
    """One sentence: its clauses, and what turns a verdict round."""

    def quotes_a_statement(self) -> bool:
        """Whether the sentence begins with a quotation of more than a verdict: "A is better", said nobody."""
        quote = self.low(0)
        if quote not in {'"', "'", "`"}:
            return False
        at = self.legal.at(self.tokens, 1)
        return at is None or self.low(self.skip(at[1], frozenset(".,!"))) != quote

    def leads_on(self, place: int) -> bool:
        """Whether a verdict may still follow in this clause. A verdict ends it, but for "A" in "A good answer is B"."""
        if self.legal.at(self.tokens, place) is not None and self.low(place + 1) not in words.QUALITIES:
            return False
        bracketed = (
            self.low(place) in BRACKETS and place + 1 in self.mentions_set
        )  # read with its brackets or not at all
        return self.low(place) in words.LEAD or (self.low(place) in OPENING and not bracketed)

    def clauses(self) -> Iterator[tuple[int, bool, bool]]:
        """Where a clause begins, whether what stands before leaves it certain, and whether that is nothing."""
        yield 0, True, True
        hedged, denied, plain = False, False, True
        last = 0
        for place, token in enumerate(self.tokens):
            low = token.low
            hedged = hedged or low in words.HEDGES or low.startswith("max")
            denied = denied or low in words.NEGATIONS or low.endswith("n't")
            hedged = hedged or (denied and low in words.DENIED)  # "it is not the case that, overall, A is better"
            plain = plain and (low in {",", ":"} or self.leads_on(place))
            joins = low in words.JOINS
            if (low in {",", ";", ":", "–", "-"} and (low != "-" or not token.tight)) or joins:
                hedged = hedged or (joins and place - 1 in self.mentions_set)  # "one of A and B is better"
                aspect = self.low(last) in words.PREPOSITIONS and not joins and not plain
                yield place + 1, not hedged and not aspect, plain
                last, denied = place + 1, False

    def is_limited(self, place: int, verdict: str) -> bool:
        """Whether what follows begins like "apart from", "partially", or is a count: "Correct: 2"."""
        after = self.skip(place, frozenset(",;:–-("))
        if after == place or after >= len(self.tokens):
            return False
        word = self.low(after)
        if self.low(place) == ":" and self.legal.top is None and (len(self.tokens) - after < 2 or word[0].isdigit()):
            return True
        if self.low(place) in {":", "–", "-", "("} and self.legal.top is not None:
            return word in words.PREPOSITIONS
        if word == "not" and verdict.casefold() in words.DENIALS:
            return False
        if word == "as" or (word == "i" and self.low(after + 1) == "agree"):
            return word == "as" and self.low(after + 1) not in words.STARTERS
        return word in words.LIMITS or (word.endswith(("ly", "ing", "ed")) and word not in words.FIRMLY)

    def tail_is_clean(self, place: int, verdict: str) -> bool:
        """Whether the rest of the sentence leaves the verdict standing."""
        said = {self.low(place), self.low(place + 1)}
        if said & words.BECAUSE:
            return True
        if self.is_limited(place, verdict):
            return False
        described = self.legal.top is not None and self.low(place) in {
            ":",
            "–",
            "-",
            "(",
        }  # "3: partly right, or vague"
        turns = words.CONDITIONS if described else words.TURNS
        if verdict.casefold() in words.DENIALS:
            turns = turns - words.PARTLY  # "No, it is only partly right"
        for here in range(place, len(self.tokens)):
            low = self.low(here)
            if low in words.BECAUSE:
                return True
            if low in turns or low.startswith("max"):
                return False
            if here + 1 == len(self.tokens) and (low in words.NEGATIONS or low == "seems"):
                return False
            if low == "i" and self.low(here + 1) in words.ACKNOWLEDGES:
                return False
            if self.mentions_other(here, verdict):
                return False
        return True
