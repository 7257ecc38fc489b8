"""Two models on the same items: plain formulas and libraries as oracles, simulated coverage, warnings and errors."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statistics_cases import CLUSTERS, NAN, A, B, Z, covered, limits, warned_at, written_at

from nbhelpers import statistics as st


def test_pairing_removes_the_variance_that_the_models_share():
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


def test_few_permutations_are_all_tried():
    d = np.random.default_rng(6).normal(0.4, 1, 9)
    sums = [abs(np.dot(signs, d)) for signs in itertools.product([1, -1], repeat=9)]
    exact = np.mean(np.array(sums) >= abs(d.sum()) - 1e-12)
    result = st.paired_difference(d, np.zeros(9), method="permutation")
    assert result.p_value == pytest.approx(exact)
    assert limits(result) == limits(st.paired_difference(d, np.zeros(9)))
    many = st.paired_difference(d, np.zeros(9), method="permutation", resamples=500)  # fewer than 512: drawn at random
    assert many.p_value == pytest.approx(exact, abs=0.05) and many.p_value != result.p_value


def test_permutations_swap_whole_clusters():
    d = np.array([1, 2, 3, 4, 5, 6, 7, 8.0])  # cluster sums 6, 15, 15: of 8 sign patterns only two reach 36
    result = st.paired_difference(d, 0 * d, CLUSTERS, method="permutation")
    assert result.p_value == 2 / 8
    assert st.paired_difference(d, 0 * d, method="permutation").p_value == 2 / 2**8


@pytest.mark.parametrize(
    "a, b, clusters",
    [
        ([0.3, 0.1], [0.2, 0.0], None),  # 0.3 - 0.2 is 0.09999999999999998
        ([0.3 + 1e6, 0.4 + 1e6, 0.7 + 1e6], [0.1 + 1e6, 0.2 + 1e6, 0.5 + 1e6], None),  # rounds in the tenth digit
        ([0.9, 0.2, 0.6], [0.8, 0.3, 0.6], [1, 1, 2]),  # the clusters' means are both 0: 0.1 - 0.1, and 0
        ([0.3, 0.2, 0.4], [0.1, 0.1, 0.25], [1, 1, 2]),  # 0.15 both
    ],
)
def test_differences_that_vary_by_rounding_alone_do_not_vary(a, b, clusters):
    with pytest.raises(ValueError, match="the differences do not vary"):
        st.paired_difference(a, b, clusters)
    with pytest.warns(UserWarning, match="no width, because nothing varies"):
        assert st.paired_difference(a, b, clusters, "permutation").standard_error == 0


@pytest.mark.parametrize(
    "a, b",
    [
        ([1e12, 1.0, 1.05], [1e12, 1.0, 1.0]),  # one item's size says nothing of the rounding of the others
        ([1, 1, 1], [1, 1, 1 - 1e-13]),
        ([1e-200, 3e-200, 1e-200], [0, 0, 0]),
        ([1e250, 3e250, 1e250], [0, 0, 0]),
    ],
)
def test_differences_that_vary_a_little_do(a, b, recwarn):
    result = st.paired_difference(a, b)
    assert result.standard_error > 0 and result.p_value == pytest.approx(stats.ttest_rel(*shrunk(a, b)).pvalue)
    assert not recwarn


def shrunk(a, b):
    """The same, in a unit in which squares neither vanish nor overflow: t does not change."""
    largest = max(map(abs, np.subtract(a, b)))
    return np.subtract(a, b) / largest, np.zeros(len(a))


@pytest.mark.parametrize(
    "a, b, p_value",
    [
        ([0.3] * 5, [0.1 + 0.2] * 5, 1),  # the same to within rounding; its sign was taken for a difference: 2 / 2^5
        # Sums of -0.6 ... 0.6; the observed one is 0, and every pattern's is at least that or at most that
        ([0.1, 0.2, 0.0], [0, 0, 0.3], 1),
        # The sum is 0, in floats nearly so, and other patterns' zeros are a bit above or below: 0.94 without rounding
        (np.array([2, 3, 2, -3, -3, -1]) * 0.1, [0] * 6, 1),
        # 0.1 + 0.2 + 0.3 = 0.6, reached by (+ + +) alone; -0.1 + 0.2 + 0.3 etc. are less: 2 / 2^3
        ([0.1, 0.2, 0.3], [0, 0, 0], 2 / 8),
        # 0.4 - 0.1 + 0.2 + 0.3 = 0.8. As much or more: + + + + (1.0) and - + + +; twice that of 16
        ([-0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0], 4 / 16),
        # 0.7 - 0.1 + 0.2 + 0.3 - 0.4 = 0.7. More or equal: 17 - 2 * (what is subtracted): at most 5 of (1, 2, 3, 4, 7):
        # nothing, 1, 2, 3, 4, 1+2, 1+3, 1+4, 2+3: 9 of 32, on either side
        ([-0.1, 0.2, 0.3, -0.4, 0.7], [0] * 5, 18 / 32),
    ],
)
@pytest.mark.filterwarnings("ignore:the interval around")
def test_sums_that_are_equal_but_for_rounding_tie(a, b, p_value):
    for turn in range(len(a)):
        mine, yours = np.roll(a, turn), np.roll(b, turn)
        assert st.paired_difference(mine, yours, method="permutation").p_value == pytest.approx(p_value)


def test_permutation_of_equal_models_sees_no_difference():
    with pytest.warns(UserWarning, match="has no width"):
        assert st.paired_difference(A, A, method="permutation").p_value == 1


@pytest.mark.parametrize("call", [lambda: st.paired_difference(A, A, method="permutation")])
def test_the_warning_points_at_the_caller(call):
    assert warned_at(call) == [written_at(call)]


def test_coverage_of_a_paired_difference():
    """100 questions of varying difficulty, two models whose chances to be right differ by 0.1."""
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


@pytest.mark.parametrize(
    "a, b, p_value",
    [
        (A, B, 0.25),  # three items differ, all in favour of a: 2 / 2^3
        (B, A, 0.25),
        (A, A, 1.0),  # no item differs
        ([1] * 6, [0] * 6, 2 / 2**6),  # the interval ends at 1
        ([0] * 6, [1] * 6, 2 / 2**6),  # and at -1
        ([1] * 5 + [0] * 2, [0] * 5 + [1] * 2, 2 * 29 / 2**7),  # 2 of 7 or fewer: 1 + 7 + 21 ways
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


def test_coverage_of_mcnemars_interval():
    rng = np.random.default_rng(12)
    intervals = []
    for _ in range(2_000):
        ease = rng.uniform(0.1, 0.8, 60)
        a, b = rng.random((2, 60)) < np.stack([ease + 0.1, ease])
        intervals.append(st.mcnemar(a, b))
    assert 0.93 <= covered(intervals, 0.1) <= 0.97


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
        (100, 1, 2),  # 1.92, but one item shows no variation
    ],
)
def test_items_needed_by_hand(difference, sd, expected):
    assert st.items_needed(difference, sd).estimate == expected


def test_a_pilot_says_how_rough_the_count_is():
    """21 items give the variance to within a factor of 20 / chi2: 34.17 and 9.591 (tables, 20 degrees of freedom)."""
    result, plain = st.items_needed(0.02, 1, pilot_items=21), st.items_needed(0.02, 1)
    assert result.estimate == plain.estimate
    assert result.low / plain.estimate == pytest.approx(20 / 34.170, rel=1e-3)
    assert result.high / plain.estimate == pytest.approx(20 / 9.591, rel=1e-3)


@pytest.mark.parametrize(
    "difference, expected", [(0.2, 119), (0.1, 493), (0.05, 1_988), (0.01, 49_829)]
)  # ((1.960 + 0.842)^2 (40/63 - d^2) / d^2) + 1.92
def test_items_needed_at_a_disagreement(difference, expected):
    assert st.items_needed(difference, disagreement=40 / 63).estimate == expected
    sd = math.sqrt(40 / 63 - difference**2)
    assert st.items_needed(difference, sd).estimate == expected


def test_a_measured_spread_has_the_measured_difference_taken_out():
    """40 of 63 items differ, 39 of them in favour of one model. The spread of such a pilot promises half the items."""
    pilot = np.array([1] * 39 + [-1] + [0] * 23)
    trap = st.items_needed(0.1, pilot.std(ddof=1)).estimate
    right = st.items_needed(0.1, disagreement=np.abs(pilot).mean()).estimate
    assert (trap, right) == (219, 493)


def test_power_at_the_items_needed_for_a_disagreement():
    """Simulated: with so many items, the difference is seen four times in five; with the trap's 219, not even half."""
    rng = np.random.default_rng(40)
    found = {}
    for items in (493, 219):
        cells = rng.choice([1, -1, 0], p=[(40 / 63 + 0.1) / 2, (40 / 63 - 0.1) / 2, 23 / 63], size=(4_000, items))
        statistic = cells.mean(axis=1) / (cells.std(axis=1, ddof=1) / math.sqrt(items))
        found[items] = np.mean(np.abs(statistic) > stats.t.ppf(0.975, items - 1))
    assert found[493] == pytest.approx(0.8, abs=0.02) and found[219] < 0.5


