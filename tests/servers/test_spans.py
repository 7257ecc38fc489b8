"""Tokens and the characters that they cover, from spellings as vLLM gives them."""

import random

import pytest

from nbhelpers.servers.reading import Failure
from nbhelpers.servers.spans import PART, align

# text, pieces, the spans, the tokens as text, why
CASES = [
    ("the red", ["the", " red"], [(0, 3), (3, 7)], ["the", " red"], "one piece each"),
    ("the red", [None, " red"], [(0, 3), (3, 7)], ["the", " red"], "the first is what the others leave"),
    ("é", [None, "é"], [(0, 1)] * 2, [PART, PART], "the first is a part of a character"),
    ("日x", ["", "", "日", "x"], [(0, 1)] * 3 + [(1, 2)], [PART] * 3 + ["x"], "three bytes, three tokens"),
    ("a “b", ["a", "", " “", "b"], [(0, 1), (1, 3), (2, 3), (3, 4)], ["a", " " + PART, PART, "b"], "GPT-2's quote"),
    ("é!", ["", "é!"], [(0, 1), (0, 2)], [PART, PART + "!"], "the last byte shares a token"),
    ("the red", [" the", " red"], [(0, 3), (3, 7)], ["the", " red"], "SentencePiece puts a space before a text"),
    ("ab", ["a", "", "b"], [(0, 1), (1, 1), (1, 2)], ["a", "", "b"], "a token without text"),
    ("ab", ["a", "b", ""], [(0, 1), (1, 2), (2, 2)], ["a", "b", ""], "the same at the end"),
]


@pytest.mark.parametrize("text, pieces, spans, tokens, why", CASES)
def test_spans(text, pieces, spans, tokens, why):
    found = align(text, pieces)
    assert (list(found.spans), list(found.tokens), found.unclear) == (spans, tokens, ()), why


@pytest.mark.parametrize(
    "text, pieces",
    [
        ("the red", ["the", "red"]),  # a space is lost
        ("the red", ["the", " red", "</s>"]),  # something follows
        ("the red", ["<s>", "the", " red"]),  # something precedes
        ("the red", [None, "the red!"]),
        ("the red", []),
        ("a\ufffd", ["a", ""]),  # the sign for what is no character, written out
        ("  red", [" red"]),
    ],
)
def test_tokens_that_do_not_join_to_the_text_are_a_failure(text, pieces):
    with pytest.raises(Failure, match="which is not the text"):
        align(text, pieces)


def test_random_cuts_of_bytes_are_told_or_called_unclear():
    """Against the bytes themselves, which a server does not show."""
    rng, told = random.Random(0), 0
    for _ in range(3000):
        text = "".join(rng.choice("ab é“日😀") for _ in range(rng.randint(1, 8)))
        content = text.encode()
        cuts = sorted(rng.sample(range(1, len(content)), rng.randint(0, len(content) - 1))) if len(content) > 1 else []
        tokens = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
        begins = [len(text[:i].encode()) for i in range(len(text) + 1)]  # of the characters, in bytes
        want, pieces, held, at = [], [], b"", 0
        for token in tokens:
            covered = [i for i in range(len(text)) if begins[i] < at + len(token) and begins[i + 1] > at]
            want.append((covered[0], covered[-1] + 1))
            at += len(token)
            held += token
            if at in begins:
                pieces.append(held.decode())
                held = b""
            else:
                pieces.append("")
        found = align(text, pieces)
        for (start, end), true in zip(found.spans, want, strict=True):
            if (start, end) not in found.unclear:
                assert (start, end) == true, (text, tokens)
                told += 1
            else:
                assert start <= true[0] < true[1] <= end
    assert told > 10_000
