"""Looking many times: published examples and sums over all choices as oracles, simulated error rates and coverage."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statistics_cases import NAN, limits

from nbhelpers import statistics as st

TABLE = np.random.default_rng(50).random((40, 5)) < 0.6
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


def test_the_example_of_benjamini_and_hochberg():
    """Their paper (1995, section 4): of 15 p-values, Bonferroni's method finds 3 and theirs finds 4 at 0.05."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert sum(q <= 0.05 for q in st.adjust_p_values(p, "holm")) == 3
    assert sum(q <= 0.05 for q in st.adjust_p_values(p, "bh")) == 4
    assert st.adjust_p_values(p, "bh")[3] == pytest.approx(0.0095 * 15 / 4)


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_adjusted_p_values_are_those_of_statsmodels(n):
    from statsmodels.stats.multitest import multipletests

    p = (np.random.default_rng(n).random(n) ** 3).round(2)  # with ties, and some 0
    for method, statsmodels in (("holm", "holm"), ("bh", "fdr_bh")):
        assert st.adjust_p_values(p, method) == pytest.approx(tuple(multipletests(p, method=statsmodels)[1]))


def test_simulated_error_rates_of_many_tests():
    """15 equal pairs of models and 5 unequal ones. Holm: any false finding in 5% at most; bh: 5% of the findings."""
    rng = np.random.default_rng(42)
    any_false, share_false, found = [], [], []
    for _ in range(2_000):
        p = stats.norm.sf(rng.normal(np.repeat([0, 3], [15, 5])))
        holm, bh = (np.array(st.adjust_p_values(p, method)) < 0.05 for method in ("holm", "bh"))
        any_false.append(holm[:15].any())
        share_false.append(bh[:15].sum() / max(1, bh.sum()))
        found.append((holm[15:].mean(), bh[15:].mean()))
    # Holm's bound is sharp if all are equal; here it tests 15 of 20 (or 16) and so errs in 15/20 * 5% and a bit more.
    assert 0.03 < np.mean(any_false) < 0.055
    assert np.mean(share_false) == pytest.approx(0.05 * 15 / 20, abs=0.008)  # the exact rate of independent tests
    assert np.mean(found, axis=0)[0] + 0.1 < np.mean(found, axis=0)[1]  # and finds more


# --- the best of k ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, k", [(1, 1), (5, 1), (5, 3), (5, 5), (8, 2), (9, 4)])
def test_best_of_k_is_the_mean_over_all_choices(n, k):
    scores = np.random.default_rng(n).random(n).round(1)  # with ties
    exact = np.mean([max(choice) for choice in itertools.combinations(scores.tolist(), k)])
    assert st.best_of_k(scores, k) == pytest.approx(exact)
    assert st.best_of_k(scores[::-1], k) == st.best_of_k(scores, k)  # in whatever order
    assert isinstance(st.best_of_k(scores, k), float)


@pytest.mark.parametrize("n", [10, 1_000, 100_000])
@pytest.mark.parametrize("k", [1, 2, 8, 10])
def test_best_of_k_in_closed_form(n, k):
    """The highest of k numbers from 1 to n is k (n + 1) / (k + 1) on average: the German tank problem."""
    assert st.best_of_k(range(1, n + 1), k) == pytest.approx(k * (n + 1) / (k + 1), rel=1e-12)


@pytest.mark.parametrize("unit", [1e-250, 1.0, 1e250])
def test_best_of_k_has_no_unit(unit):
    assert st.best_of_k(np.array([0.1, 0.5, 0.9]) * unit, 2) / unit == pytest.approx((0.5 + 0.9 + 0.9) / 3)


def test_best_of_k_of_equal_scores_is_that_score():
    assert {st.best_of_k([0.1] * n, k) for n in (3, 7, 50) for k in (1, 2, 3)} == {0.1}


def test_best_of_k_estimates_new_tries_without_bias():
    """Of 8 candidates drawn from a normal distribution; the best of 3 new ones is 0.8463 (3 / (2 sqrt(pi)))."""
    rng = np.random.default_rng(43)
    found = [st.best_of_k(row, 3) for row in rng.normal(size=(2_000, 8))]
    assert np.mean(found) == pytest.approx(1.5 / math.sqrt(math.pi), abs=4 * np.std(found) / math.sqrt(2_000))


# --- how much of the best is luck -------------------------------------------------------------------------------


