"""Agreement of raters: closed forms, published examples, other libraries as oracles, warnings and errors."""

import math

import numpy as np
import pytest
from statistics_cases import NAN, A, B, Z, limits, warned_at, written_at

from nbhelpers import statistics as st


def spread(table):
    """Two lists of labels that give this contingency table."""
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [i for i, _ in pairs], [j for _, j in pairs]


@pytest.mark.parametrize(
    "table, kappa",
    [
        ([[25, 25], [25, 25]], 0.0),  # two fair coins
        ([[20, 5], [10, 15]], 0.4),  # observed 0.7, by chance 0.5
        ([[40, 10], [40, 10]], 0.0),  # b ignores the items: half agree, as by chance
        ([[9, 1], [0, 10]], 0.9),  # observed 0.95, by chance 0.5; the interval ends at 1
        ([[1, 9], [10, 0]], -0.9),  # and at -1
        ([[0, 30], [30, 0]], -1.0),  # always the opposite
        ([[10, 2, 0], [3, 12, 1], [0, 4, 8]], (0.75 - 0.345) / (1 - 0.345)),  # (12*13 + 16*18 + 12*9) / 40^2
    ],
)
def test_kappa(table, kappa):
    from sklearn.metrics import cohen_kappa_score

    a, b = spread(table)
    if kappa == -1:
        with pytest.warns(UserWarning, match="no width"):
            result = st.cohen_kappa(a, b)
    else:
        result = st.cohen_kappa(a, b)
    assert result.estimate == pytest.approx(kappa, abs=1e-12)
    assert result.estimate == pytest.approx(cohen_kappa_score(a, b))
    # The delta method, with a numerical gradient with respect to the shares of the table.
    shares = np.array(table) / np.sum(table)

    def kappa_of(p):
        chance = p.sum(0) @ p.sum(1) / p.sum() ** 2
        return (np.trace(p) / p.sum() - chance) / (1 - chance)

    h = 1e-6
    slopes = np.zeros(shares.shape)
    for cell in np.ndindex(shares.shape):
        step = np.zeros(shares.shape)
        step[cell] = h
        slopes[cell] = (kappa_of(shares + step) - kappa_of(shares - step)) / (2 * h)
    variance = ((shares * slopes**2).sum() - (shares * slopes).sum() ** 2) / np.sum(table)
    assert result.standard_error == pytest.approx(math.sqrt(max(0, variance)), abs=1e-6)
    assert result.low == pytest.approx(max(-1, result.estimate - Z * result.standard_error))
    assert result.high == pytest.approx(min(1, result.estimate + Z * result.standard_error))


def test_kappa_takes_any_labels():
    words = st.cohen_kappa(["good", "bad", "good", "bad", "ugly"], ["good", "bad", "bad", "bad", "ugly"])
    assert words == st.cohen_kappa([7, 3, 7, 3, 1], [7, 3, 3, 3, 1])


def test_a_rater_who_never_changes_gets_kappa_0_and_a_warning():
    with pytest.warns(UserWarning, match="no width"):
        assert st.cohen_kappa(["yes"] * 4, ["yes", "no", "yes", "no"]).estimate == 0


# The example of the krippendorff package: 3 raters, 15 items.
EXAMPLE = [
    [NAN, NAN, NAN, NAN, NAN, 3, 4, 1, 2, 1, 1, 3, 3, NAN, 3],
    [1, NAN, 2, 1, 3, 3, 4, 3, NAN, NAN, NAN, NAN, NAN, NAN, NAN],
    [NAN, NAN, 2, 1, 3, 4, 4, NAN, 2, 1, 1, 3, 3, NAN, 4],
]
# Krippendorff (2011), example C: 4 raters, 12 items.
FOUR_RATERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


@pytest.mark.parametrize(
    "ratings, level, expected",
    [
        (EXAMPLE, "nominal", 0.691358),
        (EXAMPLE, "interval", 0.810845),
        (FOUR_RATERS, "nominal", 0.743),
        (FOUR_RATERS, "ordinal", 0.815),
        (FOUR_RATERS, "interval", 0.849),
        (FOUR_RATERS, "ratio", 0.797),
        # One of 4 items disagrees; 5 values "x", 3 values "y": 1 - (2 / 8) / (2 * 5 * 3 / (8 * 7))
        ([["x", "x", "y", "y"], ["x", "x", "y", "x"]], "nominal", 1 - 0.25 / (30 / 56)),
        # A single rating has nothing to agree with: the "z" changes nothing
        ([["x", "x", "y", "y", "z"], ["x", "x", "y", "x", None]], "nominal", 1 - 0.25 / (30 / 56)),
    ],
)
def test_alpha(ratings, level, expected):
    result = st.krippendorff_alpha(ratings, level)
    assert result.estimate == pytest.approx(expected, abs=5e-4)
    assert -1 <= result.low < result.estimate < result.high <= 1


