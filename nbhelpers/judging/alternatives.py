"""Verdict probabilities from the tokens that a server lists: what each of them begins, and how that goes on."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# What may stand before a verdict without being part of it: spaces, markup, opening brackets.
OPENING = " \t\n\r*_`\"'([{#:"


@dataclass(frozen=True)
class VerdictMass:
    """How probable each verdict is as the beginning of a reply.

    Attributes
    ----------
    probabilities : tuple of float
        Of the verdicts in their order. What is missing from 1 begins with none of them.
    unresolved : float
        Probability of tokens that begin a verdict and may begin other words too, and whose continuation the server did
        not show: it shows only how the likeliest one went on.
    unresolved_token : str
        The likeliest of these tokens.
    """

    probabilities: tuple[float, ...]
    unresolved: float = 0.0
    unresolved_token: str = ""


def tokens_needed(verdicts: Sequence[str]) -> int:
    """How many tokens of a reply show any of these verdicts to its end, and what follows it."""
    return max(map(len, verdicts)) + 2


def verdict_mass(
    tokens: Sequence[str],
    logprobs: Sequence[float],
    alternatives: Sequence[Sequence[tuple[str, float]]],
    verdicts: Sequence[str],
    finished: bool,
) -> VerdictMass:
    """Read the verdicts' probabilities from the likely tokens at each position of a reply.

    A token that is a verdict may begin a longer one ("1" and "10") or another word ("Yes" and "Yesterday"), and a
    verdict may be written in several tokens ("In", "correct"). The reply itself shows how its own tokens went on, with
    the alternatives at each step. Of the other tokens at a step nothing more is known: each counts as the verdict that
    it is, or as unresolved if it may still become a longer verdict.

    Parameters
    ----------
    tokens, logprobs, alternatives
        Of the reply, from where the verdict is to be read.
    finished : bool
        Whether the model ended the reply with the last of the tokens, rather than being cut.
    """
    mass = dict.fromkeys(verdicts, 0.0)
    unresolved: dict[str, float] = {}
    written, reached, pending = "", 1.0, None  # the reply so far, its probability, the verdict that it is so far
    for position, (token, logprob, listed) in enumerate(zip(tokens, logprobs, alternatives, strict=True)):
        is_last = position == len(tokens) - 1
        options = {token: logprob, **dict(listed)}
        # A verdict that is a token of its own is not written in pieces.
        whole = {option.strip(OPENING) for option in options} if not written.strip(OPENING) else set()
        goes_on, left = None, reached
        for option, option_logprob in options.items():
            probability = reached * math.exp(option_logprob)
            left -= probability
            kind, verdict = _classify(written + option, verdicts, whole, ended=option == "")
            if option == token and kind != "other" and not is_last:
                goes_on = (written + token, probability, verdict)
            elif kind == "verdict" or (option == token and is_last and finished and verdict is not None):
                mass[verdict] += probability
            elif kind == "open" and _strip(written + option):
                unresolved[option] = unresolved.get(option, 0.0) + probability
        if pending is not None:
            mass[pending] += max(left, 0.0)  # tokens that are not listed end the word
        if goes_on is None:
            break
        written, reached, pending = goes_on
    return VerdictMass(
        tuple(mass[verdict] for verdict in verdicts),
        math.fsum(unresolved.values()),
        max(unresolved, key=unresolved.get, default=""),
    )


def _classify(
    text: str, verdicts: Sequence[str], whole: set[str], ended: bool
) -> tuple[Literal["verdict", "open", "other"], str | None]:
    """What the beginning of a reply is: a verdict, the beginning of one that may go on, or something else."""
    text = _strip(text)
    complete = max((verdict for verdict in verdicts if _is_complete(text, verdict, verdicts)), key=len, default=None)
    if ended:
        return ("other", None) if complete is None else ("verdict", complete)
    goes_on = any(verdict != text and verdict.startswith(text) and verdict not in whole for verdict in verdicts)
    if complete is not None and complete.isdigit():
        rest = text[len(complete) :]
        goes_on = goes_on or rest in (".", ",") or rest.strip() == "/"  # 4 is a grade, 4.5 and 4/10 may be none
    if goes_on:
        return "open", complete
    return ("other", None) if complete is None else ("verdict", complete)


def _is_complete(text: str, verdict: str, verdicts: Sequence[str]) -> bool:
    """Whether the text begins with the verdict as a word: of grades to 5, "4/5" is a 4; "4.5", "4/10", "40" are not."""
    rest = text[len(verdict) :]
    if not text.startswith(verdict) or re.match(r"\w", rest):
        return False
    if not verdict.isdigit():
        return True
    fraction = re.match(r"\s*/\s*(\d+)", rest)
    top = str(max(int(v) for v in verdicts if v.isdigit()))
    return not re.match(r"[.,]\d", rest) and (fraction is None or fraction[1] == top)


def _strip(text: str) -> str:
    return text.lstrip(OPENING)
