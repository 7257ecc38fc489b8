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


BAD_INPUT = [
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
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
