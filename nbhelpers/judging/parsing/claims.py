"""Which sentences of a reply give a verdict: claims.

A sentence gives one only if it is known to: its clause holds nothing before the verdict but words of a list, and one
of a few forms. Whatever else it may say ("hardly", "the student claims") need not be understood: it is no claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from . import verdict_words as words
from .certainty import SentenceReader
from .legal_verdicts import Legal
from .reply_text import Sentence
from .token_reader import CLOSING, OPENING

CONNECTORS = frozenset({":", "=", "–", "-", "→", "is", "was", "be", "would", "goes", "to", "是", "为"})
OPERATORS = frozenset("=/*×+<>%^")
LONGEST_LEAD = 14  # tokens


class Strength(IntEnum):
    BROKEN = 0  # "No, wait": given and taken back
    WEAK = 1  # "A is better", "No, the date is wrong"
    LABELLED = 2  # "Verdict: A"
    FINAL = 3  # "Final verdict: A", "[[A]]"


@dataclass(frozen=True)
class Claim:
    verdict: str
    strength: Strength
    sentence: int
    stop: int  # the token after it
    leads: bool = False  # the reply begins with it


def claims_in(sentences: Sequence[Sentence], legal: Legal) -> list[Claim]:
    """All claims, in order. None of a sentence that asks, is quoted, or takes back what it says."""
    found = []
    asked = False
    for number, sentence in enumerate(sentences):
        following = sentences[number + 1] if number + 1 < len(sentences) and not sentence.ends_line else None
        initial = (  # "A. Lincoln"
            legal.names
            and number == 0
            and len(sentence.tokens) == 1
            and following is not None
            and following.tokens[0].low not in words.STARTERS
            and legal.at(following.tokens, 0) is None
        )
        calculates = following is not None and following.tokens[0].low in OPERATORS  # "3! = 6"
        if not sentence.quoted and sentence.end != "?" and not calculates and not initial:
            reader = _Reader(sentence.tokens, legal)
            alone = number == 0 or asked or number == len(sentences) - 1
            claim = reader.claim(sentence, number, len(sentences), alone)
            if claim is not None:
                found.append(claim)
        asked = sentence.end == "?"
    return found


class _Reader(SentenceReader):
    """One sentence, read from left to right."""

    def claim(self, sentence: Sentence, number: int, count: int, alone: bool) -> Claim | None:
        if count > 1 and self.quotes_a_statement():
            return None
        for start, clean, leading in self.clauses():
            place = start
            if not self.mention_near(start):
                continue
            while place < len(self.tokens) and place - start < LONGEST_LEAD:
                got = clean and self.form(place, start, sentence, leading, alone)
                if got:
                    verdict, stop, strength = got
                    lead = {token.low for token in self.tokens[start:stop]}
                    if strength == Strength.LABELLED and lead & words.FINAL:
                        strength = Strength.FINAL
                    if not self.tail_is_clean(stop, verdict):
                        strength = Strength.BROKEN
                    return Claim(verdict, strength, number, stop, number == 0 and leading)
                if not self.leads_on(place):
                    break
                place += 1
        return None

    # The forms. Each returns the verdict, the place after it, and how strong it is.

    def form(
        self, place: int, start: int, sentence: Sentence, leading: bool, alone: bool
    ) -> tuple[str, int, Strength] | None:
        if self.low(0) == "{":  # JSON that was cut off: the beginning of a string is no sentence
            return self.labelled(place)
        return (
            self.labelled(place)
            or self.double_bracket(place)
            or self.picked(place)
            or self.graded(place)
            or self.better(place)
            or self.predicate(place, alone)
            or (self.bare(place, start, sentence, alone) if leading or self.low(start - 1) in words.CONCLUDES else None)
        )

    def labelled(self, place: int) -> tuple[str, int, Strength] | None:
        """ "Verdict: A", "the better answer is B", "Rating [[4]]"."""
        first, noun, strong = place, False, False
        while place < len(self.tokens) and place - first < 10:
            low = self.low(place).strip("_")
            parts = low.replace("-", "_").split("_")
            if all(part in words.NOUNS or part in words.WEAK for part in parts):
                noun = True
                strong = strong or any(part in words.NOUNS - words.WEAK for part in parts)
            elif (low == "is" and self.low(place - 1) != "that") or not (
                all(part in words.MODIFIERS or part in words.NOUNS for part in parts) or (low in OPENING and not noun)
            ):
                break
            place += 1
        if not noun:
            return None
        quality = bool({token.low for token in self.tokens[first:place]} & words.QUALITIES)
        closing = self.skip(place, CLOSING)
        if self.low(closing) == "(":
            closing = self.after_remark(closing)
            if closing < 0:
                return None
        if self.low(closing) in {"for", "of", "on"}:
            closing = self.skip(closing + 1, words.WHOLES)
        connected = closing
        while self.low(connected) in CONNECTORS and self.legal.at(self.tokens, connected) is None:
            connected += 1
        said = {token.low for token in self.tokens[closing:connected]}
        boxed = self.low(connected) == "[["
        if connected == closing and not boxed and not (closing > place and self.low(place) == "]"):
            return None
        colon = bool(said & {":", "="})
        filler = self.skip(connected, words.FIRM)
        at = self.verdict_at(connected) or self.verdict_at(filler)
        if at is None or not self.stops(at[1]):
            return None
        if not strong and not quality:
            if self.legal.top is not None and not self.legal.names and not (colon and at[1] >= len(self.tokens)):
                return None  # "The answer is 4": what the answer says
            right = {token.low for token in self.tokens[first:place]} & {"correct", "right"}
            if right and not self.legal.names:
                return None  # "The correct answer is yes"
            if not colon and not boxed and "final" not in {token.low for token in self.tokens[first:place]}:
                return *at, Strength.WEAK
        return *at, Strength.FINAL if boxed else Strength.LABELLED

    def double_bracket(self, place: int) -> tuple[str, int, Strength] | None:
        at = self.verdict_at(place) if self.low(place) == "[[" else None
        return (*at, Strength.FINAL) if at and self.stops(at[1]) else None

    def picked(self, place: int) -> tuple[str, int, Strength] | None:
        """ "I choose A over B"."""
        if self.low(place) not in words.PICKS or self.low(place - 1) not in words.LEAD:
            return None
        if self.legal.top is not None and not self.legal.names:
            return None
        at = self.verdict_at(self.skip(place + 1, words.AFTER_PICK))
        if self.low(place) in {"find", "consider"}:
            at = at and self.found_better(*at)
        if at is None or not self.stops(at[1], frozenset({"over", "rather", "instead"})):
            return None
        return *at, Strength.WEAK

    def found_better(self, verdict: str, place: int) -> tuple[str, int] | None:
        """ "I find A to be the better answer": the place after that."""
        place = self.skip(place, words.TO_BE)
        known = self.legal.names and self.low(place) in words.QUALITIES - {"good"}
        return (verdict, self.skip(place + 1, words.AFTER_BETTER)) if known else None

    def graded(self, place: int) -> tuple[str, int, Strength] | None:
        """ "I give it 4 out of 5", "the answer deserves a 3"."""
        if self.legal.top is None or self.legal.names:
            return None
        place = self.skip(place, words.SUBJECTS)
        if self.low(place) not in words.GIVES:
            return None
        after = self.skip(place + 1, words.AFTER_GIVES)
        if self.low(place) == "is" and self.low(after - 1) not in {"a", "an"}:
            return None
        if self.low(place - 1) in {"a", "the", "my"}:
            return None  # "a score of 4"
        at = self.verdict_at(after)
        return (*at, Strength.LABELLED) if at and self.stops(at[1]) else None

    def better(self, place: int) -> tuple[str, int, Strength] | None:
        """ "Answer A is clearly better than B", "A wins"."""
        if not self.legal.names:
            return None
        named = self.skip(place, words.OPTION_NOUNS)
        at = self.verdict_at(named)
        if at is None:
            return None
        verdict, stop = at
        if named == place and self.legal.top is not None:
            return None  # "1 is better"
        if self.low(stop) in words.WINS:
            return (verdict, stop + 1, Strength.WEAK) if self.stops(stop + 1) else None
        if self.low(stop) not in words.BE:
            return None
        place = self.skip(stop + 1, words.ADVERBS)
        if self.low(place) in {"winner", "choice", "pick", "preference"}:
            return (verdict, place + 1, Strength.WEAK) if self.stops(place + 1) else None
        if self.low(place) not in words.QUALITIES - {"good"}:
            return None
        place = self.skip(place + 1, words.AFTER_BETTER)
        if self.low(place) in {"than", "to"}:
            place = self.skip(place + 1, words.OPTION_NOUNS | {"the", "other", "first", "second", "one"})
            other = self.verdict_at(place)
            place = other[1] if other else place
            if other and other[0] == verdict:
                return None
        return (verdict, place, Strength.WEAK) if self.stops(place) else None

    def predicate(self, place: int, alone: bool) -> tuple[str, int, Strength] | None:
        """ "The student's answer is incorrect", "I agree with the statement"."""
        if self.legal.names or self.legal.top is not None:
            return None
        subject = self.skip(place, words.SUBJECTS)
        if subject == place:
            return None
        said = {token.low for token in self.tokens[place:subject]}
        if "i" in said:
            at = self.verdict_at(subject)
            if at is None and self.low(subject) == "am" and any("agree" in key for key in self.legal.by_tokens):
                at = self.verdict_at(subject + 1)
            if at and at[0].casefold().endswith("agree") and self.low(at[1]) == "with":
                at = at[0], self.skip(at[1] + 1, words.WHOLES)
            if at and self.stops(at[1]):
                return *at, Strength.WEAK
        if self.low(subject) not in words.BE and not said & {"it's"}:
            return None
        if not said & {"answer", "response", "reply", "solution", "statement", "claim", "prediction"} and not alone:
            return None  # "It names Paris. That is correct." speaks of a part
        article = self.skip(subject, words.BE | words.ADVERBS)
        at = self.verdict_at(article)
        if at is None:
            return None
        verdict, stop = at
        if self.low(article - 1) in {"a", "an", "the"} and self.low(stop) in words.JUDGED_NOUNS:
            stop += 1
        return (verdict, stop, Strength.WEAK) if self.stops(stop, frozenset({"and"})) else None

    def bare(self, place: int, start: int, sentence: Sentence, alone: bool) -> tuple[str, int, Strength] | None:
        """The verdict by itself: the whole sentence, or the beginning of the reply."""
        grades = self.legal.top is not None
        lead = {token.low for token in self.tokens[start:place]}
        if words.NOT_BEFORE_BARE & lead or self.low(place - 1) in words.PREPOSITIONS:
            return None
        nouns = words.GRADE_NOUNS if grades and not self.legal.names else words.OPTION_NOUNS | words.GRADE_NOUNS
        at = self.verdict_at(self.skip(place, nouns))
        if at is None or not self.stops(at[1]):
            return None
        verdict, stop = at
        whole = stop >= len(self.tokens) or (self.low(stop) in ".!" and stop + 2 >= len(self.tokens))
        if self.low(start - 1) in words.CONCLUDES:  # "they are equal, so C"
            return (verdict, stop, Strength.WEAK) if whole and not grades else None
        line = sentence.begins_line and sentence.ends_line and whole and start == 0
        if not sentence.begins_line and not sentence.end and self.tokens[-1].is_word:
            return None  # "They differ. A": cut off
        denominated = stop - place > 1 and any(token.low in {"/", "of"} for token in self.tokens[place:stop])
        if line:
            return verdict, stop, Strength.LABELLED
        if whole and grades and not denominated:
            return (verdict, stop, Strength.WEAK) if alone and not sentence.begins_line else None  # "3. The date ..."
        if whole:
            return verdict, stop, Strength.WEAK
        if not alone or start:
            return None
        if self.low(stop) == "," and (self.legal.names or grades):
            return (verdict, stop, Strength.WEAK) if self.low(stop + 1) in words.BECAUSE | {"as"} else None
        if self.low(stop) == ":" and self.legal.names:
            return None  # "A: good", a label
        return verdict, stop, Strength.WEAK