def test_a_pilot_of_disagreement_has_wilsons_limits():
    result = st.items_needed(0.1, disagreement=40 / 63, pilot_items=63)
    low, high = limits(st.wilson_interval(40, 63))
    assert result.estimate == 493
    assert limits(result) == tuple(st.items_needed(0.1, disagreement=share).estimate for share in (low, high))
    certain = st.items_needed(0.6, disagreement=40 / 63, pilot_items=63)  # Wilson's lower limit is less than 0.6
    assert certain.low == st.items_needed(0.6, disagreement=0.6).estimate <= certain.estimate


def test_items_needed_has_no_unit():
    assert {st.items_needed(0.5 * unit, unit).estimate for unit in (1e-250, 1.0, 1e250)} == {34}


P_VALUES = [0.01, 0.04, 0.03, 0.005]


@pytest.mark.parametrize(
    "p_values, method, expected",
    [
        (P_VALUES, "holm", (0.03, 0.06, 0.06, 0.02)),  # 4 x .005, 3 x .01, 2 x .03, and .04 no less than that
        (P_VALUES, "bh", (0.02, 0.04, 0.04, 0.02)),  # 4/1 x .005, 4/2 x .01, 4/3 x .03, 4/4 x .04
        ([0.3], "holm", (0.3,)),  # one test needs no correction
        ([0.6, 0.7, 0.0], "holm", (1, 1, 0)),  # never more than 1
        (np.array([0.02, 0.02]), "holm", (0.04, 0.04)),
        (iter([1, 0.5]), "bh", (1, 1)),
    ],
)
def test_adjust_p_values(p_values, method, expected):
    result = st.adjust_p_values(p_values, method)
    assert result == pytest.approx(expected) and isinstance(result, tuple)


