"""Proportions and means: closed forms, plain formulas as oracles, simulated coverage, warnings and errors."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from statistics_cases import CLUSTERS, NAN, SCORES, Z, covered, limits, warned_at, written_at

from nbhelpers import statistics as st
from nbhelpers.statistics.intervals import percentiles


@pytest.mark.parametrize(
    "successes, n, low, high",
    [
        (7, 10, 0.396778, 0.892209),  # the interval every textbook prints
        (0, 10, 0.0, Z**2 / (10 + Z**2)),  # closed form at the edge: z^2 / (n + z^2)
        (10, 10, 10 / (10 + Z**2), 1.0),
        (0, 7, 0.0, Z**2 / (7 + Z**2)),  # low is exactly 0; other libraries give 3e-17
        (1, 1, 1 / (1 + Z**2), 1.0),
    ],
)
def test_wilson(successes, n, low, high):
    result = st.wilson_interval(successes, n)
    assert result.estimate == successes / n
    assert limits(result) == pytest.approx((low, high), abs=1e-6)
    assert (result.low == 0) == (successes == 0)
    assert result.standard_error is None and result.p_value is None


# Newcombe (1998, "Two-sided confidence intervals for the single proportion"), table I
NEWCOMBE = [
    (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
    (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
    (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
    (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
]


@pytest.mark.parametrize("successes, n, wilson, clopper_pearson", NEWCOMBE)
def test_published_intervals_of_a_proportion(successes, n, wilson, clopper_pearson):
    assert limits(st.proportion_interval(successes, n)) == pytest.approx(wilson, abs=5e-5)
    assert limits(st.proportion_interval(successes, n, "clopper_pearson")) == pytest.approx(clopper_pearson, abs=5e-5)
    assert st.proportion_interval(successes, n) == st.wilson_interval(successes, n)


@pytest.mark.parametrize("successes, n", [(1, 2), (7, 10), (1, 29), (250, 1_000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_intervals_of_a_proportion_are_those_of_statsmodels(successes, n, confidence):
    from statsmodels.stats.proportion import proportion_confint

    for method, statsmodels in (("wilson", "wilson"), ("clopper_pearson", "beta"), ("jeffreys", "jeffreys")):
        oracle = proportion_confint(successes, n, 1 - confidence, statsmodels)
        result = st.proportion_interval(successes, n, method, confidence)
        assert limits(result) == pytest.approx(oracle, abs=1e-9)
        assert result.estimate == successes / n and result.standard_error is None and result.p_value is None


@pytest.mark.parametrize("n", [1, 10, 1_000])
def test_limits_at_the_edge(n):
    """If nothing passed, the lower limit is exactly 0, and Clopper and Pearson's upper one is 1 - 0.025^(1/n)."""
    for method in ("wilson", "clopper_pearson", "jeffreys"):
        none, every = st.proportion_interval(0, n, method), st.proportion_interval(n, n, method)
        assert none.low == 0 and every.high == 1 and 0 < none.high < 1
        assert (every.low, every.high) == pytest.approx((1 - none.high, 1 - none.low))
    assert st.proportion_interval(0, n, "clopper_pearson").high == pytest.approx(1 - 0.025 ** (1 / n))
    assert st.proportion_interval(0, n, "jeffreys").high == pytest.approx(stats.beta.ppf(0.975, 0.5, n + 0.5))


def exact_coverage(method, n, shares):
    """How often the interval holds each true share: a sum over all counts, without drawing."""
    found = [st.proportion_interval(x, n, method) for x in range(n + 1)]
    holds = [(i.low <= shares) & (shares <= i.high) for i in found]
    return sum(stats.binom.pmf(x, n, shares) * hold for x, hold in enumerate(holds))


@pytest.mark.parametrize("n", [10, 30, 100])
def test_exact_coverage_of_a_proportion(n):
    shares = np.linspace(0, 1, 2_001)
    coverage = {m: exact_coverage(m, n, shares) for m in ("wilson", "clopper_pearson", "jeffreys")}
    assert coverage["clopper_pearson"].min() >= 0.95
    for method in ("wilson", "jeffreys"):
        assert coverage[method].mean() == pytest.approx(0.95, abs=0.01)
        assert coverage[method].min() < 0.95
    assert coverage["wilson"][1:-1].min() > 0.83
    assert coverage["clopper_pearson"].mean() > coverage["wilson"].mean()


