"""Agreement of raters: closed forms, published examples, other libraries as oracles, warnings and errors."""

import math
import tracemalloc
from decimal import Decimal
from enum import Enum

import numpy as np
import pandas as pd
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


@pytest.mark.parametrize(
    "a, b, kappa",
    [
        (["no"] * 2 + ["yes"] * 3, ["yes"] * 5, 0),  # in floats the variance is 2.7e-17 / 0.16, and its root 1.6e-8
        (["yes"] * 5, ["no"] * 2 + ["yes"] * 3, 0),
        (list("abc") * 7, list("abc") * 7, 1),
        (list("ab") * 7, list("ba") * 7, -1),
        (["no"] * 49 + ["yes"] * 50, ["yes"] * 99, 0),  # 1/49 and the like have no exact float
        ([0] * 333 + [1] * 333 + [2] * 333, [1] * 999, 0),
    ],
)
def test_an_error_of_zero_is_exactly_zero_and_warned_of(a, b, kappa):
    with pytest.warns(UserWarning, match="no width, because no item pulls it more than another"):
        result = st.cohen_kappa(a, b)
    assert result.standard_error == 0 and result.low == result.estimate == result.high
    assert result.estimate == pytest.approx(kappa)


def test_an_error_that_is_tiny_is_not_taken_for_zero(recwarn):
    """One of a million items differs: the error is 2e-6, from shares that differ in their seventh digit."""
    result = st.cohen_kappa([0, 1] * 500_000, [0, 1] * 499_999 + [0, 0])
    assert result.standard_error == pytest.approx(2e-6, rel=1e-3) and not recwarn


def test_kappa_is_that_of_statsmodels():
    from statsmodels.stats.inter_rater import cohens_kappa

    rng = np.random.default_rng(30)
    for size in (2, 3, 7):
        for n in (10, 100, 1_000):
            a = rng.integers(size, size=n)
            b = np.where(rng.random(n) < 0.6, a, rng.integers(size, size=n))
            oracle = cohens_kappa(np.histogram2d(a, b, bins=size, range=[[0, size]] * 2)[0])
            result = st.cohen_kappa(a, b)
            assert result.estimate == pytest.approx(oracle.kappa, abs=1e-12)
            assert result.standard_error == pytest.approx(oracle.std_kappa, abs=1e-12)


def peak_memory(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "call",
    [
        lambda: st.cohen_kappa([0, *range(5_000)], [1, *range(5_000)]),  # a table of all labels has 25 million cells
        # items x ratings x ratings, as the package krippendorff has them, are 32 billion numbers
        lambda: st.krippendorff_alpha(np.random.default_rng(0).random((2, 2_000)), "nominal", resamples=40),
        lambda: st.krippendorff_alpha(np.random.default_rng(0).random((2, 2_000)), "ordinal", resamples=40),
        lambda: st.krippendorff_alpha(np.random.default_rng(0).random((2, 2_000)), "interval", resamples=40),
        lambda: st.krippendorff_alpha(np.random.default_rng(0).random((2, 2_000)), "ratio", resamples=40),
    ],
)
def test_many_distinct_labels_take_no_table_of_all_of_them(call):
    """Speed, without a clock: the time went into tables whose size is the square or the cube of the labels'."""
    assert peak_memory(call) < 200e6


NAMES = Enum("NAMES", "yes no")


@pytest.mark.parametrize(
    "a, b, kinds",
    [
        (["1", "0"], [1, 0], "text and number"),
        (["True", "False"], [True, False], "text and number"),
        ([NAMES.yes, NAMES.no], ["yes", "no"], "NAMES and text"),
        ([b"a", b"b"], ["a", "b"], "bytes and text"),
        (np.array(["1", "0"]), np.array([1, 0]), "text and number"),
        (pd.Series(["1", "0"], index=[7, 7]), pd.Series([1.0, 0.0]), "text and number"),
    ],
)
def test_labels_of_other_types_without_one_in_common_are_an_error(a, b, kinds):
    for call in (lambda: st.cohen_kappa(a, b), lambda: st.krippendorff_alpha([b, a])):
        with pytest.raises(ValueError, match=rf"no label in common: \{{.*\}} and \{{.*different types \({kinds}\)"):
            call()


def test_labels_of_one_type_without_one_in_common_are_warned_of():
    with pytest.warns(UserWarning, match=r"no label in common: \{'A', 'B'\} and \{'a', 'b'\}. Are they written"):
        st.cohen_kappa(["A", "B", "A"], ["a", "b", "b"])


@pytest.mark.parametrize(
    "call",
    [
        lambda: st.cohen_kappa(["1", "0", 1], [1, 0, 1]),
        lambda: st.krippendorff_alpha([["1", "0", 1], [1, 0, 1]]),
        lambda: st.flip_rate([["1", 1], ["1", "1"]]),
    ],
)
def test_labels_that_look_alike_are_warned_of(call):
    with pytest.warns(UserWarning, match=r"hold the label 1 \(int\) and the text '1', which count as different"):
        call()


