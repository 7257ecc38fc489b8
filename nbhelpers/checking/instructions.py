"""Instructions that a program can check: twelve, each with its wording for the prompt and its check of a reply."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from . import texts
from .plain import LONGEST, Unreadable, require_text, said

MARKS = re.compile(r"\*++|_{2}|^[ \t]{0,3}#{1,6}[ \t]++|`++", re.MULTILINE)


@dataclass(frozen=True)
class Instruction:
    """What is asked of a reply, and how it is checked.

    Attributes
    ----------
    text : str
        The sentence to add to the prompt.
    kind : str
        The name of the function that made it.
    complaint : callable
        Given a reply, what is wrong with it, or "" if nothing is.
    """

    text: str
    kind: str
    complaint: Callable[[str], str] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Followed:
    """Whether a reply follows an instruction.

    Attributes
    ----------
    strict, loose : bool
        Of the reply as it is; of the reply as it is or with something taken off: the first line, the last, both, and
        each of these without marks of Markdown.
    why : str
        What is wrong with the reply as it is; "" if nothing is.
    """

    strict: bool
    loose: bool
    why: str


def follows(reply: str, instruction: Instruction) -> Followed:
    """Whether a reply follows an instruction, strictly and loosely.

    Loosely counts a reply that begins with "Sure, here you are:" or sets its first word in bold. It also counts some
    replies that are wrong: one whose forbidden word stands in the first line. Report both.

    Raises
    ------
    TypeError
        If the reply is no string, or the second argument no instruction.

    Notes
    -----
    Strict and loose are the ideas of IFEval (Zhou et al., 2023, arXiv 2311.07911); the checks are our own. A reply of
    more than 10,000 characters, or none, follows nothing. Reasoning between tags such as ``<think>`` is left out.
    Explained in the chapter "Checking Answers".
    """
    if not isinstance(instruction, Instruction):
        raise TypeError(f"{instruction!r:.60} is no Instruction: make one, such as no_commas()")
    try:
        text = said(reply)
    except Unreadable as error:
        return Followed(False, False, str(error))
    if len(text) > LONGEST:
        return Followed(False, False, f"the reply has more than {LONGEST:,} characters")
    why = instruction.complaint(text)
    return Followed(not why, not why or any(not instruction.complaint(variant) for variant in _variants(text)), why)


def _variants(text: str) -> Iterable[str]:
    lines = text.strip().split("\n")
    for part in (lines, lines[1:], lines[:-1], lines[1:-1]):
        whole = "\n".join(part).strip()
        for variant in (whole, MARKS.sub("", whole)):
            if variant.strip():
                yield variant


# --- length ---


def number_of_words(least: int = 0, most: int | None = None) -> Instruction:
    """At least, at most, or exactly so many words."""
    return _counted("number_of_words", "words", lambda text: len(texts.words(text)), least, most, "Write")


def number_of_sentences(least: int = 0, most: int | None = None) -> Instruction:
    """So many sentences."""
    return _counted("number_of_sentences", "sentences", lambda text: len(texts.sentences(text)), least, most, "Write")


def number_of_paragraphs(least: int = 0, most: int | None = None) -> Instruction:
    """So many paragraphs, which blank lines separate."""
    unit = "paragraphs, separated by blank lines"
    return _counted("number_of_paragraphs", unit, lambda text: len(texts.paragraphs(text)), least, most, "Write")


def number_of_bullets(least: int = 0, most: int | None = None) -> Instruction:
    """So many lines that begin with a mark such as "-" or "2."."""
    return _counted("number_of_bullets", "bullet points", texts.bullets, least, most, "Use")


# --- format ---


def no_commas() -> Instruction:
    """No comma, of any script."""

    def complaint(text: str) -> str:
        count = sum(text.count(comma) for comma in ",，、،")
        return f"{count} commas" if count else ""

    return Instruction("Do not use any commas.", "no_commas", complaint)


def lower_case() -> Instruction:
    """No capital letter, and at least one letter."""

    def complaint(text: str) -> str:
        if not any(character.isalpha() for character in text):
            return "no letters"
        capitals = [character for character in text if character.isupper() or character.istitle()]
        return f"{len(capitals)} capital letters" if capitals else ""

    return Instruction("Write everything in lower case letters.", "lower_case", complaint)


def begins_with(start: str) -> Instruction:
    """Exactly these first characters, after spaces."""
    start = _given("start", start)
    return Instruction(
        f'Begin with "{start}".',
        "begins_with",
        lambda text: "" if text.lstrip().startswith(start) else "begins otherwise",
    )


def ends_with(end: str) -> Instruction:
    """Exactly these last characters, before spaces."""
    end = _given("end", end)
    return Instruction(
        f'End with "{end}", and write nothing after it.',
        "ends_with",
        lambda text: "" if text.rstrip().endswith(end) else "ends otherwise",
    )


def json_object(schema: Mapping[str, Any]) -> Instruction:
    """A JSON object, and nothing else, that a JSON schema allows.

    Raises
    ------
    ImportError
        If jsonschema is missing: it comes with ``nbhelpers[checking]``.
    """
    try:
        import jsonschema
    except ImportError:
        raise ImportError("a schema is checked by jsonschema: pip install 'nbhelpers[checking]'") from None
    validator_class = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    validator_class.check_schema(schema)
    validator = validator_class(schema)

    def complaint(text: str) -> str:
        try:
            value = json.loads(text)
            error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        except (ValueError, RecursionError) as problem:
            return f"no JSON ({type(problem).__name__})"
        if not isinstance(value, dict):
            return "JSON, but no object"
        return "" if error is None else f"the schema forbids it: {error.message:.100}"

    wording = f"Reply with a JSON object that fits this schema, and nothing else: {json.dumps(schema)}"
    return Instruction(wording, "json_object", complaint)


# --- content ---


def keywords(counts: Mapping[str, int]) -> Instruction:
    """Each of these words or phrases, at least so many times, whatever their case."""
    wanted = {_given("keyword", word): _count("count", count, 1) for word, count in counts.items()}
    if not wanted:
        raise ValueError("there are no keywords: give them with their counts, such as {'harbour': 2}")

    def complaint(text: str) -> str:
        missing = [word for word, count in wanted.items() if occurrences(word, text) < count]
        return f"too few of {missing}" if missing else ""

    listed = ", ".join(f'"{word}" at least {_times(count)}' for word, count in wanted.items())
    return Instruction(f"Use the words {listed}.", "keywords", complaint)


def forbidden_words(words: Iterable[str]) -> Instruction:
    """None of these words or phrases, whatever their case. Parts of longer words do not count."""
    if isinstance(words, str):
        raise TypeError(f"words={words!r:.60} is one string: give a list of words")
    banned = [_given("word", word) for word in words]
    if not banned:
        raise ValueError("there are no forbidden words: give at least one")

    def complaint(text: str) -> str:
        found = [word for word in banned if occurrences(word, text)]
        return f"holds {found}" if found else ""

    return Instruction(f"Do not use the words {', '.join(map(repr, banned))}.", "forbidden_words", complaint)


def in_language(name: str) -> Instruction:
    """English, French, German, Spanish or Italian, as its commonest words tell; short replies may stay undecided."""
    if name not in texts.COMMON:
        raise ValueError(f"language {name!r} is not known: give one of {', '.join(texts.COMMON)}")

    def complaint(text: str) -> str:
        found = texts.language(text)
        return "" if found == name else f"seems to be {found or 'no language that is known'}"

    return Instruction(f"Answer in {name}.", "in_language", complaint)


def occurrences(word: str, text: str) -> int:
    """How often a word or phrase stands in a text, whatever its case, and not inside a longer word."""
    pattern = r"\s+".join(re.escape(part) for part in word.casefold().split())
    return len(re.findall(rf"(?<![^\W_]){pattern}(?![^\W_])", text.casefold()))


# --- shared ---


def _counted(kind: str, unit: str, count: Callable[[str], int], least: int, most: int | None, verb: str) -> Instruction:
    least = _count("least", least, 0)
    if most is None and least == 0:
        raise ValueError("there is no limit: give least, most, or both")
    if most is not None and _count("most", most, max(least, 1)) == least:
        wording = f"exactly {least}"
    elif most is None:
        wording = f"at least {least}"
    else:
        wording = f"at most {most}" if least == 0 else f"{least} to {most}"

    def complaint(text: str) -> str:
        found = count(text)
        return "" if least <= found and (most is None or found <= most) else f"{found} {unit.split(',')[0]}"

    return Instruction(f"{verb} {wording} {unit}.", kind, complaint)


def _given(name: str, text: str) -> str:
    if not require_text(name, text).strip():
        raise ValueError(f"the {name} is blank: give at least one letter")
    return text.strip()


def _count(name: str, count: object, least: int) -> int:
    if isinstance(count, bool) or not isinstance(count, Integral) or count < least:
        raise ValueError(f"{name}={count!r}: give a whole number, {least} or more")
    return int(count)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