def test_an_interval_prints_itself_briefly():
    assert str(st.wilson_interval(7, 10)) == "0.700 [0.397, 0.892]"
    assert str(st.items_needed(0.5, 1)) == "34 [34, 34]"


@pytest.mark.parametrize(
    "options, error, reach",
    [
        ({"method": "normal"}, 0.182981, Z),  # sd / sqrt(n)
        ({"method": "t"}, 0.182981, stats.t.ppf(0.975, 7)),
        ({"clusters": CLUSTERS}, 0.177466, stats.t.ppf(0.975, 2)),  # with C / (C - 1); 3 clusters, 2 degrees of freedom
        ({"clusters": CLUSTERS, "method": "normal"}, 0.177466, Z),
        ({"clusters": CLUSTERS, "small_sample": False}, 0.144900, stats.t.ppf(0.975, 2)),  # Miller (2024)
        ({"clusters": range(8)}, 0.182981, stats.t.ppf(0.975, 7)),  # every item is its own cluster: as without clusters
        ({"confidence": 0.8, "method": "t"}, 0.182981, stats.t.ppf(0.9, 7)),
    ],
)
def test_mean_plus_or_minus_a_multiple_of_the_standard_error(options, error, reach):
    result = st.mean_interval(SCORES, **options)
    assert result.estimate == 0.625
    assert result.standard_error == pytest.approx(error, abs=1e-6)
    assert limits(result) == pytest.approx((0.625 - reach * error, 0.625 + reach * error), abs=1e-5)


def test_clusters_of_equal_size_are_as_good_as_their_means():
    scores = np.random.default_rng(1).random((7, 5))
    result = st.mean_interval(scores.ravel(), np.repeat(list("gfedcba"), 5))
    assert result.standard_error == pytest.approx(scores.mean(axis=1).std(ddof=1) / math.sqrt(7))


def test_wilson_of_scores_is_wilson_of_counts():
    result = st.mean_interval(np.array(SCORES, dtype=bool), method="wilson")
    assert limits(result) == limits(st.wilson_interval(5, 8)) and result.estimate == 0.625
    assert result.standard_error == pytest.approx(0.182981, abs=1e-6)


@pytest.mark.parametrize(
    "scores, clusters, method, why",
    [
        (SCORES, None, "wilson", "right or wrong"),
        ([1] * 8, None, "wilson", "all right: t would have no width"),
        (np.array(SCORES) + 0.0, None, "wilson", "0.0 and 1.0 are 0 and 1"),
        ([*SCORES, 0.5], None, "t", "half a point is neither"),
        (np.array(SCORES) * 2, None, "t", "0 and 2"),
        (SCORES, CLUSTERS, "t", "Wilson knows of no clusters"),
    ],
)
def test_the_default_is_wilson_for_right_and_wrong_and_t_for_all_else(scores, clusters, method, why):
    assert st.mean_interval(scores, clusters) == st.mean_interval(scores, clusters, method), why


def test_bootstrap_resamples_items():
    scores = np.random.default_rng(2).random(50)
    result = st.mean_interval(scores, method="bootstrap", resamples=5_000)
    means = np.random.default_rng(3).choice(scores, (20_000, 50)).mean(axis=1)  # plain resampling, another seed
    assert limits(result) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.005)
    assert result.standard_error == pytest.approx(
        scores.std() / math.sqrt(50), rel=0.03
    )  # the exact value, with ddof 0
    assert result == st.mean_interval(scores, method="bootstrap", resamples=5_000)
    assert result != st.mean_interval(scores, method="bootstrap", resamples=5_000, seed=1)


def test_bootstrap_resamples_whole_clusters():
    """One cluster is all right, one all wrong. A resample holds one of them twice or both: its mean is 0, 0.5 or 1."""
    scores, clusters = [1] * 20 + [0] * 20, ["a"] * 20 + ["b"] * 20
    assert limits(st.mean_interval(scores, clusters, "bootstrap")) == (0.0, 1.0)
    low, high = limits(st.mean_interval(scores, method="bootstrap"))
    assert 0.3 < low < 0.4 and 0.6 < high < 0.7