def test_labels_that_python_calls_equal_are_one():
    mixed = st.cohen_kappa([True, False, True, 1.0], [1, np.int64(0), np.False_, Decimal(1)])
    assert mixed == st.cohen_kappa([1, 0, 1, 1], [1, 0, 0, 1])


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


LEVELS = ["nominal", "ordinal", "interval", "ratio"]


def random_ratings(seed, raters=4, items=25, few=True):
    """Ratings of which three in ten are missing, with few distinct values or as many as ratings."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, items) if few else rng.gamma(3, size=items)
    noise = rng.integers(0, 2, (raters, items)) if few else rng.gamma(1, size=(raters, items))
    return np.where(rng.random((raters, items)) < 0.3, math.nan, truth + noise)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("few", [True, False])
def test_alpha_and_its_resamples_are_those_of_the_package_krippendorff(level, few):
    from krippendorff import alpha

    for seed, raters in enumerate((2, 3, 6)):
        ratings = random_ratings(seed, raters, few=few)
        rated = ratings[:, (~np.isnan(ratings)).sum(axis=0) > 1]
        result = st.krippendorff_alpha(ratings, level, resamples=40, seed=seed)
        assert result.estimate == pytest.approx(alpha(rated, level_of_measurement=level), abs=1e-12)
        rng = np.random.default_rng(seed)
        draws = [rng.integers(rated.shape[1], size=rated.shape[1]) for _ in range(40)]
        loop = sorted(alpha(rated[:, draw], level_of_measurement=level) for draw in draws)
        assert limits(result) == pytest.approx((loop[0], loop[-1]), abs=1e-12)


@pytest.mark.parametrize("level", ["interval", "ratio"])
@pytest.mark.parametrize("unit", [1e-200, 1e-3, 1e200])  # squares would be 0 or infinite
def test_alpha_has_no_unit(level, unit):
    ratings = random_ratings(7)
    expected = st.krippendorff_alpha(ratings, level, resamples=40)
    result = st.krippendorff_alpha(ratings * unit, level, resamples=40)
    assert (result.estimate, *limits(result)) == pytest.approx((expected.estimate, *limits(expected)), abs=1e-10)


def test_alpha_of_interval_data_has_no_zero():
    ratings = random_ratings(8)
    far = st.krippendorff_alpha(ratings + 1e9, "interval", resamples=40)
    assert far.estimate == pytest.approx(st.krippendorff_alpha(ratings, "interval").estimate, abs=1e-9)


@pytest.mark.parametrize("level", LEVELS[1:])
def test_ratings_that_differ_by_rounding_are_one(level):
    """0.1 + 0.2 is not 0.3 in floats; as ranks, the two would be as far apart as 1 and 2."""
    ratings = [[0.3, 0.5, 0.7, 0.3], [0.1 + 0.2, 0.5, 0.3, 0.3]]
    exact = [[0.3, 0.5, 0.7, 0.3], [0.3, 0.5, 0.3, 0.3]]
    assert st.krippendorff_alpha(ratings, level) == st.krippendorff_alpha(exact, level)
    with pytest.raises(ValueError, match=r"every rating is 0\.3"):
        st.krippendorff_alpha([[0.3, 0.3], [0.1 + 0.2, 0.3]], level)


@pytest.mark.parametrize("level", LEVELS)
def test_resamples_that_all_give_the_same_alpha_are_warned_of(level):
    """All items are rated alike, as 0.1 and 0.2: every resample holds the same ratings."""
    with pytest.warns(UserWarning, match="no width, because nearly all resamples"):
        result = st.krippendorff_alpha([[0.1] * 9, [0.2] * 9], level)
    # All pairs within items differ, and 162 of the 306 of all ratings
    assert result.estimate == pytest.approx(1 - 1 / (162 / 306))


@pytest.mark.parametrize(
    "missing",
    [
        None,
        NAN,
        np.float32("nan"),
        pd.NA,
        pd.NaT,
        np.datetime64("NaT"),
        np.ma.masked,
        Decimal("NaN"),
        Decimal("sNaN"),
    ],
)
def test_every_marker_of_a_missing_rating(missing):
    expected = st.krippendorff_alpha([["x", "y", "x", "y", None], ["x", "y", "y", "y", "x"]])
    assert st.krippendorff_alpha([["x", "y", "x", "y", missing], ["x", "y", "y", "y", "x"]]) == expected
    with pytest.raises(ValueError, match="item 1 of b has no label"):
        st.cohen_kappa(["x", "y"], ["x", missing])


def test_undefined_resamples_of_alpha_count_as_the_worst():
    """Of two items, half the resamples hold the same one twice: a single label, so alpha is 0 / 0."""
    assert limits(st.krippendorff_alpha([["x", "y"], ["x", "y"]])) == (-1, 1)


def test_perfect_agreement_is_reported_with_a_warning():
    with pytest.warns(UserWarning, match="no width"):
        assert st.krippendorff_alpha([[1, 2] * 20, [1, 2] * 20]).estimate == 1


@pytest.mark.parametrize(
    "draws, rate, error",
    [
        # Pairs that differ: 0 of 1, 1 of 1, 2 of 3. Mean 5/9; variance (25/81 + 16/81 + 1/81) / 2, over 3 items
        ([["a", "a"], ["a", "b"], ["a", "b", "a"]], 5 / 9, math.sqrt(42 / 81 / 2 / 3)),
        # A missing verdict is no draw, and an item with one draw says nothing
        ([["a", "a", None], ["a", NAN, "b"], ["a", "b", "a"], ["a", pd.NA], []], 5 / 9, math.sqrt(42 / 81 / 2 / 3)),
        (np.array([[1, 1], [1, 0], [0, 1], [0, 0]]), 0.5, math.sqrt(1 / 3 / 4)),
    ],
)
def test_flip_rate_by_hand(draws, rate, error):
    result = st.flip_rate(draws)
    assert result.estimate == pytest.approx(rate) and result.standard_error == pytest.approx(error)
    assert result.low == 0 and result.high == 1  # so few items show nothing: t reaches beyond both ends


def test_flip_rate_does_not_depend_on_the_number_of_draws():
    """Three items that say yes with chance .5, .8, 1 flip with chance .5, .32, 0: 0.2733 on average."""
    rng = np.random.default_rng(31)
    for draws in (2, 5):
        verdicts = rng.random((30_000, draws)) < np.repeat([0.5, 0.8, 1.0], 10_000)[:, None]
        result = st.flip_rate(verdicts)
        assert result.low < 0.82 / 3 < result.high and result.high - result.low < 0.02


def test_a_judge_that_never_flips_is_warned_of():
    with pytest.warns(UserWarning, match="around 0 has no width"):
        assert limits(st.flip_rate([["a", "a"], ["b", "b"]])) == (0, 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: st.cohen_kappa([1, 2] * 20, [1, 2] * 20),
        lambda: st.cohen_kappa(["no", "no", "yes"], ["yes", "yes", "yes"]),
        lambda: st.flip_rate([[1, 1], [2, 2]]),
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
    (lambda: st.cohen_kappa(["x"], ["y", "x"]), ValueError, "a has 1 item and b has 2"),
    (lambda: st.cohen_kappa(np.array(["x", "x"]), ["x", "x"]), ValueError, "both raters said 'x' every time"),
    (lambda: st.cohen_kappa([np.array([1, 2]), 1], [1, 0]), TypeError, "item 0 of a is ndarray, and a label must be"),
    (lambda: st.cohen_kappa([np.array(1), 1], [1, 0]), TypeError, "item 0 of a is ndarray, and a label must be"),
    (lambda: st.cohen_kappa([(1, [2]), 1], [1, 0]), TypeError, "item 0 of a is tuple, and a label must be"),
    (lambda: st.cohen_kappa([{"x": 1}, 1], [1, 0]), TypeError, "item 0 of a is dict, and a label must be"),
    (lambda: st.cohen_kappa(np.array([["x"], ["y"]]), ["x", "y"]), TypeError, r"a must be a list .* shape \(2, 1\)"),
    (lambda: st.krippendorff_alpha([]), ValueError, "ratings has 0 rows: give one row for each rater"),
    (lambda: st.krippendorff_alpha({"one": A, "two": B}), TypeError, "ratings must be a list"),
    (lambda: st.krippendorff_alpha(pd.DataFrame([A, B])), TypeError, r"is a DataFrame, .* give ratings\.to_numpy\(\)"),
    (lambda: st.krippendorff_alpha(np.zeros((2, 2, 2))), TypeError, r"ratings must be a list .* shape \(2, 2, 2\)"),
    (
        lambda: st.krippendorff_alpha([A, [math.inf] * 10], "interval"),
        ValueError,
        "item 0 of rater 1 of ratings is inf",
    ),
    (lambda: st.krippendorff_alpha([A, [1j] * 10], "interval"), TypeError, "item 0 of rater 1 is complex"),
    (lambda: st.flip_rate([["a"], ["a", "b"]]), ValueError, "1 item has two verdicts: draw again"),
    (lambda: st.flip_rate([]), ValueError, "0 items have two verdicts: draw again"),
    (lambda: st.flip_rate(["ab", "ab"]), TypeError, "draws of item 0 must be a list"),
    (lambda: st.flip_rate([[["a"], "b"], [1, 2]]), TypeError, "item 0 of draws of item 0 is list"),
    (lambda: st.flip_rate([[1, 2], [1, 2]], confidence=95), ValueError, "confidence=95"),
    (lambda: st.krippendorff_alpha([A]), ValueError, "ratings has 1 row: give one row for each rater"),
    (lambda: st.krippendorff_alpha([A, B[:9]]), ValueError, "rater 0 has 10 items and ratings of rater 1 has 9"),
    (lambda: st.krippendorff_alpha(["abab", "abba"]), TypeError, "ratings of rater 0 must be a list"),
    (lambda: st.krippendorff_alpha([[1, None], [None, 1]]), ValueError, "0 items have two ratings or more"),
    (lambda: st.krippendorff_alpha([[1, 2], [1, None]]), ValueError, "1 item has two ratings or more"),
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
