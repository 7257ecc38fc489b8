"""Verdicts are read to their end from the tokens that a server lists, or are left unresolved."""

import math

import pytest

from nbhelpers.judging.alternatives import tokens_needed, verdict_mass

TENS = tuple(map(str, range(1, 11)))
FIVES = tuple("12345")


def reply(*steps):
    """Tokens, log-probabilities and alternatives of a reply: each step a {token: probability}, the chosen first."""
    tokens = [next(iter(step)) for step in steps]
    logprobs = [math.log(step[token]) for token, step in zip(tokens, steps, strict=True)]
    alternatives = [[(token, math.log(p)) for token, p in step.items()] for step in steps]
    return tokens, logprobs, alternatives


@pytest.mark.parametrize(
    "verdicts, steps, finished, expected, unresolved, why",
    [
        (("A", "B"), [{"A": 0.5, "B": 0.2, " A": 0.1}], False, (0.6, 0.2), 0, "a leading space is no other verdict"),
        (("A", "B"), [{"**B": 0.7, "**A": 0.2}], False, (0.2, 0.7), 0, "markup is no other verdict"),
        (("A", "B"), [{"Answer": 0.9, "A": 0.1}], False, (0.1, 0), 0, "another word"),
        (("A", "B"), [{"\n": 0.8, "A": 0.1}, {"B": 0.9, "A": 0.1}], False, (0.18, 0.72), 0, "a line break comes first"),
        (
            TENS,
            [{"1": 0.95, "9": 0.05}, {"0": 0.9, "\n": 0.1}],
            False,
            (0.095, *[0] * 7, 0.05, 0.855),
            0,
            "10, by digits",
        ),
        (TENS, [{"10": 0.9, "1": 0.1}], False, (0.1, *[0] * 8, 0.9), 0, "10 is a token: 1 is a 1"),
        (TENS, [{"8": 0.6, "1": 0.4}], False, (*[0] * 7, 0.6, 0, 0), 0.4, "1 or 10? nothing shows how it goes on"),
        (TENS, [{"1": 0.9}, {"": 1.0}], True, (0.9, *[0] * 9), 0, "the reply ends after 1"),
        (
            TENS,
            [{"1": 0.9}, {"<|im_end|>": 0.9, "0": 0.1}],
            True,
            (0.81, *[0] * 8, 0.09),
            0,
            "an end token is no digit",
        ),
        (TENS, [{"1": 1.0}], False, (0,) * 10, 1.0, "cut after 1"),
        (TENS, [{"1": 1.0}], True, (1.0, *[0] * 9), 0, "ended after 1"),
        (FIVES, [{"1": 1.0}, {"0": 0.9, ".": 0.1}], False, (0.0, 0, 0, 0, 0), 0.1, "10 is no grade of 5"),
        (FIVES, [{"4": 1.0}, {".": 1.0}, {"5": 1.0}], False, (0,) * 5, 0, "4.5 is no grade"),
        (FIVES, [{"4": 1.0}, {"/": 1.0}, {"5": 1.0}], False, (0, 0, 0, 1.0, 0), 0, "4/5"),
        (FIVES, [{"4": 1.0}, {"/": 1.0}, {"10": 1.0}], False, (0,) * 5, 0, "4/10 is no grade of 5"),
        (FIVES, [{"4": 1.0}, {".": 0.9, "\n": 0.1}, {" ": 1.0}], False, (0, 0, 0, 1.0, 0), 0, "4. and a word"),
        (
            ("Correct", "Incorrect"),
            [{"In": 0.97, "Correct": 0.02}, {"correct": 0.99, "deed": 0.01}],
            False,
            (0.02, 0.9603),
            0,
            "a verdict in two tokens",
        ),
        (("Correct", "Incorrect"), [{"Correct": 0.6, "In": 0.38}], False, (0.6, 0), 0.38, "In what? it is not shown"),
        (("Correct", "Incorrect"), [{"Correct": 0.6, "Incorrect": 0.3, "In": 0.1}], False, (0.6, 0.3), 0, "not needed"),
        (("Yes", "No"), [{"Yes": 0.9, "No": 0.1}, {"terday": 0.8, ",": 0.1}], False, (0.18, 0.1), 0, "Yesterday"),
        (("Yes", "No"), [{"Yes": 0.9, "No": 0.1}, {".": 0.5}], False, (0.9, 0.1), 0, "unlisted tokens end the word"),
        (
            ("Yes", "Yes, but"),
            [{"Yes": 1.0}, {",": 0.7, ".": 0.3}, {" but": 0.5, " it": 0.5}],
            False,
            (0.65, 0.35),
            0,
            "",
        ),
        (("Yes", "No"), [], True, (0, 0), 0, "an empty reply"),
    ],
)
def test_what_the_listed_tokens_say(verdicts, steps, finished, expected, unresolved, why):
    found = verdict_mass(*reply(*steps), verdicts, finished)
    assert found.probabilities == pytest.approx(expected, abs=1e-9), why
    assert found.unresolved == pytest.approx(unresolved, abs=1e-9), why


def test_the_token_that_could_not_be_read_to_its_end_is_named():
    assert verdict_mass(*reply({"8": 0.6, "1": 0.4}), TENS, False).unresolved_token == "1"


def test_a_chosen_token_that_is_not_among_the_alternatives_counts():
    tokens, logprobs, _ = reply({"B": 0.2})
    found = verdict_mass(tokens, logprobs, [[("A", math.log(0.7))]], ("A", "B"), False)
    assert found.probabilities == pytest.approx((0.7, 0.2))


@pytest.mark.parametrize("verdicts, least", [(("A", "B"), 2), (TENS, 3), (("Correct", "Incorrect"), 9)])
def test_enough_tokens_are_asked_for(verdicts, least):
    """One token a character at worst, and what follows the verdict."""
    assert tokens_needed(verdicts) >= least
