"""Whether two short texts have the same words: exact match and token F1, as SQuAD defines them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .plain import require_text

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class ExactMatch:
    """Whether an answer equals one of its references once both are normalised.

    Attributes
    ----------
    equal : bool
    answer : str
        The answer as it was compared.
    reference : str or None
        The reference it equals, as it was compared.
    """

    equal: bool
    answer: str
    reference: str | None

    def __bool__(self) -> bool:
        return self.equal


@dataclass(frozen=True)
class TokenOverlap:
    """How many words an answer shares with the reference it resembles most.

    Attributes
    ----------
    f1, precision, recall : float
        From 0 to 1: the harmonic mean of the shared words' share of the answer and of the reference.
    shared : tuple of str
        The words that both have, as often as both have them.
    reference : str
        The reference, as it was compared.
    """

    f1: float
    precision: float
    recall: float
    shared: tuple[str, ...]
    reference: str


def normalise_answer(text: str) -> str:
    """A short answer in lower case, without punctuation, articles and double spaces, in this order.

    Notes
    -----
    The definition of SQuAD's evaluation (Rajpurkar et al., 2016, arXiv 1606.05250). It knows English articles and
    ASCII punctuation only, and it takes the point out of "3.5" and the minus out of "-5": compare numbers with
    :func:`extract_number`. Explained in the chapter "Checking Answers".
    """
    lowered = require_text("answer", text).lower().translate(NO_PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", lowered).split())


def exact_match(answer: str, references: str | Iterable[str]) -> ExactMatch:
    """Whether an answer equals one of its references, both normalised by :func:`normalise_answer`.

    Raises
    ------
    TypeError, ValueError
        If a text is no string, or there is no reference.
    """
    said = normalise_answer(answer)
    equal = said in {normalise_answer(reference) for reference in _listed(references)}
    return ExactMatch(equal, said, said if equal else None)


def token_f1(answer: str, references: str | Iterable[str]) -> TokenOverlap:
    """The F1 of the words that an answer shares with a reference; of several references, with the best.

    Raises
    ------
    TypeError, ValueError
        If a text is no string, or there is no reference.

    Notes
    -----
    Words are those of :func:`normalise_answer`, and count as often as they stand in both. If one side has none, F1 is 1
    when neither has any, else 0, as in version 2 of SQuAD's evaluation. The order of words does not count, nor does
    "not": F1 measures resemblance, never truth.
    """
    words = normalise_answer(answer).split()
    return max((_overlap(words, normalise_answer(reference)) for reference in _listed(references)), key=lambda o: o.f1)


def _listed(references: str | Iterable[str]) -> list[str]:
    listed = [references] if isinstance(references, str) else list(references)
    if not listed:
        raise ValueError("there is no reference: give at least one text, or score the item as unanswerable with ''")
    return listed


def _overlap(words: list[str], reference: str) -> TokenOverlap:
    wanted = reference.split()
    if not words or not wanted:
        same = float(words == wanted)
        return TokenOverlap(same, same, same, (), reference)
    shared = tuple((Counter(words) & Counter(wanted)).elements())
    precision, recall = len(shared) / len(words), len(shared) / len(wanted)
    f1 = 2 * precision * recall / (precision + recall) if shared else 0.0
    return TokenOverlap(f1, precision, recall, shared, reference)
