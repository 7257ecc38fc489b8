"""A server's log-probabilities: checked, and cut to the tokens of the text that they belong to."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Half-precision servers round: the probabilities of a token's alternatives may add up to this, and no further.
LARGEST_TOTAL = 1.1
# Rounding may put a log-probability slightly above 0. Anything higher is none.
LARGEST_LOGPROB = 1e-3

_MARKS = re.compile(rb"\s*(?:<[^<>\s]{1,40}>\s*){0,4}")  # what ends a reasoning, such as </think>


class TokenLogprobs(NamedTuple):
    """The tokens of a text, their log-probabilities in nats, and the alternatives to each, best first."""

    tokens: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    alternatives: tuple[tuple[tuple[str, float], ...], ...] = ()


def has_logprobs(choice: Mapping[str, Any]) -> bool:
    """Whether the server sent alternatives for any token, whatever they are worth."""
    try:
        return any(entry["top_logprobs"] for entry in choice["logprobs"]["content"])
    except Exception:
        return False


def read_logprobs(choice: Mapping[str, Any], text: str, reasoning: str | None, cut: bool) -> TokenLogprobs:
    """The log-probabilities of `text`; ValueError, with the reason, if there are none that make sense.

    `cut` says whether a stop string may have cut the text, so that tokens after it do not belong to the reply.
    """
    try:
        entries = choice["logprobs"]["content"]
        pairs = [_pair(entry) for entry in entries]
        alternatives = [_alternatives(entry["top_logprobs"]) for entry in entries]
        if not pairs:
            raise ValueError("no token has any")
        first, last = _place([_spelling(entry) for entry in entries], text, reasoning, cut)
    except MemoryError:
        raise
    except ValueError:
        raise
    except Exception as error:  # foreign data: a list for a mapping, a text for a number, whatever comes
        raise ValueError(f"they are unreadable: {type(error).__name__}") from None
    if first == last:
        return TokenLogprobs()
    tokens, logprobs = zip(*pairs[first:last], strict=True)
    return TokenLogprobs(tokens, logprobs, tuple(alternatives[first:last]))


def _pair(entry: Mapping[str, Any]) -> tuple[str, float]:
    token, logprob = entry["token"], entry["logprob"]
    if not isinstance(token, str):
        raise ValueError(f"a token is not text but {type(token).__name__}")
    if type(logprob) not in (int, float):
        raise ValueError(f"a log-probability is not a number but {type(logprob).__name__}")
    try:
        value = float(logprob)
    except OverflowError:
        raise ValueError("a log-probability is out of range") from None
    if not value <= LARGEST_LOGPROB:  # NaN too
        raise ValueError(f"{value:g} is no log-probability")
    return token, value


def _alternatives(entries: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, float], ...]:
    # Some servers name the chosen token twice: first, and again among the likely ones.
    pairs = list(dict.fromkeys(map(_pair, entries)))
    if not pairs:
        raise ValueError("a token has no alternatives")
    total = math.fsum(math.exp(logprob) for _, logprob in pairs)
    if total > LARGEST_TOTAL:
        raise ValueError(f"the probabilities of a token's alternatives add up to {total:.3g}")
    # Sort, because some servers put the chosen token before likelier ones.
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))


def _spelling(entry: Mapping[str, Any]) -> bytes:
    """The bytes of a token: a character may be spread over several tokens, and their texts cannot show that."""
    listed = entry.get("bytes")
    if isinstance(listed, list) and all(type(byte) is int and 0 <= byte < 256 for byte in listed):
        return bytes(listed)
    return entry["token"].encode("utf-8", "surrogatepass")


def _place(spellings: Sequence[bytes], text: str, reasoning: str | None, cut: bool) -> tuple[int, int]:
    """The first token of the text, and the one after its last.

    Without a stop string, what follows the text stays: it is the token that ended it, such as ``<|im_end|>``.
    """
    whole, wanted = b"".join(spellings), text.encode("utf-8", "surrogatepass")
    begin = _find(whole, wanted, reasoning)
    if begin is None:  # tokens spelled as the vocabulary has them
        plain = [
            s.replace("▁".encode(), b" ").replace("Ġ".encode(), b" ").replace("Ċ".encode(), b"\n") for s in spellings
        ]
        whole, spellings = b"".join(plain), plain
        begin = _find(whole, wanted, reasoning)
    if begin is None:
        if cut:
            raise ValueError("they do not line up with the text, which a stop string may have cut")
        return 0, len(spellings)
    end, first, last, position = begin + len(wanted), 0, len(spellings), 0
    for number, spelling in enumerate(spellings):
        if position + len(spelling) <= begin and position < begin:
            first = number + 1
        if cut and position >= end:
            last = number
            break
        position += len(spelling)
    return min(first, last), last


def _find(whole: bytes, wanted: bytes, reasoning: str | None) -> int | None:
    """Where the text begins in what the tokens spell: at once, after spaces, or after the reasoning."""
    if reasoning and reasoning.strip():
        thought = reasoning.strip().encode("utf-8", "surrogatepass")
        after = whole.find(thought)
        if after >= 0:
            after = _MARKS.match(whole, after + len(thought)).end()
            begin = whole.find(wanted.strip(), after)
            return begin if begin >= 0 else None
    if whole.startswith(wanted):
        return 0
    spaces = len(whole) - len(whole.lstrip())
    return spaces if whole.startswith(wanted.strip(), spaces) else None
