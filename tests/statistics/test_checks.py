"""Input checks: what they return, and that every function makes the one they all share."""

from decimal import Decimal

import numpy as np
import pytest
from statistics_cases import NAN, SCORES, A, B, limits

from nbhelpers import statistics as st
from nbhelpers.statistics import checks

COMPARISONS = [(0, "A", "B", 1), (1, "A", "B", 1), (2, "A", "B", 1), (3, "A", "B", 0)]
BAD_CONFIDENCE = [
    *(
        (call, ValueError, "confidence=95: give a number between 0 and 1")
        for call in (
            lambda: st.wilson_interval(7, 10, 95),
            lambda: st.mean_interval(SCORES, confidence=95),
            lambda: st.paired_difference(A, B, confidence=95),
            lambda: st.mcnemar(A, B, 95),
            lambda: st.cohen_kappa(A, B, 95),
            lambda: st.krippendorff_alpha([A, B], confidence=95),
            lambda: st.rogan_gladen(0.4, 1000, 0.9, 0.7, 200, 200, 95),
            lambda: st.prediction_powered_mean(A, B, A, confidence=95),
            lambda: st.bradley_terry(COMPARISONS, confidence=95),
            lambda: st.items_needed(0.1, 1, confidence=95),
            lambda: st.flip_rate([A, B], 95),
            lambda: st.proportion_interval(7, 10, "jeffreys", 95),
            lambda: st.selection_optimism([A, B], confidence=95),
            lambda: st.variance_components([A, B]).interval(95),
        )
    ),
    (lambda: st.wilson_interval(7, 10, 1.0), ValueError, "confidence=1.0"),
    (lambda: st.wilson_interval(7, 10, 0), ValueError, "confidence=0:"),
    (lambda: st.wilson_interval(7, 10, NAN), ValueError, "confidence=nan"),
    (lambda: st.wilson_interval(7, 10, "95%"), TypeError, "confidence must be a number, not str"),
    (lambda: st.wilson_interval(7, 10, True), TypeError, "confidence must be a number, not bool"),
    (lambda: st.wilson_interval(7, 10, None), TypeError, "confidence must be a number, not NoneType"),
    (lambda: st.wilson_interval(7, 10, 0.95 + 0j), TypeError, "confidence must be a number, not complex"),
    (lambda: st.wilson_interval(7, 10, Decimal("sNaN")), ValueError, "confidence=Decimal"),
    (lambda: st.wilson_interval(7, 10, 10**400), ValueError, "confidence=1000"),
]


@pytest.mark.parametrize("call, error, message", BAD_CONFIDENCE)
def test_bad_confidence_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("value", [0, 1])
def test_limits_are_allowed_only_if_closed(value):
    checks.require_number("share", value, 0, 1, closed=True)
    with pytest.raises(ValueError, match=rf"share={value}: give a number between 0 and 1$"):
        checks.require_number("share", value, 0, 1)


@pytest.mark.parametrize("values", [[1, 0.5, True], (1, 0.5, np.True_), iter([np.int64(1), np.float32(0.5), 1])])
def test_numbers_of_any_type_become_floats(values):
    assert checks.numbers("scores", values).tolist() == [1.0, 0.5, 1.0]


def test_missing_labels_become_none_where_they_may_be_missing():
    assert checks.labels("ratings", ["x", None, NAN, np.nan, 0], missing=True) == ["x", None, None, None, 0]


def test_clusters_are_numbered_as_they_appear():
    assert checks.groups(["b", "a", "b", "c"], 4).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("confidence, least", [(0.95, 40), (0.9, 20), (0.5, 4)])  # one resample beyond each limit
def test_the_fewest_resamples(confidence, least):
    checks.require_bootstrap(confidence, least)
    with pytest.raises(ValueError, match=f"give {least} or more"):
        checks.require_bootstrap(confidence, least - 1)


# Every function that draws at random; what it draws shows in its limits or its p-value.
DRAWING = [
    lambda seed: limits(st.mean_interval(np.arange(50) ** 1.5, method="bootstrap", seed=seed)),
    lambda seed: st.paired_difference(np.arange(50) ** 1.5, [110] * 50, method="permutation", seed=seed).p_value,
    lambda seed: limits(st.krippendorff_alpha(np.random.default_rng(1).random((3, 20)), "interval", seed=seed)),
    lambda seed: st.selection_optimism(np.random.default_rng(1).random((40, 9)), seed=seed).corrected.low,
    lambda seed: (
        st.cohen_kappa(A * 40, B * 40, clusters=np.arange(400) // 10, seed=seed).low
        + st.cohen_kappa([*A * 40, 0], [*B * 40, 1], clusters=np.arange(401) % 57, seed=seed).low
    ),
    lambda seed: st.bradley_terry([(i, "AB"[i % 2], "C", i % 3 / 2) for i in range(60)], seed=seed).low,
]


@pytest.mark.parametrize("draw", DRAWING)
def test_seeds_of_any_size_draw_and_no_two_alike(draw):
    seeds = [0, 1, 2**32, 2**32 + 1, 2**63, 2**64, 2**128, 2**160, 1_764_230_000_000_000_000, 10**400]
    assert len({draw(seed) for seed in seeds}) == len(seeds)


@pytest.mark.parametrize("draw", DRAWING)
@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int32])
def test_a_seed_of_numpy_is_the_number_it_is(draw, kind):
    assert draw(kind(3)) == draw(3)


@pytest.mark.parametrize("draw", DRAWING)
@pytest.mark.parametrize(
    "seed, error, message",
    [
        (-1, ValueError, "seed=-1: give 0 or more"),
        (np.int64(-1), ValueError, "give 0 or more"),
        (1.0, TypeError, "seed must be a whole number, .* not float: 1.0"),
        (None, TypeError, "seed must be a whole number, .* not NoneType"),  # would draw anew each time
        ("1", TypeError, "seed must be a whole number, .* not str"),
        (True, TypeError, "seed must be a whole number, .* not bool"),  # would draw what 1 draws
        ([1, 2], TypeError, "seed must be a whole number, .* not list"),
        (np.random.default_rng(0), TypeError, "seed must be a whole number, .* not Generator"),
    ],
)
def test_a_bad_seed_says_what_was_given(draw, seed, error, message):
    with pytest.raises(error, match=message):
        draw(seed)
