"""Which verdict a written reply holds."""

from __future__ import annotations

import re
from collections.abc import Sequence


def parse_verdict(reply: str, verdicts: Sequence[str]) -> str | None:
    """The verdict that a written reply holds, or None rather than a guess.

    The verdict must be the only one in the reply, a word of its own, with no "not" or "neither" shortly before it. Case
    matters for single letters only. "4/5" and "4 out of 5" are 4; "4.5" and the "1." of a list are no grades; an "A"
    that begins a sentence ("A good answer would …") is an article.
    """
    text = re.sub(r"(\d+)\s*(?:/|out of)\s*\d+", r"\1", reply)
    found = set()
    for verdict in verdicts:
        case = re.IGNORECASE if len(verdict) > 1 else 0
        for match in re.finditer(rf"(?<![\w.,]){re.escape(verdict)}(?!\w|[.,]\d)", text, case):
            before, after = text[: match.start()], text[match.end() :]
            numbers_a_list = verdict.isdigit() and re.match(r"[.)]\s*\w", after)
            article = (
                verdict == "A"
                and re.match(r" (?!or |and |is |was |wins)[a-z]", after)
                and re.search(r"(^|[.!?:]\W*)\W*$", before)
            )
            denied = re.search(r"(?:\bnot|n't|\bneither|\bnor)\s+(?:\w+\s+)?\W*$", before, re.IGNORECASE)
            if numbers_a_list or denied:
                return None
            if not article:
                found.add(verdict)
    return found.pop() if len(found) == 1 else None
