"""Equal within a margin, or not worse by it: statsmodels as the oracle, simulated error rates, errors."""

import numpy as np
import pytest
from scipy import stats
from statistics_cases import CLUSTERS, NAN, A, B, limits

from nbhelpers import statistics as st


@pytest.mark.parametrize("margin", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("shift", [-0.2, 0.0, 0.2])
def test_the_two_tests_are_those_of_statsmodels(margin, shift):
    from statsmodels.stats.weightstats import ttost_paired

    a, b = np.random.default_rng(60).random((2, 25)) + np.array([[shift], [0]])
    result = st.equivalence(a, b, margin)
    p, (_, lower, _), (_, upper, _) = ttost_paired(a, b, -margin, margin)
    assert (result.p_equivalent, result.p_not_worse, result.p_not_better) == pytest.approx((p, lower, upper))


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("margin", [0.02, 0.1, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("clusters", [None, CLUSTERS])
def test_the_decision_is_that_of_the_interval(confidence, margin, clusters):
    for seed in range(10):
        a, b = np.random.default_rng(seed).random((2, 8))
        result = st.equivalence(a, b, margin, clusters, confidence)
        assert result.not_worse == (result.p_not_worse < 1 - confidence) == (result.low > -margin)
        assert result.equivalent == (result.p_equivalent < 1 - confidence)
        both = st.paired_difference(a, b, clusters, confidence=2 * confidence - 1)
        assert limits(result) == pytest.approx(limits(both)) and result.estimate == both.estimate
        assert result.standard_error == both.standard_error and result.p_value is None


def test_swapping_the_models_swaps_the_two_sides():
    one, other = st.equivalence(A, B, 0.4), st.equivalence(B, A, 0.4)
    assert (one.p_not_worse, one.p_not_better) == pytest.approx((other.p_not_better, other.p_not_worse))
    assert one.p_equivalent == other.p_equivalent == max(one.p_not_worse, one.p_not_better)


@pytest.mark.parametrize(
    "shift, text",
    [
        (0.0, "equal within 0.1 (p = 0.0"),
        (0.5, ": not worse within 0.1 (p = 0.0"),
        (-0.5, "not shown to be equal or not worse within 0.1 (p = 1.000)"),
    ],
)
def test_it_says_what_it_found(shift, text):
    noise = np.random.default_rng(61).normal(0, 0.1, 50)
    assert text in str(st.equivalence(noise + shift, np.zeros(50), 0.1))


def test_it_is_an_interval():
    assert isinstance(st.equivalence(A, B, 0.1), st.Interval)


def simulated(difference, reps, seed, clusters=None):
    """Two models on 400 questions, each right on about 0.7 of them; they differ on about a quarter."""
    rng = np.random.default_rng(seed)
    for _ in range(reps):
        drawn = rng.random(400)
        a = drawn < 0.7
        b = np.where(rng.random(400) < 0.4, rng.random(400) < 0.7 - difference / 0.4, a)
        yield st.equivalence(a, b, 0.05, clusters)


def test_error_rates_at_the_margin():
    """If a is worse by exactly the margin, "not worse" is claimed in 5% of cases; and so is "equal", at most."""
    worse = list(simulated(-0.05, 2_000, 62))
    assert 0.04 <= np.mean([r.not_worse for r in worse]) <= 0.06
    assert np.mean([r.equivalent for r in worse]) <= 0.06
    better = list(simulated(0.05, 2_000, 63))
    assert np.mean([r.equivalent for r in better]) <= 0.06
    assert np.mean([r.not_worse for r in better]) > 0.9


def test_equal_models_are_found_equal_as_often_as_theory_says():
    equal = list(simulated(0.0, 1_000, 64))
    spread = np.mean([r.standard_error for r in equal])
    power = 2 * stats.norm.cdf(0.05 / spread - stats.norm.ppf(0.95)) - 1
    assert np.mean([r.equivalent for r in equal]) == pytest.approx(power, abs=0.05)


def test_clusters_keep_the_error_rate():
    """30 questions asked four times each, with one answer. Without clusters, the rate is far too high."""
    rng = np.random.default_rng(65)
    naive, clustered = [], []
    for _ in range(1_000):
        d = rng.normal(-0.5, 1, 30).repeat(4)
        naive.append(st.equivalence(d, 0 * d, 0.5).not_worse)
        clustered.append(st.equivalence(d, 0 * d, 0.5, np.arange(120) // 4).not_worse)
    assert 0.03 <= np.mean(clustered) <= 0.07 and np.mean(naive) > 0.15


BAD_INPUT = [
    (lambda: st.equivalence(A, B, 0), ValueError, "margin=0: give a number greater than 0"),
    (lambda: st.equivalence(A, B, -0.02), ValueError, "margin=-0.02"),
    (lambda: st.equivalence(A, B, NAN), ValueError, "margin=nan"),
    (lambda: st.equivalence(A, B, "2%"), TypeError, "margin must be a number, not str"),
    (lambda: st.equivalence(A, B, True), TypeError, "margin must be a number, not bool"),
    (lambda: st.equivalence(A, B, [0.02]), TypeError, "margin must be a number, not list"),
    (lambda: st.equivalence(A, B, 0.02, confidence=0.5), ValueError, "confidence=0.5: give a number between 0.5 and 1"),
    (lambda: st.equivalence(A, B, 0.02, confidence=95), ValueError, "confidence=95"),
    (lambda: st.equivalence(A, B[:9], 0.02), ValueError, "a has 10 items and b has 9"),
    (lambda: st.equivalence([], [], 0.02), ValueError, "a is empty"),
    (lambda: st.equivalence([1], [0], 0.02), ValueError, "a holds 1 item"),
    (lambda: st.equivalence(A, [NAN] * 10, 0.02), ValueError, "item 0 of b is nan"),
    (lambda: st.equivalence(A, "1001001010", 0.02), TypeError, "b must be a list"),
    (lambda: st.equivalence(A, A, 0.02), ValueError, "the differences do not vary .* proportion_interval bounds"),
    (lambda: st.equivalence(A, B, 0.02, ["a"] * 10), ValueError, "all items are in one cluster"),
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
