"""statistics: closed forms, other libraries and plain formulas as oracles, simulated coverage, and errors."""

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats

from nbhelpers import statistics as st

SCORES, CLUSTERS = [1, 1, 0, 0, 1, 0, 1, 1], list("aaabbbcc")
A, B = [1, 1, 0, 1, 0, 1, 1, 0, 1, 1], [1, 0, 0, 1, 0, 0, 1, 0, 1, 0]
NAN = math.nan
Z = stats.norm.ppf(0.975)


def limits(interval):
    return interval.low, interval.high


def covered(intervals, truth):
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


# --- one proportion, one mean -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "successes, n, low, high",
    [
        (7, 10, 0.396778, 0.892209),  # the interval every textbook prints
        (0, 10, 0.0, Z**2 / (10 + Z**2)),  # closed form at the edge: z^2 / (n + z^2)
        (10, 10, 10 / (10 + Z**2), 1.0),
        (0, 7, 0.0, Z**2 / (7 + Z**2)),  # exactly 0, where other libraries give 3e-17
        (1, 1, 1 / (1 + Z**2), 1.0),
    ],
)
def test_wilson(successes, n, low, high):
    result = st.wilson_interval(successes, n)
    assert result.estimate == successes / n
    assert limits(result) == pytest.approx((low, high), abs=1e-6)
    assert (result.low == 0) == (successes == 0)
    assert result.standard_error is None and result.p_value is None


def test_an_interval_prints_itself_briefly():
    assert str(st.wilson_interval(7, 10)) == "0.700 [0.397, 0.892]"
    assert str(st.items_needed(0.5, 1)) == "34 [34, 34]"


@pytest.mark.parametrize(
    "options, error, reach",
    [
        ({"method": "normal"}, 0.182981, Z),  # sd / sqrt(n)
        ({}, 0.182981, stats.t.ppf(0.975, 7)),
        ({"clusters": CLUSTERS}, 0.177466, stats.t.ppf(0.975, 2)),  # with C / (C - 1); three clusters, two degrees
        ({"clusters": CLUSTERS, "method": "normal"}, 0.177466, Z),
        ({"clusters": CLUSTERS, "small_sample": False}, 0.144900, stats.t.ppf(0.975, 2)),  # Miller (2024)
        ({"clusters": range(8)}, 0.182981, stats.t.ppf(0.975, 7)),  # every item its own cluster: as without
        ({"confidence": 0.8}, 0.182981, stats.t.ppf(0.9, 7)),
    ],
)
def test_mean_is_so_many_standard_errors_wide(options, error, reach):
    result = st.mean_interval(SCORES, **options)
    assert result.estimate == 0.625
    assert result.standard_error == pytest.approx(error, abs=1e-6)
    assert limits(result) == pytest.approx((0.625 - reach * error, 0.625 + reach * error), abs=1e-5)


def test_clusters_of_equal_size_are_as_good_as_their_means():
    scores = np.random.default_rng(1).random((7, 5))
    result = st.mean_interval(scores.ravel(), np.repeat(list("gfedcba"), 5))
    assert result.standard_error == pytest.approx(scores.mean(axis=1).std(ddof=1) / math.sqrt(7))


def test_wilson_of_scores_is_wilson_of_counts():
    assert st.mean_interval(np.array(SCORES, dtype=bool), method="wilson") == st.wilson_interval(5, 8)


def test_bootstrap_resamples_items():
    scores = np.random.default_rng(2).random(50)
    result = st.mean_interval(scores, method="bootstrap", resamples=5_000)
    means = np.random.default_rng(3).choice(scores, (20_000, 50)).mean(axis=1)  # the plain loop, other random numbers
    assert limits(result) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.005)
    assert result.standard_error == pytest.approx(scores.std() / math.sqrt(50), rel=0.03)  # known exactly, ddof 0
    assert result == st.mean_interval(scores, method="bootstrap", resamples=5_000)
    assert result != st.mean_interval(scores, method="bootstrap", resamples=5_000, seed=1)


def test_bootstrap_resamples_whole_clusters():
    """Two clusters, all right and all wrong: a resample is one of them twice or both, so its mean is 0, 0.5 or 1."""
    scores, clusters = [1] * 20 + [0] * 20, ["a"] * 20 + ["b"] * 20
    assert limits(st.mean_interval(scores, clusters, "bootstrap")) == (0.0, 1.0)
    low, high = limits(st.mean_interval(scores, method="bootstrap"))
    assert 0.3 < low < 0.4 and 0.6 < high < 0.7


@pytest.mark.parametrize("method", ["normal", "t", "bootstrap"])
def test_no_width_is_not_passed_off_as_certainty(method):
    with pytest.warns(UserWarning, match=r"around 0\.1 has no width, .* too few items"):
        result = st.mean_interval([0.1] * 9, method=method)
    assert limits(result) == pytest.approx((0.1, 0.1))


# --- two models -----------------------------------------------------------------------------------------------