def test_holm_is_the_default_and_bounds_the_chance_of_any_false_finding():
    """20 comparisons of equal models: the smallest p is below 0.05 in 64 % of cases, and below 0.05 / 20 in 4.9 %."""
    p = np.random.default_rng(41).random(20)
    assert min(st.adjust_p_values(p)) == pytest.approx(min(1, 20 * p.min()))


BAD_INPUT = [
    (lambda: st.items_needed(0.1), ValueError, "give exactly one of .* not neither"),
    (lambda: st.items_needed(0.1, 0.5, disagreement=0.3), ValueError, "give exactly one of .* not both"),
    (lambda: st.items_needed(0.4, disagreement=0.3), ValueError, "difference=0.4 is greater than disagreement=0.3"),
    (lambda: st.items_needed(0.1, disagreement=0), ValueError, "difference=0.1 is greater than disagreement=0:"),
    (lambda: st.items_needed(-0.1, disagreement=0.3), ValueError, "difference=-0.1: give a number greater than 0"),
    (lambda: st.items_needed(0.1, disagreement=40), ValueError, "disagreement=40: give a number between 0 and 1"),
    (lambda: st.items_needed(0.1, disagreement=NAN), ValueError, "disagreement=nan"),
    (lambda: st.items_needed(0.1, disagreement="0.3"), TypeError, "disagreement must be a number, not str"),
    (lambda: st.items_needed(0.1, disagreement=0.3, pilot_items=1), ValueError, "pilot_items=1: give 2 or more"),
    (lambda: st.items_needed(1e-200, 1), ValueError, "difference=1e-200 is too small beside the spread"),
    (lambda: st.items_needed(1e-9, 1e290), ValueError, "is too small beside the spread"),
    (lambda: st.items_needed(10**400, 1), ValueError, "difference=1000.* greater than 0 and less than 1e.300"),
    (lambda: st.adjust_p_values([]), ValueError, "p_values is empty: give 1 or more$"),
    (lambda: st.adjust_p_values([0.1, 1.2]), ValueError, "item 1 of p_values is 1.2: a p-value is between 0 and 1"),
    (lambda: st.adjust_p_values([0.1, -0.1]), ValueError, "item 1 of p_values is -0.1"),
    (lambda: st.adjust_p_values([0.1, None]), ValueError, "item 1 of p_values is None: leave out no comparison"),
    (lambda: st.adjust_p_values([0.1, NAN]), ValueError, "item 1 of p_values is nan: leave out no comparison"),
    (lambda: st.adjust_p_values([0.1, "0.2"]), TypeError, "p_values must hold numbers, and item 1 is str"),
    (lambda: st.adjust_p_values({"task": 0.1}), TypeError, "p_values must be a list"),
    (lambda: st.adjust_p_values([0.1], "bonferroni"), ValueError, "method='bonferroni' is unknown: give 'holm' or"),
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
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