def halves(table, splits, seed):
    """Choosing on one half and scoring on the other, as one would write it down."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(splits):
        order = rng.permutation(len(table))
        one, two = table[order[: len(table) // 2]], table[order[len(table) // 2 :]]
        held_out = np.concatenate([two[:, one.mean(axis=0).argmax()], one[:, two.mean(axis=0).argmax()]])
        found.append(held_out.mean())
    return np.mean(found)


def test_luck_is_what_a_choice_on_one_half_loses_on_the_other():
    result = st.selection_optimism(TABLE, splits=1_000)
    assert result.chosen == TABLE.mean(axis=0).argmax()
    assert result.reported == st.mean_interval(TABLE[:, result.chosen], method="t")
    assert result.corrected.estimate == pytest.approx(halves(TABLE, 1_000, 7), abs=0.01)  # another seed
    assert result.optimism.estimate == pytest.approx(result.reported.estimate - result.corrected.estimate)
    assert result.optimism.high == pytest.approx(result.reported.estimate - result.corrected.low)
    assert result.optimism.low == pytest.approx(result.reported.estimate - result.corrected.high)
    assert result.corrected.high == result.reported.high and result.corrected.low < result.reported.low


@pytest.mark.parametrize("candidates", [2, 8, 50])
def test_the_lower_limit_holds_for_all_independent_candidates_at_once(candidates):
    """Many items, so that t is normal: the highest of k errors is below z with chance Phi(z)^k."""
    table = np.random.default_rng(44).normal(size=(5_000, candidates))
    result = st.selection_optimism(table, splits=2)
    reach = (result.reported.estimate - result.corrected.low) / result.reported.standard_error
    assert reach == pytest.approx(stats.norm.ppf(0.975 ** (1 / candidates)), abs=0.06)


def test_copies_of_one_candidate_leave_nothing_to_luck():
    scores = np.random.default_rng(45).random(60)
    result = st.selection_optimism(np.stack([scores] * 8, axis=1))
    assert result.chosen == 0 and result.optimism.estimate == 0
    assert limits(result.corrected) == pytest.approx(limits(st.mean_interval(scores)), abs=0.002)


def test_a_candidate_that_is_always_better_is_no_luck():
    table = np.random.default_rng(46).random((60, 1)) + np.array([0.0, 0.1, 0.3, 0.2])
    result = st.selection_optimism(table)
    assert result.chosen == 2 and result.optimism.estimate == 0


def test_items_of_one_cluster_stay_together():
    """20 clusters of five equal items are 20 items."""
    table = np.random.default_rng(47).random((20, 6))
    plain, clustered = st.selection_optimism(table), st.selection_optimism(table.repeat(5, axis=0), np.arange(100) // 5)
    assert clustered.chosen == plain.chosen
    assert clustered.optimism.estimate == pytest.approx(plain.optimism.estimate)
    assert limits(clustered.corrected) == pytest.approx(limits(plain.corrected))


@pytest.mark.parametrize("unit", [1e-250, 1e250])
def test_luck_has_no_unit(unit):
    plain, result = st.selection_optimism(TABLE), st.selection_optimism(TABLE * unit)
    assert result.optimism.estimate / unit == pytest.approx(plain.optimism.estimate)
    assert result.corrected.low / unit == pytest.approx(plain.corrected.low)


def test_equal_seeds_give_equal_luck():
    assert st.selection_optimism(TABLE) == st.selection_optimism(TABLE.tolist()) != st.selection_optimism(TABLE, seed=1)


@pytest.mark.parametrize(
    "gaps, naive",  # how much better some candidates are; how often the plain interval holds the true mean
    [
        ([0] * 8, 0.92),  # all equal: the best is best by luck
        ([0, 0.03, 0.06, 0.09], 0.97),
        ([0, 0, 0, 0.3], 0.98),  # no doubt which is best
    ],
)
def test_coverage_of_the_corrected_mean(gaps, naive):
    """100 items of varying difficulty; a candidate is right with the same chance on average, but for its gap."""
    rng = np.random.default_rng(48)
    truth = 0.5 + np.array(gaps)
    held, held_naively, luck, estimated = [], [], [], []
    for _ in range(1_000):
        table = rng.random((100, len(gaps))) < truth + rng.choice([-0.2, 0.2], size=(100, 1))
        result = st.selection_optimism(table, splits=10)
        mean = truth[result.chosen]
        held.append(result.corrected.low <= mean <= result.corrected.high)
        held_naively.append(result.reported.low <= mean <= result.reported.high)
        luck.append(result.reported.estimate - mean)
        estimated.append(result.optimism.estimate)
    assert np.mean(held) > 0.95 - 2 * math.sqrt(0.05 * 0.95 / 1_000)
    assert np.mean(held_naively) < naive
    noise = 3 * np.std(np.subtract(luck, estimated)) / math.sqrt(1_000)
    assert -noise < np.mean(estimated) - np.mean(luck) < 0.012 + noise  # right, or somewhat too much


BAD_INPUT = [
    (lambda: st.adjust_p_values([]), ValueError, "p_values is empty: give 1 or more$"),
    (lambda: st.adjust_p_values([0.1, 1.2]), ValueError, "item 1 of p_values is 1.2: a p-value is between 0 and 1"),
    (lambda: st.adjust_p_values([0.1, -0.1]), ValueError, "item 1 of p_values is -0.1"),
    (lambda: st.adjust_p_values([0.1, None]), ValueError, "item 1 of p_values is None: leave out no comparison"),
    (lambda: st.adjust_p_values([0.1, NAN]), ValueError, "item 1 of p_values is nan: leave out no comparison"),
    (lambda: st.adjust_p_values([0.1, "0.2"]), TypeError, "p_values must hold numbers, and item 1 is str"),
    (lambda: st.adjust_p_values({"task": 0.1}), TypeError, "p_values must be a list"),
    (lambda: st.adjust_p_values([0.1], "benjamini-hochberg"), ValueError, "give 'holm' or 'bh'$"),
    (
        lambda: st.adjust_p_values([0.1], "bonferroni"),
        ValueError,
        "method='bonferroni' is unknown: give 'holm' or 'bh'$",
    ),
    (lambda: st.best_of_k([], 1), ValueError, "scores is empty: give 1 or more$"),
    (lambda: st.best_of_k([0.5, 0.6], 3), ValueError, "k=3 is more than the 2 candidates: give a number from 1 to 2"),
    (lambda: st.best_of_k([0.5], 2), ValueError, "k=2 is more than the 1 candidate: give a number from 1 to 1"),
    (lambda: st.best_of_k([0.5, 0.6], 0), ValueError, "k=0: give 1 or more"),
    (lambda: st.best_of_k([0.5, 0.6], 1.0), TypeError, "k must be a whole number, not float"),
    (lambda: st.best_of_k([0.5, 0.6], True), TypeError, "k must be a whole number, not bool"),
    (lambda: st.best_of_k([0.5, NAN], 1), ValueError, "item 1 of scores is nan"),
    (lambda: st.best_of_k([0.5, "0.6"], 1), TypeError, "item 1 is str"),
    (lambda: st.best_of_k({"prompt": 0.5}, 1), TypeError, "scores must be a list"),
    (lambda: st.best_of_k([[0.5, 0.6]], 1), TypeError, "item 0 is list"),
    (lambda: st.selection_optimism([]), ValueError, "scores has 0 items: give a table items x candidates"),
    (lambda: st.selection_optimism([[1, 0]]), ValueError, "scores has 1 item: give a table"),
    (lambda: st.selection_optimism([[1], [0]]), ValueError, "scores has 1 candidate: give a table"),
    (lambda: st.selection_optimism([[1, 0], [1]]), ValueError, "item 0 of scores has 2 candidates and item 1 has 1"),
    (lambda: st.selection_optimism([[1, 0], [1, NAN]]), ValueError, "item 1 of row 1 of scores is nan"),
    (lambda: st.selection_optimism([[1, 0], "10"]), TypeError, "row 1 of scores must be a list"),
    (lambda: st.selection_optimism([1, 0]), TypeError, "row 0 of scores must be a list"),
    (lambda: st.selection_optimism(TABLE, ["a"] * 40), ValueError, "all items are in one cluster"),
    (lambda: st.selection_optimism(TABLE, ["a"]), ValueError, "clusters has 1 item, and there are 40 scores"),
    (lambda: st.selection_optimism(TABLE, confidence=95), ValueError, "confidence=95"),
    (lambda: st.selection_optimism(TABLE, splits=0), ValueError, "splits=0: give 1 or more"),
    (lambda: st.selection_optimism(TABLE, seed=None), TypeError, "seed must be a whole number"),
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
