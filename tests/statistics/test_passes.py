"""pass@k and pass^k: every choice enumerated, exact fractions, the paper's product, unbiasedness, coverage."""

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from statistics_cases import covered

import nbhelpers as nb
from nbhelpers.statistics.passes import all_of, at_least_one

CASES = [(n, c, k) for n in range(1, 9) for c in range(n + 1) for k in range(1, n + 1)]


@pytest.mark.parametrize("n, c, k", CASES)
def test_every_choice_of_k_samples_is_counted(n, c, k):
    choices = list(combinations([True] * c + [False] * (n - c), k))
    assert at_least_one(n, c, k) == float(Fraction(sum(map(any, choices)), len(choices)))
    assert all_of(n, c, k) == float(Fraction(sum(map(all, choices)), len(choices)))


@pytest.mark.parametrize(
    "n, c, k, any_passes, all_pass",
    [
        (5, 2, 1, 2 / 5, 2 / 5),  # one try: the share that passed
        (5, 1, 5, 1.0, 0.0),  # all samples are drawn, the good one among them
        (5, 2, 4, 1.0, 0.0),  # only three failed, so four cannot all fail
        (4, 2, 2, 5 / 6, 1 / 6),  # of six pairs one holds both failures, one both passes
        (200, 0, 100, 0.0, 0.0),
        (200, 200, 100, 1.0, 1.0),
        (10**6, 1, 1, 1e-6, 1e-6),  # 1 - (1 - 1e-6) would be off in the eleventh digit
        (2000, 1, 1000, 0.5, 0.0),  # C(2000, 1000) has 600 digits, more than a float holds
    ],
)
def test_values_known_without_a_formula(n, c, k, any_passes, all_pass):
    assert at_least_one(n, c, k) == any_passes
    assert all_of(n, c, k) == all_pass


@pytest.mark.parametrize("n, c, k", [(200, 7, 10), (200, 7, 100), (200, 150, 50), (1000, 3, 100)])
def test_the_product_of_the_paper_and_the_hypergeometric_distribution_agree(n, c, k):
    product = 1.0
    for i in range(n - c + 1, n + 1):  # Chen and others (2021), figure 3
        product *= 1 - k / i
    assert at_least_one(n, c, k) == pytest.approx(1 - product, rel=1e-12)
    assert at_least_one(n, c, k) == pytest.approx(stats.hypergeom(n, c, k).sf(0), rel=1e-9)
    assert all_of(n, c, k) == pytest.approx(stats.hypergeom(n, c, k).pmf(k), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("n, k", [(1, 1), (5, 1), (5, 3), (5, 5), (9, 4)])
@pytest.mark.parametrize("p", [Fraction(1, 10), Fraction(1, 2), Fraction(9, 10)])
def test_both_are_unbiased(n, k, p):
    """Exactly: the mean over all counts, each with its binomial probability, is what k tries would give."""
    weights = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    at_least = sum(weight * Fraction(at_least_one(n, c, k)) for c, weight in enumerate(weights))
    every = sum(weight * Fraction(all_of(n, c, k)) for c, weight in enumerate(weights))
    assert float(at_least) == pytest.approx(float(1 - (1 - p) ** k), abs=1e-14)
    assert float(every) == pytest.approx(float(p**k), abs=1e-14)


def test_the_mean_over_problems_has_an_interval_over_problems():
    passed, values = [0, 1, 5, 2], [0.0, 2 / 5, 1.0, 7 / 10]  # 1 - C(4,2)/C(5,2) = 4/10, 1 - C(3,2)/C(5,2) = 7/10
    found = nb.pass_at_k(passed, 5, 2)
    assert found.estimate == pytest.approx(np.mean(values))
    error = np.std(values, ddof=1) / 2
    assert found.standard_error == pytest.approx(error)
    reach = stats.t.ppf(0.975, 3) * error
    assert (found.low, found.high) == pytest.approx((max(0, found.estimate - reach), min(1, found.estimate + reach)))
    assert nb.pass_at_k(passed, [5] * 4, 2) == nb.pass_at_k(np.array(passed), np.int64(5), 2) == found
    assert nb.pass_hat_k(passed, 5, 2).estimate == pytest.approx(np.mean([0, 0, 1, 1 / 10]))


def test_each_problem_may_have_its_own_number_of_samples():
    assert nb.pass_at_k([1, 1], [2, 4], 1).estimate == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_with_one_try_both_are_the_share_that_passed():
    passed = [0, 3, 5, 1, 4]
    assert nb.pass_at_k(passed, 5, 1) == nb.pass_hat_k(passed, 5, 1)
    assert nb.pass_at_k(passed, 5, 1).estimate == nb.mean_interval(np.array(passed) / 5).estimate


def test_limits_stay_within_0_and_1_and_clusters_and_confidence_count():
    passed = [0, 0, 0, 1]
    assert nb.pass_at_k(passed, 5, 1).low == 0 and nb.pass_at_k([5, 5, 5, 3], 5, 1).high == 1
    wide, narrow = nb.pass_at_k([0, 1, 3, 5], 5, 1), nb.pass_at_k([0, 1, 3, 5], 5, 1, confidence=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high
    grouped = nb.pass_at_k([0, 0, 5, 5], 5, 1, clusters=list("aabb"))
    assert grouped.standard_error > nb.pass_at_k([0, 0, 5, 5], 5, 1).standard_error


def test_no_width_comes_with_a_warning():
    with pytest.warns(UserWarning, match="has no width"):
        assert nb.pass_hat_k([5, 5, 5], 5, 2).estimate == 1


def test_intervals_cover_what_more_problems_would_show():
    """Problems differ in how often the model solves them: Beta(2, 2). 30 problems, five samples, k = 3."""
    rng = np.random.default_rng(0)
    truth = 1 - np.mean((1 - rng.beta(2, 2, 10**6)) ** 3)
    runs = [nb.pass_at_k(rng.binomial(5, rng.beta(2, 2, 30)), 5, 3) for _ in range(600)]
    assert 0.92 < covered(runs, truth) < 0.98
    assert np.mean([run.estimate for run in runs]) == pytest.approx(truth, abs=0.01)
    naive = [np.mean(1 - (1 - rng.binomial(5, rng.beta(2, 2, 30)) / 5) ** 3) for _ in range(600)]
    assert np.mean(naive) < truth - 0.03  # what the estimator is for


@pytest.mark.parametrize(
    "passed, samples, k, error, words",
    [
        ([1, 6], 5, 1, ValueError, "problem 1: 6 of 5 samples passed"),
        ([-1, 2], 5, 1, ValueError, "problem 0: -1 of 5"),
        ([1, 2.5], 5, 1, ValueError, "problem 1: 2.5 of 5"),
        ([1, 2], 5, 6, ValueError, "problem 0 has 5 samples, too few for k=6: draw more"),
        ([1, 2], [5, 3], 4, ValueError, "problem 1 has 3 samples"),
        ([1, 2], [5, 3, 4], 1, ValueError, "passed has 2 items and samples has 3"),
        ([1, 2], 5, 0, ValueError, "k=0: give 1 or more"),
        ([1, 2], 5, 1.0, TypeError, "k must be a whole number"),
        ([1], 5, 1, ValueError, "passed holds 1 item: give 2 or more"),
        (3, 5, 1, TypeError, "passed must be a list"),
        ([1, 2], "55", 1, TypeError, "samples must be a list"),
    ],
)
def test_impossible_counts_are_refused(passed, samples, k, error, words):
    for measure in (nb.pass_at_k, nb.pass_hat_k):
        with pytest.raises(error, match=words):
            measure(passed, samples, k)
