"""Correcting a judge: published examples, values by hand, simulated coverage, warnings and errors."""

import math

import numpy as np
import pytest
from statistics_cases import NAN, A, B, Z, covered, limits, warned_at, written_at

from nbhelpers import statistics as st


def test_rogan_gladen():
    """Lang and Reiczigel (2014), with the numbers of a published worked example."""
    result = st.rogan_gladen(0.4, 1000, 0.9, 0.7, 200, 200)
    assert result.estimate == pytest.approx((0.4 + 0.7 - 1) / (0.9 + 0.7 - 1))
    assert (result.estimate, *limits(result)) == pytest.approx((0.166667, 0.056351, 0.262733), abs=1e-6)


@pytest.mark.parametrize("rate, n", [(0.3, 50), (0.0, 20), (0.97, 400)])
def test_a_judge_known_to_be_perfect_leaves_a_plain_proportion(rate, n):
    from statsmodels.stats.proportion import proportion_confint

    result = st.rogan_gladen(rate, n, 1.0, 1.0, 10**9, 10**9)
    assert result.estimate == pytest.approx(rate)
    expected = proportion_confint(round(rate * n), n, method="agresti_coull")
    assert limits(result) == pytest.approx(np.clip(expected, 0, 1), abs=1e-6)


@pytest.mark.parametrize("rate, expected", [(0.05, 0.0), (0.99, 1.0)])
def test_an_implausible_rate_is_clipped_with_a_warning(rate, expected):
    with pytest.warns(UserWarning, match="answers of another kind"):
        result = st.rogan_gladen(rate, 1000, 0.9, 0.7, 500, 500)
    assert (result.estimate, *limits(result)) == (expected,) * 3


@pytest.mark.parametrize(
    "call",
    [
        lambda: st.rogan_gladen(0.05, 1000, 0.9, 0.7, 500, 500),
        lambda: st.prediction_powered_mean([1, 1], [1, 1], [1, 1]),
        lambda: st.prediction_powered_mean([1, 0], [1, 0], [1, 0]),
    ],
)
def test_the_warning_points_at_the_caller(call):
    assert warned_at(call) == [written_at(call)]


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
        # a judge that is worse than useless: trust is clipped to 0
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


@pytest.mark.parametrize(
    "labels, judged, others, because",
    [
        ([1, 0, 1, 0], [1, 0, 1, 0], [1, 0, 0, 1, 1], "on all 4 labelled items, .* plus 0, and the interval takes"),
        ([0.3, 0.2, 0.1], [0.2, 0.1, 0.0], [0.1, 0.4], "on all 3 labelled items, .* plus 0.1, and"),  # up to rounding
        ([1e6 + 0.3, 1e6 + 0.7], [1e6 + 0.2, 1e6 + 0.6], [1e6, 2e6], "on all 2 labelled items, .* plus 0.1, and"),
        ([0.3, 0.2, 0.1], [0.2, 0.1, 0.0], [0.1] * 10, "around 0.2 has no width"),
    ],
)
def test_a_judge_that_is_never_wrong_is_warned_of(labels, judged, others, because):
    with pytest.warns(UserWarning, match=because):
        result = st.prediction_powered_mean(labels, judged, others)
    alone = np.std(others, ddof=1) / math.sqrt(len(others)) if len(set(others)) > 1 else 0
    assert result.standard_error == pytest.approx(alone) and (result.standard_error == 0) == (alone == 0)


@pytest.mark.parametrize("score", [0.1, 1 / 3, 1e-200])
def test_a_tuned_judge_that_always_says_the_same_is_not_trusted(score):
    """In floats the variance of equal scores is not always 0, and a covariance divided by that is anything."""
    labels = [1, 0, 1, 1, 0, 1, 1, 0, 1, 0]
    result, alone = st.prediction_powered_mean(labels, [score] * 10, [score] * 7, tuned=True), st.mean_interval(labels)
    assert result.estimate == pytest.approx(0.6) and result.standard_error == pytest.approx(alone.standard_error)


@pytest.mark.parametrize("unit", [1e-200, 1e200])
@pytest.mark.parametrize("tuned", [False, True])
def test_scores_may_have_any_unit(unit, tuned):
    labels, judged, others = np.random.default_rng(15).random((3, 20))
    plain = st.prediction_powered_mean(labels, judged, others, tuned)
    result = st.prediction_powered_mean(labels * unit, judged * unit, others * unit, tuned)
    assert result.estimate / unit == pytest.approx(plain.estimate)
    assert result.standard_error / unit == pytest.approx(plain.standard_error)


def test_tuning_is_never_much_worse_than_labels_or_judge_alone():
    rng = np.random.default_rng(8)
    labels = rng.normal(size=60)
    for noise in (0.1, 1.0, 3.0):
        judged, others = labels + rng.normal(size=60) * noise, rng.normal(size=600) * math.hypot(1, noise)
        tuned = st.prediction_powered_mean(labels, judged, others, tuned=True).standard_error
        full = st.prediction_powered_mean(labels, judged, others).standard_error
        alone = st.mean_interval(labels).standard_error
        assert tuned < 1.02 * min(full, alone)


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("right", [0.9, 0.6])
def test_coverage_of_the_prediction_powered_mean(right, tuned):
    """100 labels and 500 more verdicts, from a judge who is right with the given chance."""
    rng = np.random.default_rng(14)
    intervals = []
    for _ in range(2_000):
        truth = rng.random(600) < 0.7
        judged = np.where(rng.random(600) < right, truth, ~truth)
        intervals.append(st.prediction_powered_mean(truth[:100], judged[:100], judged[100:], tuned))
    assert 0.93 <= covered(intervals, 0.7) <= 0.97


BAD_INPUT = [
    (  # smoothed, 2/3 and 1/3: exactly chance, whatever the rounding
        lambda: st.rogan_gladen(0.5, 100, 1.0, 0.25, 1, 4),
        ValueError,
        "no better than chance",
    ),
    (lambda: st.rogan_gladen(0.5, 100, 2 / 3, 1 / 3, 300, 300), ValueError, "no better than chance"),
    (lambda: st.rogan_gladen(0.4, 1000, 0.5, 0.5, 200, 200), ValueError, "this judge is no better than chance"),
    (
        lambda: st.rogan_gladen(0.4, 1000, 0.2, 0.7, 200, 200),
        ValueError,
        r"sensitivity 0.20 \(on 200 answers\) and specificity 0.70",
    ),
    (
        lambda: st.rogan_gladen(0.4, 1000, 1, 0.3, 1, 1000),
        ValueError,
        "check it on more answers",
    ),  # 1 of 1 proves nothing
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
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