def test_pairing_takes_out_what_the_models_share():
    result = st.paired_difference(A, B)
    assert result.estimate == pytest.approx(0.3)
    assert result.standard_error == pytest.approx(0.152753, abs=1e-6)
    unpaired = math.hypot(st.mean_interval(A).standard_error, st.mean_interval(B).standard_error)
    assert unpaired == pytest.approx(0.223607, abs=1e-6)
    covariance = np.cov(A, B)[0, 1]  # Var(a - b) = Var(a) + Var(b) - 2 Cov(a, b)
    assert result.standard_error**2 == pytest.approx(unpaired**2 - 2 * covariance / 10)


def test_paired_t_is_scipys():
    rng = np.random.default_rng(4)
    a, b = rng.random(12), rng.random(12)
    result, oracle = st.paired_difference(a, b, confidence=0.9), stats.ttest_rel(a, b)
    assert result.p_value == pytest.approx(oracle.pvalue)
    assert limits(result) == pytest.approx(tuple(oracle.confidence_interval(0.9)))


def test_clustered_difference_is_the_clustered_mean_of_differences():
    a, b = np.random.default_rng(5).random((2, 8))
    result, mean = st.paired_difference(a, b, CLUSTERS), st.mean_interval(a - b, CLUSTERS)
    assert (result.estimate, *limits(result)) == pytest.approx((mean.estimate, *limits(mean)))
    statistic = result.estimate / result.standard_error
    assert result.p_value == pytest.approx(2 * stats.t.sf(abs(statistic), 2))


def test_permutations_are_all_of_them_where_there_are_few():
    d = np.random.default_rng(6).normal(0.4, 1, 9)
    sums = [abs(np.dot(signs, d)) for signs in itertools.product([1, -1], repeat=9)]
    exact = np.mean(np.array(sums) >= abs(d.sum()) - 1e-12)
    result = st.paired_difference(d, np.zeros(9), method="permutation")
    assert result.p_value == pytest.approx(exact)
    assert limits(result) == limits(st.paired_difference(d, np.zeros(9)))
    many = st.paired_difference(d, np.zeros(9), method="permutation", resamples=500)  # of 512: now drawn at random
    assert many.p_value == pytest.approx(exact, abs=0.05) and many.p_value != result.p_value


def test_permutations_swap_whole_clusters():
    d = np.array([1, 2, 3, 4, 5, 6, 7, 8.0])  # cluster sums 6, 15, 15: of 8 sign patterns only two reach 36
    result = st.paired_difference(d, 0 * d, CLUSTERS, method="permutation")
    assert result.p_value == 2 / 8
    assert st.paired_difference(d, 0 * d, method="permutation").p_value == 2 / 2**8


def test_permutation_of_equal_models_sees_no_difference():
    with pytest.warns(UserWarning, match="has no width"):
        assert st.paired_difference(A, A, method="permutation").p_value == 1


@pytest.mark.parametrize(
    "a, b, p_value",
    [
        (A, B, 0.25),  # three items, all for a: 2 / 2^3
        (B, A, 0.25),
        (A, A, 1.0),  # no item decides
        ([1] * 6, [0] * 6, 2 / 2**6),  # the interval ends at 1
        ([0] * 6, [1] * 6, 2 / 2**6),  # and at -1
        ([1] * 5 + [0] * 2, [0] * 5 + [1] * 2, 2 * 29 / 2**7),  # at most 2 of 7: 1 + 7 + 21 ways
    ],
)
def test_mcnemar(a, b, p_value):
    from statsmodels.stats.contingency_tables import mcnemar

    result = st.mcnemar(a, b)
    assert result.p_value == pytest.approx(p_value)
    table = np.histogram2d(a, b, bins=2, range=[[0, 1], [0, 1]])[0]
    assert result.p_value == pytest.approx(mcnemar(table).pvalue)
    assert result.estimate == pytest.approx(np.mean(a) - np.mean(b))
    # Agresti and Min (2005): the plain interval after adding half an item to each of the four counts.
    shares = (table + 0.5) / (len(a) + 2)
    centre = shares[1, 0] - shares[0, 1]
    error = math.sqrt((shares[1, 0] + shares[0, 1] - centre**2) / (len(a) + 2))
    expected = max(-1, centre - Z * error), min(1, centre + Z * error)
    assert limits(result) == pytest.approx(expected)