@pytest.mark.parametrize("method", ["normal", "t", "bootstrap"])
def test_no_width_is_not_passed_off_as_certainty(method):
    with pytest.warns(UserWarning, match=r"around 0\.1 has no width, .* too few items"):
        result = st.mean_interval([0.1] * 9, method=method)
    assert limits(result) == pytest.approx((0.1, 0.1))


# In floats, the deviation of equal scores is not always 0, nor is the mean of 0.1, 0.2, 0.3 that of 0.3, 0.2, 0.1.
NOTHING_VARIES = [
    ([0.1] * 10, None, 0.1),
    ([1 / 3] * 1_000, None, 1 / 3),
    ([0.3, 0.1 + 0.2] * 5, None, 0.3),  # equal but for rounding
    ([1e9 + 0.1] * 10, None, 1e9 + 0.1),
    ([1e-200] * 10, None, 1e-200),
    ([0.1, 0.2, 0.3, 0.3, 0.2, 0.1], list("aaabbb"), 0.2),
    ([0.1, 0.2, 0.3, 0.2], list("aaab"), 0.2),  # clusters of unequal size
    ([0.7, 0.1] * 50_000 + [0.4] * 3, [0] * 100_000 + [1, 1, 1], 0.4),
]


@pytest.mark.parametrize("scores, clusters, mean", NOTHING_VARIES)
@pytest.mark.parametrize("method", ["normal", "t", "bootstrap"])
def test_an_error_of_zero_is_exactly_zero_and_warned_of(scores, clusters, mean, method):
    with pytest.warns(UserWarning, match="no width, because nothing varies from item to item"):
        result = st.mean_interval(scores, clusters, method, resamples=100)
    assert result.standard_error == 0 and result.low == result.estimate == result.high
    assert result.estimate == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize(
    "scores, clusters",
    [
        ([1, 1 + 1e-13] * 5, None),  # floats tell the two apart in 450 steps
        ([1e9, 1e9 + 1e-4] * 5, None),
        ([0, 1e-300] * 5, None),
        ([1e12, 1.0, 1.1], None),
        ([0.1, 0.2, 0.3, 0.3, 0.2, 0.1 + 1e-12], list("aaabbb")),
    ],
)
@pytest.mark.parametrize("method", ["normal", "t", "bootstrap"])
def test_what_varies_a_little_is_not_taken_for_equal(scores, clusters, method, recwarn):
    result = st.mean_interval(scores, clusters, method, resamples=100)
    assert result.standard_error > 0 and not recwarn


@pytest.mark.parametrize("unit", [1e-250, 1e-3, 1e250])  # squares would be 0 or infinite
@pytest.mark.parametrize("clusters", [None, CLUSTERS])
@pytest.mark.parametrize("method", ["normal", "t", "bootstrap"])
def test_scores_may_have_any_unit(unit, clusters, method, recwarn):
    plain = st.mean_interval(SCORES, clusters, method)
    result = st.mean_interval(np.array(SCORES) * unit, clusters, method)
    expected = np.array([plain.estimate, plain.low, plain.high, plain.standard_error])
    assert np.array([result.estimate, *limits(result), result.standard_error]) / unit == pytest.approx(expected)
    assert not recwarn


def test_resamples_that_mostly_agree_are_warned_of_for_what_they_are():
    """Of 1,001 items one is right. Its count in a resample is 1 with chance .37: the middle fifth is all 1."""
    with pytest.warns(UserWarning, match="no width, because most resamples have one mean"):
        st.mean_interval([0] * 1_000 + [1], method="bootstrap", confidence=0.2)


@pytest.mark.parametrize(
    "scores",
    [
        pd.Series(SCORES, index=[9, 9, 9, 1, 1, 1, 0, 0]),
        pd.Series(SCORES, dtype="Int64"),
        torch.tensor(SCORES),
        torch.tensor(SCORES, dtype=torch.bfloat16),
        [Fraction(score) for score in SCORES],
        [Decimal(score) for score in SCORES],
        np.array(SCORES, dtype=object),
        dict(enumerate(SCORES)).values(),
        (score for score in SCORES),
    ],
)
def test_numbers_in_many_wrappings(scores):
    assert st.mean_interval(scores) == st.mean_interval(SCORES)