def test_alpha_resamples_items():
    """The oracle resamples the columns of the table in a plain loop, with other random numbers."""
    from krippendorff import alpha

    rng = np.random.default_rng(7)
    truth = rng.integers(0, 3, 80)
    ratings = np.array([np.where(rng.random(80) < 0.7, truth, rng.integers(0, 3, 80)) for _ in range(3)])
    result = st.krippendorff_alpha(ratings)
    columns = [ratings[:, rng.integers(80, size=80)] for _ in range(1_000)]
    loop = [alpha(reliability_data=c, level_of_measurement="nominal") for c in columns]
    assert limits(result) == pytest.approx(np.quantile(loop, [0.025, 0.975]), abs=0.03)
    assert result == st.krippendorff_alpha(ratings) != st.krippendorff_alpha(ratings, seed=1)


def test_undefined_resamples_of_alpha_count_as_the_worst():
    """Of two items, half the resamples hold the same one twice: a single label, so alpha is 0 / 0."""
    assert limits(st.krippendorff_alpha([["x", "y"], ["x", "y"]])) == (-1, 1)


def test_perfect_agreement_is_reported_with_a_warning():
    with pytest.warns(UserWarning, match="no width"):
        assert st.krippendorff_alpha([[1, 2] * 20, [1, 2] * 20]).estimate == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: st.cohen_kappa([1, 2] * 20, [1, 2] * 20),
        lambda: st.krippendorff_alpha([[1, 2] * 20, [1, 2] * 20]),
    ],
)
def test_the_warning_points_at_the_caller(call):
    assert warned_at(call) == [written_at(call)]


BAD_INPUT = [
    (lambda: st.cohen_kappa([], []), ValueError, "a is empty"),
    (lambda: st.cohen_kappa(["x"], ["y"]), ValueError, "a holds 1 item"),
    (lambda: st.cohen_kappa(A, B[:9]), ValueError, "a has 10 items and b has 9"),
    (lambda: st.cohen_kappa("yes", "yes"), TypeError, "a must be a list"),
    (lambda: st.cohen_kappa(["x", NAN], ["x", "y"]), ValueError, r"item 1 of a has no label \(None or NaN\)"),
    (lambda: st.cohen_kappa(["x"] * 3, ["x"] * 3), ValueError, "both raters said 'x' every time: kappa is 0 / 0"),
    (lambda: st.krippendorff_alpha([]), ValueError, "ratings has 0 row"),
    (lambda: st.krippendorff_alpha([A]), ValueError, "ratings has 1 row: give one row for each rater"),
    (lambda: st.krippendorff_alpha([A, B[:9]]), ValueError, "rater 0 has 10 items and ratings of rater 1 has 9"),
    (lambda: st.krippendorff_alpha(["abab", "abba"]), TypeError, "ratings of rater 0 must be a list"),
    (lambda: st.krippendorff_alpha([[1, None], [None, 1]]), ValueError, "0 items have two ratings or more"),
    (lambda: st.krippendorff_alpha([[1, 2], [1, None]]), ValueError, "1 items have two ratings or more"),
    (lambda: st.krippendorff_alpha([[1, 1], [1, 1]]), ValueError, "every rating is 1: alpha is 0 / 0"),
    (lambda: st.krippendorff_alpha([[1, 1, 2], [1, 1, NAN]]), ValueError, "every rating is 1: alpha is 0 / 0"),
    (lambda: st.krippendorff_alpha([["x", "y"], ["x", "y"]], "ordinal"), TypeError, "ratings must hold numbers"),
    (
        lambda: st.krippendorff_alpha([[-1, 2], [1, 2]], "ratio"),
        ValueError,
        "the rating -1 is negative, .* level='interval'",
    ),
    (lambda: st.krippendorff_alpha(EXAMPLE, "cardinal"), ValueError, "level='cardinal' is unknown"),
    (lambda: st.krippendorff_alpha(EXAMPLE, resamples=10), ValueError, "resamples=10 is too few"),
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
