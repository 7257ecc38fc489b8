"""ECE, Brier decomposition, risk and coverage: values by hand, scikit-learn, slow loops, exact nulls, simulations."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from statistics_cases import covered, limits

import nbhelpers as nb

# Ten answers in five pairs of equal confidence; right: 0, 1, 1, 1 and 2 of two.
STATED = [0.1, 0.1, 0.3, 0.3, 0.5, 0.5, 0.7, 0.7, 0.9, 0.9]
RIGHT = [0, 0, 1, 0, 0, 1, 1, 0, 1, 1]
F = Fraction


def drawn(n, seed=0, right=lambda p: p):
    rng = np.random.default_rng(seed)
    stated = rng.beta(2, 1, n)
    return stated, (rng.random(n) < right(stated)).astype(int)


@pytest.mark.parametrize(
    "stated, right, bins, binning, expected",
    [
        # gaps .1, .2, 0, .2, .1 in five bins of equal size
        (STATED, RIGHT, 5, "width", F(6, 50)),
        (STATED, RIGHT, 5, "mass", F(6, 50)),
        (STATED, RIGHT, 1, "width", 0),  # half right, confidence .5 on average: one bin hides everything
        ([0.8] * 10, [1] * 6 + [0] * 4, 15, "width", F(2, 10)),  # one bin holds all
        ([0.8] * 10, [1] * 6 + [0] * 4, 15, "mass", F(2, 10)),  # equal confidences stay together
        ([1.0, 1.0, 0.0, 0.0], [0, 0, 1, 1], 15, "width", 1),  # always sure, always wrong
        ([0.0, 1.0], [0, 1], 15, "mass", 0),
        # (0, .5] holds .5 and .5 (Guo and others, section 2), (.5, 1] the others: gaps 1/2 and 1/5
        ([0.5, 0.5, 0.7, 0.9], [1, 1, 1, 1], 2, "width", (F(1, 2) + F(1, 5)) / 2),
    ],
)
def test_values_by_hand(stated, right, bins, binning, expected):
    found = nb.calibration_error(stated, right, bins, binning)
    assert found.error.estimate == pytest.approx(float(expected), abs=1e-15)
    assert sum(b.count for b in found.bins) == len(stated)


@pytest.mark.parametrize("binning, strategy", [("mass", "quantile"), ("width", "uniform")])
@pytest.mark.parametrize("n, bins", [(9, 3), (108, 12), (1000, 20)])  # multiples: there all agree on "equally many"
def test_bins_are_those_of_scikit_learn(binning, strategy, n, bins):
    stated, right = drawn(n)
    share, mean = calibration_curve(right, stated, n_bins=bins, strategy=strategy)
    found = nb.calibration_error(stated, right, bins, binning, resamples=40)
    assert [b.confidence for b in found.bins] == pytest.approx(mean)
    assert [b.correct for b in found.bins] == pytest.approx(share)
    counts = [sum((b.low < stated) & (stated <= b.high) | (stated == b.low) * (b is found.bins[0])) for b in found.bins]
    assert [b.count for b in found.bins] == counts
    assert binning == "width" or set(counts) == {n // bins}
    assert found.error.estimate == pytest.approx(np.average(np.abs(share - mean), weights=counts))


@pytest.mark.parametrize("n", [2, 7, 20, 49, 100])
@pytest.mark.parametrize("bins", [1, 3, 7, 15, 49])
def test_bins_of_equal_mass_differ_by_one_item_at_most(n, bins):
    stated, right = drawn(n)
    counts = [b.count for b in nb.calibration_error(stated, right, bins, resamples=40).bins]
    assert len(counts) == min(n, bins) and max(counts) - min(counts) <= 1


def test_what_a_calibrated_model_would_show_is_exact_in_a_small_case():
    """Two items at 1/2 in one bin: |gap| is 1/2 for two of four outcomes, else 0; both or none: 1/2."""
    found = nb.calibration_error([0.5, 0.5], [1, 0], 1, resamples=20_000)
    assert found.by_chance == pytest.approx(1 / 4, abs=0.01) and found.p_value == 1
    assert nb.calibration_error([0.5, 0.5], [1, 1], 1, resamples=20_000).p_value == pytest.approx(1 / 2, abs=0.02)
    sure = nb.calibration_error([1.0, 1.0, 0.0], [1, 1, 0])
    assert (sure.by_chance, sure.p_value, limits(sure.error)) == (0, 1, (0, 0))


def test_noise_adds_up_with_bins_and_away_with_items():
    stated, right = drawn(300)
    chance = [nb.calibration_error(stated, right, b, resamples=400).by_chance for b in (1, 5, 15, 60)]
    assert chance == sorted(chance) and chance[0] > 0
    many = nb.calibration_error(*drawn(30_000), 15, resamples=100)
    assert many.by_chance < nb.calibration_error(stated, right, 15, resamples=100).by_chance / 5
    # Each bin's gap is nearly normal, and the mean of |Z| is sqrt(2 / pi).
    spread = sum(np.sqrt(np.sum(part * (1 - part))) for part in np.array_split(np.sort(stated), 15))
    found = nb.calibration_error(stated, right, 15).by_chance
    assert found == pytest.approx(np.sqrt(2 / np.pi) * spread / 300, rel=0.05)


def test_a_calibrated_model_is_rarely_rejected_and_its_interval_holds_0():
    runs = [nb.calibration_error(*drawn(200, seed), 10, resamples=200) for seed in range(300)]
    assert covered([run.error for run in runs], 0) >= 0.93
    assert np.mean([run.p_value <= 0.05 for run in runs]) < 0.08
    assert np.mean([run.error.estimate for run in runs]) == pytest.approx(runs[0].by_chance, rel=0.15)


def test_the_interval_covers_the_error_of_a_miscalibrated_model():
    def right(p):
        return 0.25 + 0.4 * p

    p = np.random.default_rng(1).beta(2, 1, 10**6)
    truth = np.mean(np.abs(p - right(p)))
    runs = [nb.calibration_error(*drawn(500, seed, right), 15, resamples=200) for seed in range(300)]
    assert covered([run.error for run in runs], truth) > 0.88
    naive = np.mean([run.error.estimate for run in runs])
    assert naive > truth and all(run.p_value < 0.05 for run in runs)


def test_clusters_are_resampled_whole():
    stated, right = drawn(60)
    alone = nb.calibration_error(stated, right, 5)
    copies = nb.calibration_error(np.tile(stated, 4), np.tile(right, 4), 5, clusters=list(range(60)) * 4)
    blind = nb.calibration_error(np.tile(stated, 4), np.tile(right, 4), 5)
    assert copies.error.estimate == pytest.approx(blind.error.estimate)
    assert copies.error.standard_error == pytest.approx(alone.error.standard_error, rel=0.15)
    assert copies.by_chance == pytest.approx(alone.by_chance, rel=0.1)
    assert blind.error.standard_error < 0.7 * copies.error.standard_error and blind.by_chance < 0.6 * copies.by_chance


def test_results_repeat_with_the_seed_and_not_with_another():
    stated, right = drawn(50)
    assert nb.calibration_error(stated, right) == nb.calibration_error(list(stated), right.astype(bool), seed=0)
    assert nb.calibration_error(stated, right) != nb.calibration_error(stated, right, seed=1)
    assert str(nb.calibration_error([0.8] * 10, [1] * 6 + [0] * 4)).startswith("0.200 [")


# --- Brier ----------------------------------------------------------------------------------------------------


def test_the_parts_of_the_brier_score_by_hand():
    """Base rate 1/2. Shares of the pairs: 0, 1/2, 1/2, 1/2, 1."""
    found = nb.brier_decomposition(STATED, RIGHT, bins=None)
    assert found.reliability == pytest.approx(float((F(1, 100) + F(4, 100) + 0 + F(4, 100) + F(1, 100)) / 5))
    assert found.resolution == pytest.approx(float((F(1, 4) + F(1, 4)) / 5))
    assert (found.uncertainty, found.within) == (0.25, 0.0)
    assert found.score.estimate == pytest.approx(float(F(2, 100) - F(1, 10) + F(1, 4)))


@pytest.mark.parametrize("binning", ["mass", "width"])
@pytest.mark.parametrize("bins", [1, 4, 15, 400, None])
def test_the_parts_add_up_to_the_score_of_scikit_learn(binning, bins):
    stated, right = drawn(200)
    stated = stated.round(1)
    found = nb.brier_decomposition(stated, right, bins, binning)
    assert found.score.estimate == pytest.approx(brier_score_loss(right, stated))
    parts = found.reliability - found.resolution + found.uncertainty + found.within
    assert parts == pytest.approx(found.score.estimate)
    assert found.reliability >= 0 and 0 <= found.resolution <= found.uncertainty + 1e-12


def test_what_binning_leaves_out_is_variance_minus_twice_covariance():
    stated, right = drawn(200)
    found = nb.brier_decomposition(stated, right, 5, "width")
    member = np.ceil(stated * 5)
    within = 0.0
    for b in set(member):
        p, y = stated[member == b], right[member == b]
        within += np.sum((p - p.mean()) ** 2) - 2 * np.sum((p - p.mean()) * (y - y.mean()))
    assert found.within == pytest.approx(within / 200)


def test_the_base_rate_is_calibrated_and_knows_nothing():
    right = [1, 0, 0, 1, 0, 0, 0, 1]
    found = nb.brier_decomposition([3 / 8] * 8, right)
    assert (found.reliability, found.resolution) == (0, 0)
    assert found.score.estimate == pytest.approx(found.uncertainty) == pytest.approx(15 / 64)
    assert nb.calibration_error([3 / 8] * 8, right).error.estimate == 0


def test_the_score_has_the_interval_of_a_mean_and_clusters_may_be_an_iterator():
    stated, right = drawn(40)
    squares, clusters = (stated - right) ** 2, np.arange(40) // 4
    assert nb.brier_decomposition(stated, right).score == nb.mean_interval(squares)
    clustered = nb.brier_decomposition(stated, right, clusters=iter(clusters.tolist()))
    assert clustered.score == nb.mean_interval(squares, clusters)


# --- risk and coverage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stated, right, coverage, risk, area",
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 0], [1 / 4, 1 / 2, 3 / 4, 1], [0, 0, 1 / 3, 1 / 2], F(5, 24)),
        ([0.6, 0.7, 0.8, 0.9], [1, 1, 0, 0], [1 / 4, 1 / 2, 3 / 4, 1], [1, 1, 2 / 3, 1 / 2], F(19, 24)),
        ([0.5] * 4, [1, 1, 0, 0], [1], [1 / 2], F(1, 2)),  # one threshold, which answers all
        ([-5.0, -3.0], [0, 1], [1 / 2, 1], [0, 1 / 2], F(1, 4)),  # log-probabilities will do: only the order counts
    ],
)
def test_risk_by_hand(stated, right, coverage, risk, area):
    found = nb.risk_coverage(stated, right)
    assert found.coverage == pytest.approx(coverage) and found.risk == pytest.approx(risk)
    assert found.area.estimate == pytest.approx(float(area))


def test_ties_count_as_the_mean_over_their_orders():
    stated, right = [3, 2, 2, 2, 1, 1], [1, 0, 0, 1, 1, 0]
    areas = []
    for middle in permutations([0, 0, 1]):
        for last in permutations([1, 0]):
            wrong = 1 - np.array([1, *middle, *last])
            areas.append(np.mean(np.cumsum(wrong) / np.arange(1, 7)))
    assert nb.risk_coverage(stated, right).area.estimate == pytest.approx(np.mean(areas))


def test_the_area_of_a_resample_is_that_of_its_items():
    """The bootstrap works with counts. Here the same resamples as lists of items, whose copies are ties."""
    stated, right = drawn(12)
    weights = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=200)
    areas = []
    for row in weights:
        chosen = np.repeat(np.arange(12), row)
        areas.append(nb.risk_coverage(stated[chosen], right[chosen], resamples=40).area.estimate)
    found = nb.risk_coverage(stated, right, resamples=200).area
    assert found.standard_error == pytest.approx(np.std(areas, ddof=1))
    assert found.low == pytest.approx(sorted(areas)[4]) and found.high == pytest.approx(sorted(areas)[195])


def test_intervals_of_the_area_cover_what_more_items_would_show():
    truth = nb.risk_coverage(*drawn(200_000, 7), resamples=40).area.estimate
    runs = [nb.risk_coverage(*drawn(150, seed), resamples=200).area for seed in range(300)]
    assert 0.88 < covered(runs, truth) < 0.99


def test_area_with_clusters_is_wider():
    stated, right = drawn(50)
    whole = nb.risk_coverage(np.tile(stated, 4), np.tile(right, 4), clusters=list(range(50)) * 4).area
    blind = nb.risk_coverage(np.tile(stated, 4), np.tile(right, 4)).area
    assert whole.standard_error == pytest.approx(nb.risk_coverage(stated, right).area.standard_error, rel=0.15)
    assert blind.standard_error < 0.7 * whole.standard_error


def test_an_ignorant_order_has_the_share_of_wrong_answers_as_its_area():
    rng = np.random.default_rng(0)
    right = rng.random(20_000) < 0.7
    assert nb.risk_coverage(rng.random(20_000), right, resamples=40).area.estimate == pytest.approx(0.3, abs=0.03)


# --- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stated, right, error, words",
    [
        ([0.5, 80], [1, 0], ValueError, "item 1 of confidences is 80, not from 0 to 1: divide percentages by 100"),
        ([0.5, -0.7], [1, 0], ValueError, "item 1 of confidences is -0.7, .* not log-probabilities"),
        ([0.5, 0.7], [1, 2], ValueError, "item 1 of correct is 2: give 1 for a right answer and 0 for a wrong one"),
        ([0.5, 0.7], [1], ValueError, "correct holds 1 item"),
        ([0.5, 0.7, 0.1], [1, 0], ValueError, "confidences has 3 items and correct has 2"),
        ([0.5, None], [1, 0], TypeError, "item 1 is NoneType"),
        ([0.5, float("nan")], [1, 0], ValueError, "item 1 of confidences is nan"),
    ],
)
def test_impossible_items_are_refused(stated, right, error, words):
    for measure in (nb.calibration_error, nb.brier_decomposition):
        with pytest.raises(error, match=words):
            measure(stated, right)


def test_risk_takes_any_number_but_no_odd_outcome():
    assert nb.risk_coverage([80, 20], [1, 0]).area.estimate == pytest.approx(1 / 4)
    with pytest.raises(ValueError, match="item 0 of correct is 3"):
        nb.risk_coverage([80, 20], [3, 0])


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"bins": 0}, ValueError, "bins=0: give 1 or more"),
        ({"bins": 2.5}, TypeError, "bins must be a whole number"),
        ({"binning": "equal"}, ValueError, "binning='equal' is unknown: give 'mass' or 'width'"),
        ({"clusters": ["a"] * 10}, ValueError, "all items are in one cluster"),
        ({"clusters": ["a", "b"]}, ValueError, "clusters has 2 items, and there are 10 scores"),
        ({"confidence": 1.0}, ValueError, "confidence=1.0: give a number between 0 and 1"),
        ({"resamples": 10}, ValueError, "resamples=10 is too few"),
    ],
)
def test_impossible_options_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        nb.calibration_error(STATED, RIGHT, **options)
    if "resamples" not in options:
        with pytest.raises(error, match=words):
            nb.brier_decomposition(STATED, RIGHT, **options)


def test_a_gap_of_a_bin_is_its_binomial_one():
    """One bin, ten answers at .8: the p-value is the binomial probability of a count as far from 8."""
    found = nb.calibration_error([0.8] * 10, [1] * 6 + [0] * 4, 1, resamples=20_000)
    far = stats.binom(10, 0.8)
    assert found.p_value == pytest.approx(far.cdf(6) + far.sf(9), abs=0.01)
