"""Which verdict a written reply holds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from . import verdict_words as words
from .claims import Claim, Strength, claims_in
from .json_objects import json_objects, verdict_of
from .legal_verdicts import Legal, as_number
from .reasoning import without_reasoning
from .reply_text import Sentence, plain_text, sentences_of, visible

LONGEST = 10_000  # characters that are searched for sentences


def parse_verdict(reply: str, verdicts: Sequence[str]) -> str | None:
    """The verdict that a written reply holds, or None rather than a guess.

    A verdict is read where the reply gives it in a form that is known: by itself ("B", "(B)", "**B**", "4/5"), at the
    beginning ("No, the date is wrong."), after a label ("Verdict: B", "my score is 4"), marked (``[[B]]``,
    ``\\boxed{B}``, a key of a JSON object), or in a plain sentence ("I choose B", "B is better", "the answer is
    correct", "I give it a 4"). All else is None: other words before the verdict ("hardly correct") or after it ("2
    errors"), conditions, questions, quotations, another denominator than the largest grade, and verdicts that disagree,
    unless a final one settles it.

    Reasoning between tags such as ``<think>`` is left out; if it was cut off, there is no verdict. Of a reply of more
    than 10,000 characters only the end is searched, for a labelled verdict.

    Parameters
    ----------
    reply : str
        What the judge wrote.
    verdicts : sequence of str
        The legal verdicts. Case matters for single characters ("a" is no "A"), and where it alone tells two apart.

    Returns
    -------
    str or None
        One of `verdicts`.

    Raises
    ------
    TypeError
        If the reply is no string, or the verdicts are not a sequence of strings.

    Notes
    -----
    The forms are English; in other languages a verdict is read by itself, at the beginning, and after some labels. No
    list of forms is proof against all that can be said: a judge may take its verdict back in words that are not known,
    or repeat without quotation marks what the answer says of itself. Of the last 235 replies written to test this, 61
    plain ones gave 57 verdicts, all right, and 174 written to mislead gave seven, of which five were wrong (since
    mended). Count the replies that give None, and read them.
    """
    if not isinstance(reply, str):
        raise TypeError(f"the reply must be a string, not {type(reply).__name__}")
    if isinstance(verdicts, str) or not all(isinstance(verdict, str) for verdict in verdicts):
        raise TypeError(f"verdicts={verdicts!r}: give a sequence of strings, such as ('Yes', 'No')")
    said = without_reasoning(reply)
    if said is None or not said.strip():
        return None
    if said.strip() in verdicts:
        return said.strip()
    said = visible(said)
    if said is None:
        return None
    legal = Legal.of(verdicts)
    if len(said) > LONGEST:
        return _of_the_end(said, legal)
    return _read(said, legal)


def _read(text: str, legal: Legal) -> str | None:
    outside, objects = json_objects(text)
    plain = plain_text(outside)
    if plain is None:
        return None
    sentences = sentences_of(plain)
    claims = claims_in(sentences, legal)
    for begins, value in objects:
        key = verdict_of(value, legal, partial(_read_value, legal=legal))
        if key == "":
            return None
        if key:
            place = -1 if begins else len(sentences)
            claims.append(Claim(key, Strength.FINAL, place, 0, leads=begins))
    return _decided(claims, sentences, legal)


def _of_the_end(text: str, legal: Legal) -> str | None:
    """The labelled verdict in the last lines of a long reply, if nothing in the rest can make it a quotation."""
    cut = text.find("\n", len(text) - LONGEST)
    if cut < 0 or text.count('"', 0, cut) % 2 or text.count("```", 0, cut) % 2 or text.count("~~", 0, cut):
        return None
    if text.count("“", 0, cut) != text.count("”", 0, cut):
        return None
    head = plain_text(text[:LONGEST].strip().partition("\n")[0][:500])
    tail = plain_text(text[cut:])
    if head is None or tail is None:
        return None
    sentences = sentences_of(tail)
    claims = claims_in(sentences, legal)
    strong = [c for c in claims if c.strength > Strength.WEAK and c.sentence >= len(sentences) - 3]
    at_head = claims_in(sentences_of(head), legal)
    if len({claim.verdict for claim in [*strong, *at_head]}) != 1 or not strong:
        return None
    return _decided(claims, sentences, legal)


def _decided(claims: Sequence[Claim], sentences: Sequence[Sentence], legal: Legal) -> str | None:
    """The verdict of the strongest claims, if they agree and nothing after them, and no first word, says otherwise."""
    if not claims:
        return None
    strongest = max(claim.strength for claim in claims)
    best = [claim for claim in claims if claim.strength == strongest]
    verdict, last = best[-1].verdict, best[-1]
    if strongest == Strength.BROKEN or any(claim.verdict != verdict for claim in best):
        return None
    if strongest == Strength.WEAK and legal.top is not None and _follows_a_fragment(last, sentences):
        return None
    if strongest == Strength.WEAK and _begins_with_another(sentences[0], verdict, legal):
        return None
    asking = sentences if strongest == Strength.WEAK else sentences[last.sentence + 1 :]
    if any(_asks_for_another(sentence, verdict, legal) for sentence in asking):
        return None
    for claim in claims:
        if claim.verdict != verdict and (claim.leads or claim.sentence >= last.sentence):
            return None
    for number in range(last.sentence + 1, len(sentences)):
        if _takes_back(sentences[number], verdict, last, legal):
            return None
    if last.strength == Strength.WEAK and _has_other_markers(sentences, verdict, legal):
        return None
    return None if _other_scale(sentences, legal) else verdict


def _takes_back(sentence: Sentence, verdict: str, claim: Claim, legal: Legal) -> bool:
    """Whether a sentence after the verdict speaks against it."""
    low = [token.low for token in sentence.tokens]
    said = set(low)
    if said & words.TAKEN_BACK or low[0] == "actually" or low == ["not"] or ("second" in said and "thought" in said):
        return True
    if claim.strength == Strength.WEAK and not claim.leads and low[0] in {"however", "but", "although", "though"}:
        return True
    if (
        claim.strength == Strength.WEAK
        and claim.leads
        and (low[0] in {"let", "let's", "i'll"} or low[:2] == ["i", "will"])
    ):
        return True  # "Yes, of course. Let me see"
    denies = any(word in words.NEGATIONS or word.endswith("n't") for word in low)
    if denies and said & {"verdict", "score", "grade", "rating", "decision", "choice"}:
        return True
    reasons = False
    for place, token in enumerate(sentence.tokens):
        reasons = reasons or token.low in words.BECAUSE
        at = legal.at(sentence.tokens, place)
        if at is None or at[0] == verdict or reasons:
            continue
        before = place - 1
        while before >= 0 and low[before] in words.OPTION_NOUNS | {"a", "the", "(", '"'}:
            before -= 1
        if before >= 0 and low[before] in words.COMPARES:
            continue
        follows = low[at[1]] if at[1] < len(low) else "."
        stands = follows in {".", ",", ";", ")", "!", ":", "or", "and", "/", "]]", "]", '"'}
        if legal.top is not None and not legal.names:
            against = stands and (bool(said & words.CUES) or len(low) <= 4)
        elif legal.names:
            against = not denies and _is_praised(low, place, at[1])
        else:
            against = stands
        if against:
            return True
    return False


def _is_praised(low: Sequence[str], start: int, stop: int) -> bool:
    """Whether a word such as "better" or "verdict" stands near these tokens, with no comma between."""
    for near in (low[max(start - 4, 0) : start][::-1], low[stop : stop + 5]):
        for word in near:
            if word in {",", ";", ":", ".", "–"}:
                break
            if word in words.CUES:
                return True
    return False


def _follows_a_fragment(claim: Claim, sentences: Sequence[Sentence]) -> bool:
    """Whether a grade by itself follows "Ref." or "Score: 4 ..."."""
    if claim.leads or claim.sentence == 0 or sentences[claim.sentence].begins_line:
        return False
    before = sentences[claim.sentence - 1].tokens
    if len(before) < 3:
        return True
    return before[-1].low == "."


def _begins_with_another(sentence: Sentence, verdict: str, legal: Legal) -> bool:
    """Whether the first word is another verdict that stands by itself: "No... yes."."""
    at = legal.at(sentence.tokens, 0)
    return bool(at and at[0] != verdict and (at[1] == len(sentence.tokens) or not sentence.tokens[at[1]].is_word))


def _asks_for_another(sentence: Sentence, verdict: str, legal: Legal) -> bool:
    """Whether the sentence asks for another verdict, and not for a choice: "Yes?" where the verdict is No."""
    if sentence.end != "?" or any(token.low == "or" for token in sentence.tokens):
        return False
    found = (legal.at(sentence.tokens, place) for place in range(len(sentence.tokens)))
    return any(at and at[0] != verdict for at in found)


def _has_other_markers(sentences: Sequence[Sentence], verdict: str, legal: Legal) -> bool:
    """Whether another sentence begins "2:" or "B." as this one did: a list."""
    for sentence in sentences[1:]:
        at = legal.at(sentence.tokens, 0)
        if at and at[0] != verdict:
            follows = sentence.tokens[at[1]].low if at[1] < len(sentence.tokens) else "."
            if follows in {":", ".", ")", "–", "-"}:
                return True
    return False


def _other_scale(sentences: Sequence[Sentence], legal: Legal) -> bool:
    """Whether the reply speaks of grades above the largest: "on a scale of 1 to 10", "8/10"."""
    if legal.top is None:
        return False
    for sentence in sentences:
        low = [token.low for token in sentence.tokens]
        for place, word in enumerate(low):
            number = as_number(word.partition("-")[2] or word)
            if number is None or number <= legal.top:
                continue
            before = low[max(place - 2, 0) : place]
            if before[-1:] == ["/"] or before == ["out", "of"] or "scale" in low[max(place - 6, 0) : place]:
                return True
    return False


def _read_value(content: str, legal: Legal) -> str | None:
    plain = plain_text(content)
    if plain is None:
        return None
    sentences = sentences_of(plain)
    return _decided(claims_in(sentences, legal), sentences, legal)
