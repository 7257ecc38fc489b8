"""Variance components: a published example, statsmodels as the oracle, simulation, errors."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from statistics_cases import NAN, covered, limits

from nbhelpers import statistics as st

# Shrout and Fleiss (1979, "Intraclass Correlations"), table 2: four judges rate six targets.
SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_a_published_example():
    """Their table 3 has the mean squares 11.24 (targets), 32.49 (judges) and 1.02 (rest), and the ICC(2, 1) is .29."""
    result = st.variance_components(SHROUT_FLEISS)
    assert result.item_variance == pytest.approx((11.24 - 1.02) / 4, abs=0.005)
    assert result.run_variance == pytest.approx((32.49 - 1.02) / 6, abs=0.005)
    assert result.rest_variance == pytest.approx(1.02, abs=0.005)
    total = result.item_variance + result.run_variance + result.rest_variance
    assert result.item_variance / total == pytest.approx(0.29, abs=0.005)
    assert (result.items, result.runs, result.set_to_zero) == (6, 4, ())
    assert result.mean == pytest.approx(np.mean(SHROUT_FLEISS))


@pytest.mark.parametrize("items, runs", [(2, 2), (7, 3), (30, 5)])
def test_mean_squares_are_those_of_statsmodels(items, runs):
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    rng = np.random.default_rng(items)
    table = rng.normal(size=(items, runs)) + 2 * rng.normal(size=(items, 1)) + 2 * rng.normal(size=(1, runs))
    long = pd.DataFrame(
        {"y": table.ravel(), "item": np.repeat(np.arange(items), runs), "run": np.tile(np.arange(runs), items)}
    )
    squares = anova_lm(ols("y ~ C(item) + C(run)", long).fit())["mean_sq"].to_numpy()
    result = st.variance_components(table)
    expected = (squares[0] - squares[2]) / runs, (squares[1] - squares[2]) / items, squares[2]
    found = result.item_variance, result.run_variance, result.rest_variance
    assert found == pytest.approx(np.maximum(0, expected))
    assert result.set_to_zero == tuple(n for n, x in zip(("items", "runs"), expected[:2], strict=True) if x < 0)


def test_columns_and_table_are_one():
    order = np.random.default_rng(70).permutation(24)
    scores, items, runs = (
        np.array(column)[order].tolist()
        for column in (np.ravel(SHROUT_FLEISS), np.repeat(list("fedcba"), 4), np.tile([3, 1, 4, 2], 6))
    )
    columns, table = st.variance_components(scores, items, runs), st.variance_components(SHROUT_FLEISS)
    assert columns.variance_of_mean() == pytest.approx(table.variance_of_mean())
    assert (columns.items, columns.runs) == (6, 4) and columns.mean == pytest.approx(table.mean)


@pytest.mark.parametrize(
    "wrapped",
    [np.array(SHROUT_FLEISS), torch.tensor(SHROUT_FLEISS), iter(SHROUT_FLEISS), pd.DataFrame(SHROUT_FLEISS).to_numpy()],
)
def test_a_table_in_many_wrappings(wrapped):
    assert st.variance_components(wrapped) == st.variance_components(SHROUT_FLEISS)


def test_the_standard_error_and_its_split():
    result = st.variance_components(SHROUT_FLEISS)
    split = result.variance_of_mean()
    assert split == pytest.approx(
        {"items": result.item_variance / 6, "runs": result.run_variance / 4, "rest": result.rest_variance / 24}
    )
    assert result.standard_error() ** 2 == pytest.approx(sum(split.values()))
    planned = result.item_variance / 100 + result.run_variance / 2 + result.rest_variance / 200
    assert result.standard_error(items=100, runs=2) ** 2 == pytest.approx(planned)
    assert result.standard_error(items=math.inf) ** 2 == pytest.approx(result.run_variance / 4)
    assert result.standard_error(runs=math.inf) ** 2 == pytest.approx(result.item_variance / 6)
    assert result.standard_error(math.inf, math.inf) == 0


def test_runs_that_do_not_matter_leave_the_interval_of_the_items_means():
    """If the runs' estimate is 0 or less, the error is that of the items' means, but for what the truncation adds."""
    rng = np.random.default_rng(71)
    table = rng.normal(size=(50, 1)) + 0.1 * rng.normal(size=(50, 4))
    table -= table.mean(axis=0)  # all runs have one mean
    result = st.variance_components(table)
    assert result.set_to_zero == ("runs",) and result.run_variance == 0
    assert "estimate for runs was negative" in str(result)
    assert result.standard_error() == pytest.approx(st.mean_interval(table.mean(axis=1)).standard_error)
    assert limits(result.interval()) == pytest.approx(limits(st.mean_interval(table.mean(axis=1))))


def test_a_negative_estimate_of_items_is_named_too():
    table = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    result = st.variance_components(table)
    assert result.set_to_zero == ("items", "runs") and result.item_variance == result.run_variance == 0


@pytest.mark.parametrize(
    "table, split",
    [
        ([[0.1, 0.1], [0.3, 0.3]], (0.02, 0, 0)),  # (0.2^2 / 2)
        ([[0.1, 0.3], [0.1, 0.3]], (0, 0.02, 0)),
        ([[0.1, 0.2], [0.3, 0.4]], (0.02, 0.005, 0)),  # additive: the rest is rounding, and is 0
        ([[0.1, 0.1], [0.1, 0.1]], (0, 0, 0)),
        ([[0, 0], [0, 0]], (0, 0, 0)),
    ],
)
def test_what_does_not_vary_is_exactly_zero(table, split):
    result = st.variance_components(table)
    assert result.variance_of_mean(1, 1) == pytest.approx(dict(zip(("items", "runs", "rest"), split, strict=True)))
    assert result.rest_variance == 0 and result.set_to_zero == ()


def test_no_width_is_warned_of():
    with pytest.warns(UserWarning, match="has no width"):
        assert limits(st.variance_components([[1, 1], [1, 1]]).interval()) == (1, 1)


@pytest.mark.parametrize("unit", [1e-100, 1e100])
def test_variances_are_in_the_squared_unit(unit):
    plain, result = st.variance_components(SHROUT_FLEISS), st.variance_components(np.array(SHROUT_FLEISS) * unit)
    assert result.run_variance / unit**2 == pytest.approx(plain.run_variance)
    assert np.divide(limits(result.interval()), unit) == pytest.approx(limits(plain.interval()))


def drawn(rng, items, runs, item_variance, run_variance, rest_variance):
    parts = ((items, 1), item_variance), ((1, runs), run_variance), ((items, runs), rest_variance)
    return sum(rng.normal(0, math.sqrt(variance), shape) for shape, variance in parts)


@pytest.mark.parametrize(
    "items, runs, truth, low",
    [
        (50, 3, (0.1, 0.0, 0.1), 0.94),  # the runs make no difference
        (50, 3, (0.1, 0.05, 0.1), 0.92),  # they make most of it, and there are three
        (50, 10, (0.1, 0.005, 0.1), 0.94),
        (200, 5, (0.1, 0.001, 0.1), 0.94),
    ],
)
def test_simulated_components_and_coverage(items, runs, truth, low):
    rng = np.random.default_rng(72)
    results = [st.variance_components(drawn(rng, items, runs, *truth)) for _ in range(2_000)]
    assert low <= covered([result.interval() for result in results], 0) <= 0.97
    found = np.array([[r.item_variance, r.run_variance, r.rest_variance] for r in results])
    noise = 4 * found.std(axis=0) / math.sqrt(2_000)
    assert np.abs(found.mean(axis=0) - truth)[[0, 2]] == pytest.approx([0, 0], abs=max(noise[[0, 2]]))
    if truth[1] >= 0.005:  # else the truncation at 0 shifts the mean upwards
        assert found[:, 1].mean() == pytest.approx(truth[1], abs=noise[1])
    else:
        assert found[:, 1].mean() < 0.002 and 0.1 < np.mean([r.set_to_zero == ("runs",) for r in results]) < 0.75


BAD_INPUT = [
    (lambda: st.variance_components([]), ValueError, "scores has 0 items: give a table items x runs, two of each"),
    (lambda: st.variance_components([[], []]), ValueError, "scores has 0 runs"),
    (lambda: st.variance_components([[1], [2]]), ValueError, "scores has 1 run: give a table"),
    (lambda: st.variance_components([[1, 2]]), ValueError, "scores has 1 item: give a table"),
    (
        lambda: st.variance_components([[1, 2], [3]]),
        ValueError,
        "item 0 of scores has 2 runs and item 1 has 1: give",
    ),
    (lambda: st.variance_components([[1, NAN], [1, 2]]), ValueError, "item 1 of row 0 of scores is nan"),
    (lambda: st.variance_components([[1, None], [1, 2]]), TypeError, "item 1 of row 0 is NoneType"),
    (lambda: st.variance_components([["1", 2], [1, 2]]), TypeError, "item 0 of row 0 is str"),
    (lambda: st.variance_components(["12", "34"]), TypeError, "row 0 of scores must be a list"),
    (lambda: st.variance_components("12"), TypeError, "scores must be a list"),
    (lambda: st.variance_components(None), TypeError, "scores must be a list"),
    (lambda: st.variance_components([1, 2, 3]), TypeError, "row 0 of scores must be a list .* not 1"),
    (lambda: st.variance_components(np.ones((2, 2, 2))), TypeError, r"array of shape \(2, 2, 2\)"),
    (lambda: st.variance_components(pd.DataFrame([[1, 2], [3, 4]])), TypeError, r"scores is a DataFrame.*to_numpy"),
    (lambda: st.variance_components([1, 2, 3, 4], [0, 0, 1, 1]), ValueError, "items is given and runs is not"),
    (lambda: st.variance_components([1, 2, 3, 4], runs=[0, 1, 0, 1]), ValueError, "runs is given and items is not"),
    (
        lambda: st.variance_components([1, 2, 3], ["a", "a", "b"], [0, 1, 0]),
        ValueError,
        "item 'b' has 0 scores in run 1: give one for every item in every run",
    ),
    (
        lambda: st.variance_components([1, 2, 3, 4, 5], list("aabba"), [0, 1, 0, 1, 0]),
        ValueError,
        "item 'a' has 2 scores in run 0",
    ),
    (lambda: st.variance_components([1, 2], [0, 1], [0]), ValueError, "scores has 2 items and runs has 1"),
    (lambda: st.variance_components([1, 2], [0, None], [0, 1]), ValueError, "item 1 of items has no label"),
    (lambda: st.variance_components([[1e200, 2], [3, 4]]), ValueError, r"largest of scores is 1e\+200, too extreme"),
    (lambda: st.variance_components(SHROUT_FLEISS).standard_error(items=0), ValueError, "items=0: give 1 or more"),
    (lambda: st.variance_components(SHROUT_FLEISS).standard_error(runs=2.5), TypeError, "runs must be a whole number"),
    (lambda: st.variance_components(SHROUT_FLEISS).standard_error(runs=NAN), TypeError, "runs must be a whole number"),
    (lambda: st.variance_components(SHROUT_FLEISS).interval(95), ValueError, "confidence=95"),
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()