def test_clusters_that_look_alike_are_warned_of():
    with pytest.warns(UserWarning, match=r"clusters hold the label 1 \(int\) and the text '1'"):
        st.mean_interval(SCORES, ["1", 1, "1", 1, 2, 2, 2, 2])


@pytest.mark.parametrize(
    "call",
    [
        lambda: st.mean_interval([0.1] * 9),
        lambda: st.mean_interval([0.1] * 9, method="normal"),
        lambda: st.mean_interval([0.1] * 9, method="bootstrap"),
    ],
)
def test_the_warning_points_at_the_caller(call):
    assert warned_at(call) == [written_at(call)]


@pytest.mark.parametrize("count, low, high", [(1_001, 25, 975), (101, 2, 98), (2, 0, 1)])  # 2.5 % on each side, or less
def test_percentiles_leave_out_equal_shares(count, low, high):
    values = np.random.default_rng(15).permutation(count).astype(float)
    assert percentiles(values, 0.95, worst=(-math.inf, math.inf)) == (low, high)


def test_coverage_of_a_clustered_mean():
    """12 passages with 2 to 9 questions each; the questions of a passage share its difficulty."""
    rng = np.random.default_rng(10)
    sizes = np.array([2, 3, 4, 5, 6, 7, 8, 9, 3, 5, 6, 4])
    clusters = np.repeat(np.arange(12), sizes)
    experiments = []
    for _ in range(2_000):
        experiments.append(0.5 + rng.normal(0, 0.1, 12)[clusters] + rng.normal(0, 0.2, len(clusters)))
    assert 0.93 <= covered([st.mean_interval(e, clusters) for e in experiments], 0.5) <= 0.97
    # Clusters, t and the small-sample correction are all needed.
    assert covered([st.mean_interval(e) for e in experiments], 0.5) < 0.85
    assert covered([st.mean_interval(e, clusters, "normal", small_sample=False) for e in experiments], 0.5) < 0.925


