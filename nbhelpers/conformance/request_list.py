"""The requests: a few hundred prompts and answers, each there for a fault that it would show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .models import CONTEXT, find_architecture
from .vocabulary import COUNTED, END, START, WORDS, encode

# Rows of the same length for what must not depend on padding, and the lengths for what may.
EVEN = 24
UNEVEN = (3, 4, 5, 7, 9, 12, 16, 21, 27, 34, 42, 51, 61, 72, 84, 97)


@dataclass(frozen=True)
class Request:
    """One question: how probable is `answer` after `prompt`?

    Attributes
    ----------
    kind : str
        Why it is asked. "plain": short, nothing special. "bos": what stands before. "boundary": where the answer
        begins. "unlikely": an answer of very low probability. "even", "uneven": rows of one length, of many.
        "cuts", "short cuts": one text cut at several places. "answers": several answers to one prompt. "long": as long
        as the model can read. "over": longer.
    prompt, answer : str
        The answer is never empty.
    """

    kind: str
    prompt: str
    answer: str

    @property
    def pair(self) -> tuple[str, str]:
        """Prompt and answer."""
        return self.prompt, self.answer

    @property
    def tokens(self) -> int:
        """Tokens of prompt and answer, without any that a tokenizer puts before them."""
        return len(encode(self.prompt + self.answer))

    def __str__(self) -> str:
        return f"{_shown(self.prompt)} + {_shown(self.answer)}"


def _shown(text: str, longest: int = 44) -> str:
    return repr(text if len(text) <= longest else f"{text[: longest // 2]}…{text[-longest // 2 + 1 :]}")


class _Words:
    """Words in an order that raw bits decide, the same everywhere."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)
        # The words that the model "counts" counts come often, or it would have little to count.
        self._words = [*COUNTED * 5, *(word for word in WORDS if word not in ("ret", "urn"))]

    def some(self, count: int) -> str:
        """So many tokens: each word has a space before it."""
        draws = self._bits.random_raw(count) if count else ()
        return "".join(" " + self._words[int(draw >> np.uint64(40)) % len(self._words)] for draw in draws)

    def number(self, low: int, high: int) -> int:
        return low + int(self._bits.random_raw() >> np.uint64(40)) % (high - low + 1)


def requests(architecture: str = "llama", longest: int = CONTEXT) -> tuple[Request, ...]:
    """What is asked of a backend that serves a model of :func:`write_model`.

    Parameters
    ----------
    architecture : str
        As for :func:`write_model`. It decides how many tokens stand before a text.
    longest : int
        Tokens of the longest row that the backend scores, start token included: the model's 128, or fewer at a server
        that needs room for a generated token.

    Returns
    -------
    tuple of Request
        The same on every machine.
    """
    puts_start = find_architecture(architecture).puts_start
    lowest = UNEVEN[-1] + 1 + puts_start
    if not lowest <= longest <= CONTEXT:
        raise ValueError(f"longest={longest!r}: give the longest row in tokens, from {lowest} to {CONTEXT}")
    words = _Words(0)
    made = [*_plain(words), *_bos(words), *_boundary(), *_unlikely(words), *_rows(words), *_shared(words)]
    return (*made, *_long(words, longest - puts_start), *_short_cuts(_Words(1)))


def _split(kind: str, text: str, answer_tokens: int) -> Request:
    """Cut a text of words so that the answer has so many tokens."""
    place = len(text)
    for _ in range(answer_tokens):
        place = text.rindex(" ", 0, place)
    return Request(kind, text[:place], text[place:])


def _plain(words: _Words) -> list[Request]:
    return [_split("plain", words.some(words.number(6, 20)), words.number(1, 5)) for _ in range(48)]


def _bos(words: _Words) -> list[Request]:
    # These begin with a bare word and all others with a space, so that they share no beginning with what was read.
    empty = [Request("bos", "", word + words.some(words.number(0, 5))) for word in WORDS[:8]]
    # The start token is written out already, as a chat template writes it.
    written = [start + " red red" + words.some(2) for start in (START, END) for _ in range(2)]
    return empty + [Request("bos", prompt, " red" + words.some(1)) for prompt in written]


def _boundary() -> list[Request]:
    # Some libraries replace the rule by which a Qwen tokenizer cuts and normalises a text. These texts have the same
    # tokens under either rule.
    pairs = [
        (" ret", "urn"),  # " return" is one token
        (" ret", "urn of the king"),
        (" end", "ing"),
        (" e", "nd of the day"),
        ("\nret", "urn"),
        ("\ndef ret", "urn red"),
        (" street", " urn"),  # nothing merges
        (" is ", "king"),  # the space belongs to " king"
        (" is  ", "king"),
        (" is   ", "king and queen"),
        (" is\n", "king"),
        (" is\n", " king"),
        (" is\n\n", "\n king"),
        (" is", "  king"),
        (" is", "."),
        (" is", ", the queen"),
        (" is 4", "2"),
        (" is", " 42"),
        (" caf", "é is red"),  # two bytes
        (" é", "é"),
        (" 東", "京"),  # three bytes
        (" 😀", "😀 is red"),  # four bytes
        (" q", "\u0301d"),  # an accent that belongs to the letter before, and has no character of its own with it
        (" is", " "),
    ]
    # Each begins with a word of its own.
    return [
        Request("boundary", f" {word}{prompt}", answer)
        for word, (prompt, answer) in zip(WORDS[30:], pairs, strict=False)
    ]


def _unlikely(words: _Words) -> list[Request]:
    """Single bytes that no text of words leads to: their probabilities go down to 1e-8."""
    odd = ("\x00", "\x07", "ÿ", "~", "Q", "\t", "#", "Z", "\x1b", "@", "%", "^")
    return [Request("unlikely", words.some(7), answer) for answer in odd]


def _rows(words: _Words) -> list[Request]:
    even = [_split("even", words.some(EVEN), words.number(1, 6)) for _ in range(24)]
    return even + [_split("uneven", words.some(length), 2) for length in UNEVEN for _ in range(3)]


def _shared(words: _Words) -> list[Request]:
    cuts = [_split("cuts", text, n) for text in (words.some(EVEN) for _ in range(8)) for n in (1, 2, 3, 5, 8, 13)]
    prompts = [words.some(EVEN - 3) for _ in range(4)]
    return cuts + [Request("answers", prompt, words.some(3)) for prompt in prompts for _ in range(8)]


def _short_cuts(words: _Words) -> list[Request]:
    """So that a fault shows itself in a text that fits into a line."""
    return [_split("short cuts", text, n) for text in (words.some(5) for _ in range(2)) for n in (1, 2, 3, 4)]


def _long(words: _Words, longest: int) -> list[Request]:
    rows = [_split("long", words.some(longest - less), answer) for less in (0, 1) for answer in (1, 3, longest // 2)]
    return [*rows, *(_split("over", words.some(CONTEXT + more), 3) for more in (8, CONTEXT))]
