"""What the checks of instructions count in a text: words, sentences, paragraphs, points of a list, a language."""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"[^\W_]++(?:[-'’.&][^\W_]++)*+")
SENTENCE_END = re.compile(r"[.!?…。！？]++[)\"'”’*_]{0,3}(?=\s|$)")
ABBREVIATION = re.compile(r"(?:\b(?:[A-Z]|e\.g|i\.e|etc|vs|mr|mrs|ms|dr|prof|st|no|fig|approx)|^\s{0,8}\d{1,2})$", re.I)
BULLET = re.compile(r"^[ \t]{0,8}(?:[-*+•–·▪]|\d{1,3}[.)])[ \t]++\S", re.MULTILINE)

# The commonest short words of each language that are rare in the others.
COMMON = {
    "English": "the and of to in is that it for was with are this you not have be on at by from they we which an or as",
    "French": "le les des et une est que pour dans ce il qui sur pas plus par avec sont au du nous vous mais elle la",
    "German": "der die das und ist nicht ein eine zu den mit von auf für im sich dem auch es wir sie ich dass war sind",
    "Spanish": "el los las y una es que para en no por con su del se lo más como pero al son este está la de un",
    "Italian": "il gli le e una è che per di non con del si lo più come ma al sono questo della nel la un ha i",
}
COMMON_WORDS = {name: frozenset(common.split(" ")) for name, common in COMMON.items()}
MOSTLY = 0.6  # share of the common words that must belong to the language


def words(text: str) -> list[str]:
    """Runs of letters and digits; "isn't", "well-known" and "3.5" are one word each."""
    return WORD.findall(text)


def sentences(text: str) -> list[str]:
    """Parts of lines that end in a mark of the end, or with their line; "e.g." and "J." end none."""
    found = []
    for line in text.splitlines():
        start = 0
        for end in SENTENCE_END.finditer(line):
            if end[0] == "." and ABBREVIATION.search(line, max(start, end.start() - 12), end.start()):
                continue
            found.append(line[start : end.end()])
            start = end.end()
        found.append(line[start:])
    return [sentence.strip() for sentence in found if WORD.search(sentence)]


def paragraphs(text: str) -> list[str]:
    """Parts between blank lines."""
    return [part.strip() for part in re.split(r"\n[ \t]*+\n", text) if part.strip()]


def bullets(text: str) -> int:
    """Lines that begin with a mark such as "-" or "2." and a space."""
    return len(BULLET.findall(text))


def language(text: str) -> str | None:
    """English, French, German, Spanish or Italian, or None where the common words do not settle it.

    It needs five common words. Texts in other languages are None, or mistaken for a relative.
    """
    said = [word.casefold() for word in words(unicodedata.normalize("NFC", text))]
    counts = {name: sum(word in common for word in said) for name, common in COMMON_WORDS.items()}
    first, second = sorted(counts, key=counts.__getitem__, reverse=True)[:2]
    total = sum(any(word in common for common in COMMON_WORDS.values()) for word in said)
    settled = total >= 5 and counts[first] >= MOSTLY * total and counts[first] > counts[second]
    return first if settled else None
