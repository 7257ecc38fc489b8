"""Verdicts as distributions, held to closed forms, and what two orders say together."""

import math

import pytest

from nbhelpers import PairVerdict, Template, Verdict
from nbhelpers.judging.templates import PAIR_OR_TIE, YES_NO
from nbhelpers.judging.verdicts import from_log_probabilities


def test_a_tie_is_what_the_likeliest_verdict_says():
    """A 0.06, B 0.04, tie 0.90, in both orders: the expected score leans to A, the verdict is a tie."""
    one, other = (
        from_log_probabilities(PAIR_OR_TIE, [math.log(p) for p in shares])
        for shares in ((0.06, 0.04, 0.90), (0.04, 0.06, 0.90))
    )
    pair = PairVerdict(one, other)
    assert (one.verdict, one.value, pair.winner, pair.consistent) == ("C", 0.5, "tie", True)
    assert pair.preference == pytest.approx(0.51)


@pytest.mark.parametrize(
    "straight, swapped, winner, consistent, preference, position",
    [
        (0.9, 0.2, "first", True, 0.85, 0.55),  # first wins wherever it stands
        (0.1, 0.8, "second", True, 0.15, 0.45),
        (0.9, 0.9, "tie", False, 0.5, 0.9),  # whatever is shown first wins: MT-Bench counts a tie
        (0.5, 0.5, "tie", True, 0.5, 0.5),
        (0.9, 0.5, "tie", False, 0.7, 0.7),  # a win and a tie: not the same, so a tie
        (None, 0.9, None, None, None, None),  # half a comparison is none
    ],
)
def test_two_orders(straight, swapped, winner, consistent, preference, position):
    pair = PairVerdict(Verdict("A", straight, straight), Verdict("A", swapped, swapped))
    assert (pair.winner, pair.consistent) == (winner, consistent)
    assert pair.preference == (None if preference is None else pytest.approx(preference))
    assert pair.position_preference == (None if position is None else pytest.approx(position))


@pytest.mark.parametrize(
    "logprobs, probabilities, score, outside",
    [
        ([math.log(0.3), math.log(0.1)], (0.75, 0.25), 0.75, 0.6),
        ([-2000.0, -2000.0 - math.log(3)], (0.75, 0.25), 0.75, 1.0),  # too unlikely to exponentiate, and still read
        ([math.log(0.5), -math.inf], (1.0, 0.0), 1.0, 0.5),
        ([math.log(0.5), math.log(0.5) + 1e-9], (0.5, 0.5), 0.5, 0.0),  # rounding leaves no negative mass
    ],
)
def test_the_distribution_over_verdicts(logprobs, probabilities, score, outside):
    verdict = from_log_probabilities(YES_NO, logprobs)
    assert verdict.probabilities == pytest.approx(probabilities, abs=1e-9)
    assert verdict.score == pytest.approx(score, abs=1e-9)
    assert verdict.outside == pytest.approx(outside, abs=1e-8) and verdict.outside >= 0


def test_a_grade_is_the_expected_value():
    """G-Eval: the sum of grade x probability, here 1 x 0.2 + 3 x 0.3 + 5 x 0.5."""
    template = Template("{answer}", ("1", "3", "5"), (1, 3, 5))
    verdict = from_log_probabilities(template, [math.log(0.1), math.log(0.15), math.log(0.25)])
    assert verdict.score == pytest.approx(3.6) and verdict.verdict == "5" and verdict.outside == pytest.approx(0.5)