BAD_INPUT = [
    (lambda: st.wilson_interval(11, 10), ValueError, "11 of 10 is not a proportion"),
    (lambda: st.wilson_interval(-1, 10), ValueError, "successes=-1: give 0 or more"),
    (lambda: st.wilson_interval(0, 0), ValueError, "n=0: give 1 or more"),
    (lambda: st.wilson_interval(7.5, 10), TypeError, "successes must be a whole number, not float: 7.5"),
    (lambda: st.wilson_interval("7", 10), TypeError, "successes must be a whole number, not str"),
    (lambda: st.wilson_interval(True, 10), TypeError, "successes must be a whole number, not bool"),
    (lambda: st.proportion_interval(7, 10, "wald"), ValueError, "method='wald' is unknown: give 'wilson', 'clopper_p"),
    (lambda: st.proportion_interval(7, 10, "jeffreys", 95), ValueError, "confidence=95"),
    (lambda: st.proportion_interval(11, 10, "jeffreys"), ValueError, "11 of 10 is not a proportion"),
    (lambda: st.proportion_interval(NAN, 10), TypeError, "successes must be a whole number, not float"),
    (lambda: st.proportion_interval([7], 10), TypeError, "successes must be a whole number, not list"),
    (lambda: st.mean_interval([]), ValueError, "scores is empty: give 2 or more"),
    (lambda: st.mean_interval([1]), ValueError, "scores holds 1 item: give 2 or more"),
    (lambda: st.mean_interval("1101"), TypeError, "scores must be a list or an array .* not '1101'"),
    (lambda: st.mean_interval({0, 1}), TypeError, "scores must be a list or an array"),
    (lambda: st.mean_interval({"q1": 1, "q2": 0}), TypeError, "scores must be a list or an array"),
    (lambda: st.mean_interval(0.7), TypeError, "scores must be a list or an array .* not 0.7"),
    (lambda: st.mean_interval([1, "1"]), TypeError, "scores must hold numbers, and item 1 is str: '1'"),
    (lambda: st.mean_interval([1, None]), TypeError, "item 1 is NoneType"),
    (lambda: st.mean_interval(np.ones((2, 2))), TypeError, r"shape \(2, 2\), in which item 0 is ndarray"),
    (lambda: st.mean_interval(np.ones((2, 0))), TypeError, r"scores must be a list .* an array of shape \(2, 0\)"),
    (lambda: st.mean_interval([[1, 0], [0, 1]]), TypeError, r"item 0 is list: \[1, 0\]"),
    (lambda: st.mean_interval(np.array(0.7)), TypeError, "scores must be a list or an array .* not a single number"),
    (lambda: st.mean_interval(torch.tensor(0.7)), TypeError, "not a single number"),
    (lambda: st.mean_interval(pd.DataFrame([[1, 0], [0, 1]])), TypeError, r"DataFrame, .* give scores\['name of a"),
    (lambda: st.mean_interval(bytearray(b"ab")), TypeError, "scores must be a list or an array"),
    (lambda: st.mean_interval({"q1": 1}.keys()), TypeError, "scores must be a list or an array"),
    (lambda: st.mean_interval([1j, 1]), TypeError, "scores must hold numbers, and item 0 is complex"),
    (lambda: st.mean_interval([1, pd.NA]), TypeError, "item 1 is NAType: <NA>. Leave the item out"),
    (lambda: st.mean_interval([1, Decimal("NaN")]), ValueError, "item 1 of scores is NaN: leave the item out"),
    (lambda: st.mean_interval([1, Decimal("sNaN")]), ValueError, "item 1 of scores is sNaN: leave the item out"),
    (lambda: st.mean_interval([1, Decimal("-Infinity")]), ValueError, "item 1 of scores is -Infinity"),
    (lambda: st.mean_interval([1, 10**400]), ValueError, "item 1 of scores is 1000.*: choose a unit"),
    (lambda: st.mean_interval([1, Fraction(10**400)]), ValueError, "item 1 of scores is Fraction.*: choose a unit"),
    (lambda: st.mean_interval([1, 1e301]), ValueError, r"item 1 of scores is 1e\+301: choose a unit"),
    (lambda: st.mean_interval(SCORES, ["a"]), ValueError, "clusters has 1 item, and there are 8 scores"),
    (lambda: st.wilson_interval(1, 10**400), ValueError, "n=1000.*: give 9,007,199,254,740,992"),
    (lambda: st.mean_interval([1, NAN]), ValueError, "item 1 of scores is nan: leave the item out"),
    (lambda: st.mean_interval([1, math.inf]), ValueError, "item 1 of scores is inf"),
    (lambda: st.mean_interval(SCORES, method="z"), ValueError, "method='z' is unknown: give 'auto', 'normal', 't'"),
    (lambda: st.mean_interval(SCORES, CLUSTERS, "wilson"), ValueError, "belong to no clusters"),
    (lambda: st.mean_interval([0.5, 1], method="wilson"), ValueError, "scores of 0 and 1"),
    (lambda: st.mean_interval(SCORES, "aaabbbcc"), TypeError, "clusters must be a list"),
    (lambda: st.mean_interval(SCORES, list("aab")), ValueError, "clusters has 3 items, and there are 8 scores"),
    (lambda: st.mean_interval(SCORES, ["a"] * 8), ValueError, "all items are in one cluster"),
    (lambda: st.mean_interval(SCORES, [*"aaabbbc", None]), ValueError, "item 7 of clusters has no label"),
    (lambda: st.mean_interval(SCORES, [*"aaabbbc", NAN]), ValueError, "item 7 of clusters has no label"),
    (lambda: st.mean_interval(SCORES, [[1]] * 8), TypeError, "item 0 of clusters is list"),
    (lambda: st.mean_interval(SCORES, method="bootstrap", resamples=39), ValueError, "resamples=39 .* give 40 or more"),
    (
        lambda: st.mean_interval(SCORES, method="bootstrap", resamples=1e3),
        TypeError,
        "resamples must be a whole number",
    ),
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
