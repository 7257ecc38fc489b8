"""Which of the options a reply chooses."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass

from ..judging.parsing import parse_verdict
from .plain import LONGEST, Unreadable, require_text, said

MARKS = re.compile(r"[*_`\"'“”‘’$]++")


@dataclass(frozen=True)
class ChoiceRead:
    """The option that was read in a reply, and why.

    Attributes
    ----------
    letter : str or None
        "A" for the first option, and so on; None if no choice was read.
    index : int or None
        Its place in the options, from 0.
    why : str
        One sentence, also when nothing was read.
    """

    letter: str | None
    index: int | None
    why: str


def extract_choice(reply: str, options: Iterable[str]) -> ChoiceRead:
    """The option that a reply chooses, by its letter, its text, or both; None rather than a guess.

    "B", "(B)", "B) Paris", "The answer is B. Paris" and "Paris" are the same choice if the second option is "Paris".
    Where letter and text disagree ("B) Rome"), or two options are chosen, nothing is read.

    Parameters
    ----------
    reply : str
        What the model wrote. Reasoning between tags such as ``<think>`` is left out.
    options : iterable of str
        The texts as they were shown, in the order of their letters: 2 to 26.

    Returns
    -------
    ChoiceRead

    Raises
    ------
    TypeError, ValueError
        If the reply or an option is no string, an option is blank, or two are equal but for case and spaces.

    Notes
    -----
    An exact option, with its letter or alone, is replaced by its letter; :func:`nbhelpers.parse_verdict` reads the
    rest, in English sentences. Explained in the chapter "Checking Answers".
    """
    texts = _checked(options)
    letters = tuple(string.ascii_uppercase[: len(texts)])
    try:
        full = said(reply)
    except Unreadable as error:
        return ChoiceRead(None, None, str(error))
    if len(full) > LONGEST:
        forms = [full]  # parse_verdict looks at its end
    else:
        bare = [_without_marks(text) for text in texts]
        whole = _without_marks(_folded(full)).strip(" .!")
        if whole in bare:
            return _chosen(bare.index(whole), "the reply is an option's text")
        labelled, clash = _letters_for_labelled(full, texts)
        if clash:
            return ChoiceRead(None, None, clash)
        without_letters = re.sub(rf"(?<![^\W_])[{''.join(letters)}](?![^\W_])", "", labelled)
        forms = [labelled, *(_letters_for_texts(form, texts) for form in (labelled, without_letters))]
    verdicts = [parse_verdict(form, letters) for form in forms]
    chosen = sorted(set(verdicts) - {None})
    if len(chosen) > 1:
        return ChoiceRead(None, None, f"its letter and its text say {' and '.join(chosen)}")
    if not chosen:
        return ChoiceRead(None, None, "no option is chosen in a form that is known, or more than one is")
    why = "its letter is given as the choice" if verdicts[0] else "its text is given as the choice"
    return _chosen(letters.index(chosen[0]), why)


def _checked(options: Iterable[str]) -> list[str]:
    if isinstance(options, str):
        raise TypeError(f"options={options!r:.60} is one string: give a list of the options' texts")
    texts = [_folded(require_text("option", option)) for option in options]
    bare = {_without_marks(text) for text in texts}
    if not 2 <= len(texts) <= 26 or "" in bare or len(bare) < len(texts):
        raise ValueError(f"{len(texts)} options {texts!r:.80}: give 2 to 26, none blank, no two the same")
    return texts


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _without_marks(text: str) -> str:
    return " ".join(MARKS.sub("", text).split())


def _chosen(index: int, why: str) -> ChoiceRead:
    return ChoiceRead(string.ascii_uppercase[index], index, why)


def _letters_for_labelled(reply: str, texts: list[str]) -> tuple[str, str]:
    """The reply with "B) Paris" as "B", and what is wrong if a letter stands before another option's text."""
    meant_by = dict(zip(texts, string.ascii_uppercase, strict=False))
    letter = rf"[*_]{{0,2}}\(?(?<![^\W_])(?P<letter>[{''.join(meant_by.values())}])(?:[).:]|\s-|\*\*)[ \t*_]{{1,4}}"
    both = re.compile(rf"{letter}(?P<text>{_one_of(texts)})(?![^\W_])[*_]{{0,2}}", re.IGNORECASE)
    clashes = []

    def letter_alone(found: re.Match[str]) -> str:
        meant = meant_by.get(_folded(found["text"]))
        if meant is None or not found["letter"].isupper():
            return found[0]
        if meant != found["letter"]:
            clashes.append(f"the letter {found['letter']} stands before the text of {meant}")
        return found["letter"]

    return both.sub(letter_alone, reply), clashes[0] if clashes else ""


def _letters_for_texts(reply: str, texts: list[str]) -> str:
    """The reply with each option's text as its letter; texts of a single character stay."""
    meant_by = dict(zip(texts, string.ascii_uppercase, strict=False))
    longer = [text for text in texts if len(text) > 1]
    if not longer:
        return reply
    one = re.compile(rf"(?<![^\W_])(?:{_one_of(longer)})(?![^\W_])", re.IGNORECASE)
    return one.sub(lambda found: meant_by.get(_folded(found[0]), found[0]), reply)


def _one_of(texts: list[str]) -> str:
    """A pattern for any of the texts, the longest first, since one may begin another."""
    longest_first = sorted(texts, key=len, reverse=True)
    return "|".join(r"\s+".join(re.escape(word) for word in text.split(" ")) for text in longest_first)