@pytest.mark.parametrize("difference", [0.05, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("power", [0.8, 0.9])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_items_needed_is_what_the_t_test_needs(difference, power, confidence):
    from statsmodels.stats.power import TTestPower

    exact = TTestPower().solve_power(difference / 2, alpha=1 - confidence, power=power)
    result = st.items_needed(difference, 2.0, power, confidence)
    assert isinstance(result.estimate, int)
    assert result.estimate == pytest.approx(math.ceil(exact), abs=1)
    assert limits(result) == (result.estimate, result.estimate)


@pytest.mark.parametrize(
    "difference, sd, expected",
    [
        (0.5, 1, 34),  # (1.959964 + 0.841621)^2 / 0.25 = 31.40, and 1.96^2 / 2 = 1.92 for t
        (0.1, 0.5, 199),  # 196.22 + 1.92
        (100, 1, 2),  # never fewer than can show variation: 1.92
    ],
)
def test_items_needed_by_hand(difference, sd, expected):
    assert st.items_needed(difference, sd).estimate == expected


def test_a_pilot_says_how_rough_the_count_is():
    """The variance of 21 items is known to a factor of 20 / chi2: 34.17 and 9.591 (tables, 20 degrees of freedom)."""
    result, plain = st.items_needed(0.02, 1, pilot_items=21), st.items_needed(0.02, 1)
    assert result.estimate == plain.estimate
    assert result.low / plain.estimate == pytest.approx(20 / 34.170, rel=1e-3)
    assert result.high / plain.estimate == pytest.approx(20 / 9.591, rel=1e-3)


# --- agreement ------------------------------------------------------------------------------------------------


def spread(table):
    """Two lists of labels that make this table."""
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [i for i, _ in pairs], [j for _, j in pairs]


@pytest.mark.parametrize(
    "table, kappa",
    [
        ([[25, 25], [25, 25]], 0.0),  # two fair coins
        ([[20, 5], [10, 15]], 0.4),  # observed 0.7, by chance 0.5
        ([[40, 10], [40, 10]], 0.0),  # b is biased and does not listen: half agree, as chance has it
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
    # The delta method, with a numerical gradient over the shares of the table.
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
        # One disagreement among 8 values, 5 and 3 of a kind: 1 - (2 / 8) / (2 * 5 * 3 / (8 * 7))
        ([["x", "x", "y", "y"], ["x", "x", "y", "x"]], "nominal", 1 - 0.25 / (30 / 56)),
        # A lone rating is not evidence: the "z" changes nothing
        ([["x", "x", "y", "y", "z"], ["x", "x", "y", "x", None]], "nominal", 1 - 0.25 / (30 / 56)),
    ],
)
def test_alpha(ratings, level, expected):
    result = st.krippendorff_alpha(ratings, level)
    assert result.estimate == pytest.approx(expected, abs=5e-4)
    assert -1 <= result.low < result.estimate < result.high <= 1


def test_alpha_resamples_items():
    """Against the plain loop over a long table, with other random numbers."""
    from krippendorff import alpha

    rng = np.random.default_rng(7)
    truth = rng.integers(0, 3, 80)
    ratings = np.array([np.where(rng.random(80) < 0.7, truth, rng.integers(0, 3, 80)) for _ in range(3)])
    result = st.krippendorff_alpha(ratings)
    columns = [ratings[:, rng.integers(80, size=80)] for _ in range(1_000)]
    loop = [alpha(reliability_data=c, level_of_measurement="nominal") for c in columns]
    assert limits(result) == pytest.approx(np.quantile(loop, [0.025, 0.975]), abs=0.03)
    assert result == st.krippendorff_alpha(ratings) != st.krippendorff_alpha(ratings, seed=1)


@pytest.mark.parametrize(
    "count, low, high", [(1_001, 25, 975), (101, 2, 98), (2, 0, 1)]
)  # 2.5 % to either side, or less
def test_percentiles_leave_out_equal_shares(count, low, high):
    values = np.random.default_rng(15).permutation(count).astype(float)
    assert st._percentiles(values, 0.95, worst=(-math.inf, math.inf)) == (low, high)


def test_undefined_resamples_of_alpha_count_as_the_worst():
    """Two items: half the resamples hold one of them twice, all agree on one label, and alpha is 0 / 0."""
    assert limits(st.krippendorff_alpha([["x", "y"], ["x", "y"]])) == (-1, 1)


def test_perfect_agreement_is_reported_with_a_warning():
    with pytest.warns(UserWarning, match="no width"):
        assert st.krippendorff_alpha([[1, 2] * 20, [1, 2] * 20]).estimate == 1


# --- correcting a judge ---------------------------------------------------------------------------------------


def test_rogan_gladen():
    """Lang and Reiczigel (2014), with the numbers of a published worked example."""
    result = st.rogan_gladen(0.4, 1000, 0.9, 0.7, 200, 200)
    assert result.estimate == pytest.approx((0.4 + 0.7 - 1) / (0.9 + 0.7 - 1))
    assert (result.estimate, *limits(result)) == pytest.approx((0.166667, 0.056351, 0.262733), abs=1e-6)


@pytest.mark.parametrize("rate, n", [(0.3, 50), (0.0, 20), (0.97, 400)])
def test_a_perfect_well_known_judge_leaves_a_plain_proportion(rate, n):
    from statsmodels.stats.proportion import proportion_confint

    result = st.rogan_gladen(rate, n, 1.0, 1.0, 10**9, 10**9)
    assert result.estimate == pytest.approx(rate)
    expected = proportion_confint(round(rate * n), n, method="agresti_coull")
    assert limits(result) == pytest.approx(np.clip(expected, 0, 1), abs=1e-6)


@pytest.mark.parametrize("rate, expected", [(0.05, 0.0), (0.99, 1.0)])
def test_what_such_a_judge_would_hardly_do_is_clipped_with_a_warning(rate, expected):
    with pytest.warns(UserWarning, match="answers of another kind"):
        result = st.rogan_gladen(rate, 1000, 0.9, 0.7, 500, 500)
    assert (result.estimate, *limits(result)) == (expected,) * 3


@pytest.mark.parametrize(
    "labels, judged, others, tuned, mean, variance",
    [
        # mean of others 0.6; errors 0, -1, 0, 1: mean 0, variance 2/3 over 4 items; others' variance 0.3 over 5
        ([1, 0, 1, 1], [1, 1, 1, 0], [1, 0, 0, 1, 1], False, 0.6, 2 / 3 / 4 + 0.3 / 5),
        # a perfect judge: the labels add nothing
        ([1, 0, 1, 0], [1, 0, 1, 0], [1, 0, 0, 1, 1], False, 0.6, 0.3 / 5),
        # a judge that always says the same: only the labels count
        ([1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1], False, 0.75, 0.25 / 4),
        ([1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1], True, 0.75, 0.25 / 4),
        # a judge that is worse than useless: trust is held at 0
        ([1, 0, 1, 1], [0, 1, 0, 0], [1, 0, 1], True, 0.75, 0.25 / 4),
        # trust = cov / (var * (1 + 4/4)) = (1/3) / (2/7 * 2) = 7/12; mean 0.5 + 0; 7/12 of the judge's scores
        ([1, 0, 1, 0], [1, 0, 1, 0], [1, 0, 1, 0], True, 0.5, (7 / 12) ** 2 / 3 / 4 + (5 / 12) ** 2 / 3 / 4),
    ],
)
def test_prediction_powered_mean_by_hand(labels, judged, others, tuned, mean, variance):
    result = st.prediction_powered_mean(labels, judged, others, tuned)
    assert result.estimate == pytest.approx(mean)
    assert result.standard_error == pytest.approx(math.sqrt(variance))
    assert limits(result) == pytest.approx((mean - Z * math.sqrt(variance), mean + Z * math.sqrt(variance)))


def test_tuning_is_never_much_worse_than_labels_or_judge_alone():
    rng = np.random.default_rng(8)
    labels = rng.normal(size=60)
    for noise in (0.1, 1.0, 3.0):
        judged, others = labels + rng.normal(size=60) * noise, rng.normal(size=600) * math.hypot(1, noise)
        tuned = st.prediction_powered_mean(labels, judged, others, tuned=True).standard_error
        full = st.prediction_powered_mean(labels, judged, others).standard_error
        alone = st.mean_interval(labels).standard_error
        assert tuned < 1.02 * min(full, alone)


# --- ratings --------------------------------------------------------------------------------------------------


def games(*results):
    """(first, second, wins, losses) as comparisons, each on a question of its own."""
    rows = [(a, b, s) for a, b, wins, losses in results for s in [1] * wins + [0] * losses]
    return [(i, *row) for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    "comparisons, expected",
    [
        (games(("A", "B", 3, 1)), {"A": 190.848502 / 2, "B": -190.848502 / 2}),  # 400 log10(3)
        (games(("B", "A", 1, 3)), {"A": 190.848502 / 2, "B": -190.848502 / 2}),  # the order does not matter
        ([(1, "A", "B", 0.5), (2, "A", "B", 1)], {"A": 190.848502 / 2, "B": -190.848502 / 2}),  # 1.5 to 0.5
        ([(1, "A", "B", 0.5), (2, "B", "A", 0.5)], {"A": 0, "B": 0}),
        # strengths 4, 2, 1: the shares are exactly those of the model, each step is 400 log10(2)
        (games(("A", "B", 10, 5), ("A", "C", 12, 3), ("B", "C", 10, 5)), {"A": 120.412, "B": 0, "C": -120.412}),
        (games(("A", "B", 5_000, 1)), {"A": 200 * math.log10(5_000), "B": -200 * math.log10(5_000)}),
    ],
)
def test_ratings_in_closed_form(comparisons, expected):
    result = st.bradley_terry(comparisons, resamples=40)
    assert dict(zip(result.names, result.estimate, strict=True)) == pytest.approx(expected, abs=1e-3)
    assert list(result.estimate) == sorted(result.estimate, reverse=True)


def test_a_chain_of_ratings_adds_up():
    """Nine 99-to-1 steps are far apart (7,982 points), and Newton's method finds them."""
    names = list("ABCDEFGHIJ")
    rows = games(*((x, y, 99, 1) for x, y in itertools.pairwise(names)))
    result = st.bradley_terry(rows, anchor="J", resamples=40)
    assert result.names == tuple(names)
    assert result.estimate == pytest.approx([400 * math.log10(99) * k for k in range(9, -1, -1)], abs=1e-3)
    assert (result.estimate[-1], result.low[-1], result.high[-1]) == (0, 0, 0)


def test_lopsided_tables_converge():
    """At the maximum every model has won what it was expected to win. Newton's full steps fail on this table."""
    wins = np.array(
        [
            [0, 0, 935, 0, 0, 10, 0, 2],
            [0, 0, 0, 1, 0, 0, 0, 0],
            [0, 0, 0, 0, 15, 0, 995, 15],
            [17231, 7, 13129, 0, 16, 1, 0, 0],
            [0, 509, 10, 0, 0, 2760, 3, 8946],
            [0, 292, 23, 3237, 0, 0, 14873, 0],
            [32, 1, 2510, 0, 0, 45, 0, 0],
            [0, 11081, 0, 0, 0, 0, 0, 0],
        ]
    )
    strength = st._maximum_likelihood(wins[None], np.ones((1, 8, 8), dtype=bool))[0]
    expected = (wins + wins.T) / (1 + np.exp(strength[None, :] - strength[:, None]))
    assert expected.sum(axis=1) == pytest.approx(wins.sum(axis=1), rel=1e-6)


def tournament(questions, seed=9, names="ABCDEF", shift=0.0):
    """Every pair once on every question; a question may favour one model or another by `shift` nats."""
    rng = np.random.default_rng(seed)
    strength = np.linspace(0.6, -0.6, len(names))
    rows = []
    for question in range(questions):
        mine = strength + shift * rng.normal(size=len(names))
        for i, j in itertools.combinations(range(len(names)), 2):
            won = 1.0 if rng.random() < 1 / (1 + math.exp(mine[j] - mine[i])) else 0.0
            rows.append((question, names[i], names[j], 0.5 if rng.random() < 0.1 else won))
    return rows


def test_ratings_are_a_logistic_regression():
    import statsmodels.api as sm

    rows = tournament(60)
    design = np.zeros((len(rows), 6))
    for row, (_, first, second, _) in zip(design, rows, strict=True):
        row["ABCDEF".index(first)], row["ABCDEF".index(second)] = 1, -1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ties are halves
        fit = sm.GLM([row[3] for row in rows], design[:, 1:], family=sm.families.Binomial()).fit(tol=1e-12)
    result = st.bradley_terry(rows, anchor="A")
    ours = dict(zip(result.names, result.estimate, strict=True))
    assert [ours[name] for name in "BCDEF"] == pytest.approx(400 / math.log(10) * fit.params, abs=1e-4)
    centred = st.bradley_terry(rows)
    assert sum(centred.estimate) == pytest.approx(0, abs=1e-6)
    assert np.ptp(centred.estimate) == pytest.approx(np.ptp(result.estimate))


def test_resampling_rows_is_too_narrow_where_questions_repeat():
    """Each verdict is there nine times. That adds nothing, yet rows count for nine times as many: sqrt(9) narrower."""
    rows = [(q, "A", "B", score) for q, score in enumerate([1, 0, 1, 1, 0] * 20) for _ in range(9)]
    by_question, by_row = st.bradley_terry(rows), st.bradley_terry(rows, by="row")
    assert by_question.estimate == by_row.estimate
    width = [r.high[0] - r.low[0] for r in (by_question, by_row)]
    assert width[0] / width[1] == pytest.approx(3, rel=0.15)
    assert by_question == st.bradley_terry(rows) != st.bradley_terry(rows, seed=1)


def test_resamples_without_finite_ratings_count_as_infinite():
    """3 wins to 1: a resample has 4 wins (infinite) with chance .316, 0 with .004, at most 1 with .051: so 1 is low."""
    result = st.bradley_terry(games(("A", "B", 3, 1)))
    assert result.high[0] == math.inf and result.low[1] == -math.inf
    assert result.low[0] == pytest.approx(-190.848502 / 2, abs=1e-6)
    assert result.high[1] == pytest.approx(190.848502 / 2, abs=1e-6)
    mild = st.bradley_terry(games(("A", "B", 3, 1)), confidence=0.2)  # the middle fifth holds 3 wins and 4
    assert math.isfinite(mild.low[0])


def test_an_anchor_keeps_what_is_finite_apart():
    """C rarely wins. Relative to A, only C becomes infinite in resamples; relative to the mean, A and B do too."""
    rows = games(("A", "B", 60, 40), ("A", "C", 59, 1), ("B", "C", 59, 1))
    anchored, centred = st.bradley_terry(rows, anchor="A"), st.bradley_terry(rows)
    assert anchored.names == ("A", "B", "C")
    assert math.isfinite(anchored.low[1]) and math.isfinite(anchored.high[1])
    two = st.bradley_terry(games(("A", "B", 60, 40)), anchor="A")
    assert (anchored.low[1], anchored.high[1]) == pytest.approx((two.low[1], two.high[1]), abs=25)
    assert anchored.low[2] == -math.inf and math.isfinite(anchored.high[2])
    assert centred.high[0] == centred.high[1] == math.inf and centred.low[2] == -math.inf


def test_a_resample_that_cannot_compare_counts_as_the_worst():
    """A and C meet through B alone, on one question of three: without it, 8 resamples of 27, nothing is known."""
    rows = [(0, "A", "B", 0.5), (1, "B", "C", 0.5), (2, "A", "B", 0.5)]
    result = st.bradley_terry(rows, anchor="A")
    assert result.estimate == pytest.approx((0, 0, 0))
    by_name = {n: (low, high) for n, low, high in zip(result.names, result.low, result.high, strict=True)}
    assert by_name == {"A": (0, 0), "B": (-math.inf, math.inf), "C": (-math.inf, math.inf)}


def test_ratings_print_as_a_table():
    lines = repr(st.bradley_terry(games(("long name", "B", 30, 20)))).split("\n")
    assert lines[0].startswith("long name    +35.2 [") and lines[1].startswith("B            -35.2 [")


def test_a_thousand_comparisons_are_rated_quickly():
    import time

    rows = tournament(67)
    begin = time.perf_counter()
    st.bradley_terry(rows)
    assert time.perf_counter() - begin < 2  # 0.03 s where this was written


# --- coverage: nominal 95 % intervals hold the truth in 93 to 97 % of simulated experiments -----------------------


def test_coverage_of_a_clustered_mean():
    """12 passages with 2 to 9 questions each, which share their passage's difficulty."""
    rng = np.random.default_rng(10)
    sizes = np.array([2, 3, 4, 5, 6, 7, 8, 9, 3, 5, 6, 4])
    clusters = np.repeat(np.arange(12), sizes)
    experiments = []
    for _ in range(3_000):
        experiments.append(0.5 + rng.normal(0, 0.1, 12)[clusters] + rng.normal(0, 0.2, len(clusters)))
    assert 0.93 <= covered([st.mean_interval(e, clusters) for e in experiments], 0.5) <= 0.97
    # Each of its three parts is needed: the clusters, t, and the correction.
    assert covered([st.mean_interval(e) for e in experiments], 0.5) < 0.85
    assert covered([st.mean_interval(e, clusters, "normal", small_sample=False) for e in experiments], 0.5) < 0.925


def test_coverage_of_a_paired_difference():
    """100 questions of varying difficulty, two models that are right with chances 0.1 apart."""
    rng = np.random.default_rng(11)
    intervals, p_values = [], []
    for _ in range(3_000):
        ease = rng.uniform(0.1, 0.8, 100)
        a, b = rng.random((2, 100)) < np.stack([ease + 0.1, ease])
        intervals.append(st.paired_difference(a, b))
        p_values.append(intervals[-1].p_value)
    assert 0.93 <= covered(intervals, 0.1) <= 0.97
    excludes_zero = [i.low > 0 or i.high < 0 for i in intervals]
    assert excludes_zero == [p < 0.05 for p in p_values]


def test_coverage_of_mcnemars_interval():
    rng = np.random.default_rng(12)
    intervals = []
    for _ in range(2_000):
        ease = rng.uniform(0.1, 0.8, 60)
        a, b = rng.random((2, 60)) < np.stack([ease + 0.1, ease])
        intervals.append(st.mcnemar(a, b))
    assert 0.93 <= covered(intervals, 0.1) <= 0.97


@pytest.mark.parametrize(
    "truth, n, sensitivity, specificity, known",
    [(0.6, 500, 0.85, 0.75, 100), (0.2, 1000, 0.9, 0.7, 200), (0.9, 300, 0.8, 0.9, 60)],
)
def test_coverage_of_rogan_gladen(truth, n, sensitivity, specificity, known):
    rng = np.random.default_rng(13)
    rates = rng.binomial(n, truth * sensitivity + (1 - truth) * (1 - specificity), 3_000) / n
    known_rates = rng.binomial(known, [[sensitivity], [specificity]], (2, 3_000)) / known
    intervals = [st.rogan_gladen(p, n, q, r, known, known) for p, q, r in zip(rates, *known_rates, strict=True)]
    assert 0.93 <= covered(intervals, truth) <= 0.97


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("right", [0.9, 0.6])
def test_coverage_of_the_prediction_powered_mean(right, tuned):
    """100 labels, 500 verdicts more, of a judge that is right in so many cases."""
    rng = np.random.default_rng(14)
    intervals = []
    for _ in range(2_000):
        truth = rng.random(600) < 0.7
        judged = np.where(rng.random(600) < right, truth, ~truth)
        intervals.append(st.prediction_powered_mean(truth[:100], judged[:100], judged[100:], tuned))
    assert 0.93 <= covered(intervals, 0.7) <= 0.97


def test_coverage_of_ratings_needs_whole_questions():
    """60 questions, each of which favours some models: 15 comparisons on one are not 15 independent ones."""
    truth = np.zeros(4)
    hits = {"question": [], "row": []}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        favour = 2 * rng.normal(size=(60, 4))
        rows = []
        for q, i, j in itertools.product(range(60), range(4), range(4)):
            if i < j:
                for _ in range(3):
                    chance = 1 / (1 + math.exp(favour[q, j] - favour[q, i]))
                    rows.append((q, "ABCD"[i], "ABCD"[j], int(rng.random() < chance)))
        for by in ("question", "row"):
            result = st.bradley_terry(rows, by=by, resamples=200, seed=seed)
            hits[by] += [low <= t <= high for low, high, t in zip(result.low, result.high, truth, strict=True)]
    assert 0.91 <= np.mean(hits["question"]) <= 0.98
    assert np.mean(hits["row"]) < 0.8


# --- bad input ------------------------------------------------------------------------------------------------

ROWS = games(("A", "B", 3, 1))
BAD_INPUT = [
    # counts and shares
    (lambda: st.wilson_interval(11, 10), ValueError, "11 of 10 is not a proportion"),
    (lambda: st.wilson_interval(-1, 10), ValueError, "successes=-1: give 0 or more"),
    (lambda: st.wilson_interval(0, 0), ValueError, "n=0: give 1 or more"),
    (lambda: st.wilson_interval(7.5, 10), TypeError, "successes must be a whole number, not float: 7.5"),
    (lambda: st.wilson_interval("7", 10), TypeError, "successes must be a whole number, not str"),
    *(
        (call, ValueError, "confidence=95: give a number between 0 and 1")
        for call in (
            lambda: st.wilson_interval(7, 10, 95),
            lambda: st.mean_interval(SCORES, confidence=95),
            lambda: st.paired_difference(A, B, confidence=95),
            lambda: st.mcnemar(A, B, 95),
            lambda: st.cohen_kappa(A, B, 95),
            lambda: st.krippendorff_alpha(EXAMPLE, confidence=95),
            lambda: st.rogan_gladen(0.4, 1000, 0.9, 0.7, 200, 200, 95),
            lambda: st.prediction_powered_mean(A, B, A, confidence=95),
            lambda: st.bradley_terry(ROWS, confidence=95),
            lambda: st.items_needed(0.1, 1, confidence=95),
        )
    ),
    (lambda: st.wilson_interval(7, 10, 1.0), ValueError, "confidence=1.0"),
    (lambda: st.wilson_interval(7, 10, 0), ValueError, "confidence=0:"),
    (lambda: st.wilson_interval(7, 10, NAN), ValueError, "confidence=nan"),
    (lambda: st.wilson_interval(7, 10, "95%"), TypeError, "confidence must be a number, not str"),
    # scores
    (lambda: st.mean_interval([]), ValueError, "scores is empty: give 2 or more"),
    (lambda: st.mean_interval([1]), ValueError, "scores holds 1 item: give 2 or more"),
    (lambda: st.mean_interval("1101"), TypeError, "scores must be a list or an array .* not '1101'"),
    (lambda: st.mean_interval({0, 1}), TypeError, "scores must be a list or an array"),
    (lambda: st.mean_interval({"q1": 1, "q2": 0}), TypeError, "scores must be a list or an array"),
    (lambda: st.mean_interval(0.7), TypeError, "scores must be a list or an array .* not 0.7"),
    (lambda: st.mean_interval([1, "1"]), TypeError, "scores must hold numbers, and item 1 is str: '1'"),
    (lambda: st.mean_interval([1, None]), TypeError, "item 1 is NoneType"),
    (lambda: st.mean_interval(np.ones((2, 2))), TypeError, "item 0 is ndarray"),
    (lambda: st.mean_interval([1, NAN]), ValueError, "item 1 of scores is nan: leave the item out"),
    (lambda: st.mean_interval([1, math.inf]), ValueError, "item 1 of scores is inf"),
    (lambda: st.mean_interval(SCORES, method="z"), ValueError, "method='z' is unknown: give 'normal', 't'"),
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
    # two models
    (lambda: st.paired_difference(A, B[:9]), ValueError, "a has 10 items and b has 9"),
    (lambda: st.paired_difference([], []), ValueError, "a is empty"),
    (lambda: st.paired_difference([1], [0]), ValueError, "a holds 1 item"),
    (lambda: st.paired_difference(A, [NAN] * 10), ValueError, "item 0 of b is nan"),
    (lambda: st.paired_difference(A, "1001001010"), TypeError, "b must be a list"),
    (lambda: st.paired_difference(A, B, ["a"] * 10), ValueError, "all items are in one cluster"),
    (lambda: st.paired_difference(A, B, method="sign"), ValueError, "method='sign' is unknown: give 't'"),
    (lambda: st.paired_difference(A, A), ValueError, "the differences do not vary .* method='permutation'"),
    (lambda: st.paired_difference([1] * 5, [0] * 5), ValueError, r"the differences do not vary \(all 1"),
    (lambda: st.paired_difference(A, B, method="permutation", resamples=0), ValueError, "resamples=0"),
    (lambda: st.mcnemar([0.5, 1], [0, 1]), ValueError, "give scores of 0 and 1, or use paired_difference"),
    (lambda: st.mcnemar(A, B[:9]), ValueError, "a has 10 items and b has 9"),
    (lambda: st.mcnemar([], []), ValueError, "a is empty"),
    (lambda: st.mcnemar([1], [0]), ValueError, "a holds 1 item"),
    (lambda: st.items_needed(0, 1), ValueError, "difference=0: give a number greater than 0"),
    (lambda: st.items_needed(NAN, 1), ValueError, "difference=nan"),
    (lambda: st.items_needed("0.1", 1), TypeError, "difference must be a number, not str"),
    (lambda: st.items_needed(0.1, -1), ValueError, "standard_deviation=-1"),
    (lambda: st.items_needed(0.1, math.inf), ValueError, "standard_deviation=inf"),
    (lambda: st.items_needed(0.1, 1, power=80), ValueError, "power=80: give a number between 0 and 1"),
    (lambda: st.items_needed(0.1, 1, power=0.01), ValueError, "power=0.01 is no more than chance"),
    (lambda: st.items_needed(0.1, 1, pilot_items=1), ValueError, "pilot_items=1: give 2 or more"),
    # agreement
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
    # correcting a judge
    (lambda: st.rogan_gladen(0.4, 1000, 0.5, 0.5, 200, 200), ValueError, "this judge is no better than chance"),
    (
        lambda: st.rogan_gladen(0.4, 1000, 0.2, 0.7, 200, 200),
        ValueError,
        r"sensitivity 0.20 \(on 200 answers\) and specificity 0.70",
    ),
    (lambda: st.rogan_gladen(0.4, 1000, 1, 0.3, 1, 1000), ValueError, "check it on more answers"),  # 1 of 1 is nothing
    (
        lambda: st.rogan_gladen(1.4, 1000, 0.9, 0.7, 200, 200),
        ValueError,
        "rate=1.4: give a number between 0 and 1 or one of these",
    ),
    (lambda: st.rogan_gladen(0.4, 1000, 90, 0.7, 200, 200), ValueError, "sensitivity=90"),
    (lambda: st.rogan_gladen(0.4, 1000, 0.9, NAN, 200, 200), ValueError, "specificity=nan"),
    (lambda: st.rogan_gladen(0.4, 0, 0.9, 0.7, 200, 200), ValueError, "n=0: give 1 or more"),
    (lambda: st.rogan_gladen(0.4, 1000, 0.9, 0.7, 0, 200), ValueError, "n_positive=0"),
    (lambda: st.rogan_gladen(0.4, 1000, 0.9, 0.7, 200, 0.5), TypeError, "n_negative must be a whole number"),
    (lambda: st.prediction_powered_mean(A, B[:9], A), ValueError, "labels has 10 items and judged_labelled has 9"),
    (lambda: st.prediction_powered_mean([], [], A), ValueError, "labels is empty"),
    (lambda: st.prediction_powered_mean(A, B, []), ValueError, "judged_unlabelled is empty"),
    (lambda: st.prediction_powered_mean(A, B, [1]), ValueError, "judged_unlabelled holds 1 item"),
    (lambda: st.prediction_powered_mean(A, B, [1, NAN]), ValueError, "item 1 of judged_unlabelled is nan"),
    (lambda: st.prediction_powered_mean(A, B, "yes"), TypeError, "judged_unlabelled must be a list"),
    # ratings
    (lambda: st.bradley_terry([]), ValueError, "comparisons is empty"),
    (lambda: st.bradley_terry("A beats B"), TypeError, "comparisons must be a list"),
    (lambda: st.bradley_terry([(1, "A", "B")]), TypeError, "comparison 0 must be .question, first, second, score."),
    (lambda: st.bradley_terry([*ROWS, "ABCD"]), TypeError, "comparison 4 must be"),
    (lambda: st.bradley_terry([(1, "A", 2, 1)]), TypeError, "comparison 0 must name two models with strings"),
    (lambda: st.bradley_terry([(1, "A", "A", 1)]), ValueError, "comparison 0 compares 'A' with itself"),
    (lambda: st.bradley_terry([(1, "A", "B", 0.7)]), ValueError, "comparison 0 has score 0.7: give 1"),
    (lambda: st.bradley_terry([(1, "A", "B", NAN)]), ValueError, "comparison 0 has score nan"),
    (lambda: st.bradley_terry([(1, "A", "B", "1")]), ValueError, "comparison 0 has score '1'"),
    (lambda: st.bradley_terry([(None, "A", "B", 1)]), ValueError, "item 0 of the questions"),
    (lambda: st.bradley_terry([(1, "A", "B", 1), (1, "A", "B", 0)]), ValueError, "there is one question only"),
    (lambda: st.bradley_terry(ROWS, anchor="C"), ValueError, r"anchor='C' was never compared: .* \['A', 'B'\]"),
    (lambda: st.bradley_terry(ROWS, by="judge"), ValueError, "by='judge' is unknown"),
    (lambda: st.bradley_terry(ROWS, resamples=10), ValueError, "resamples=10 is too few"),
    (  # A won everything
        lambda: st.bradley_terry(games(("A", "B", 3, 0), ("A", "C", 2, 0), ("B", "C", 2, 1))),
        ValueError,
        r"\['A'\] won every comparison with \['B', 'C'\]",
    ),
    (  # C lost everything
        lambda: st.bradley_terry(games(("A", "B", 3, 1), ("A", "C", 2, 0), ("B", "C", 2, 0))),
        ValueError,
        r"\['A', 'B'\] won every comparison with \['C'\]",
    ),
    (  # nobody won everything, yet C and D never beat A or B
        lambda: st.bradley_terry(games(("A", "B", 1, 1), ("C", "D", 1, 1), ("A", "C", 1, 0))),
        ValueError,
        r"\['A', 'B'\] won every comparison with \['C', 'D'\]",
    ),
    (
        lambda: st.bradley_terry(games(("A", "B", 1, 1), ("C", "D", 1, 1))),
        ValueError,
        r"\['A', 'B'\] and \['C', 'D'\] were never compared",
    ),
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
