"""Two models on the same items: by how much they differ, and how many items it takes to see it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import Literal

import numpy as np

from . import checks
from .intervals import Interval, interval_around, mean_and_error, quantile


def paired_difference(
    a: Iterable[float],
    b: Iterable[float],
    clusters: Iterable[Hashable] | None = None,
    method: Literal["t", "permutation"] = "t",
    confidence: float = 0.95,
    *,
    small_sample: bool = True,
    resamples: int = 9_999,
    seed: int = 0,
) -> Interval:
    """How much higher model `a` scores than model `b` on the same items: mean(a - b).

    Parameters
    ----------
    a, b : iterable of float
        Scores of the two models, item by item in the same order, at least two.
    clusters, confidence, small_sample
        As in :func:`mean_interval`.
    method : "t" or "permutation"
        Where the p-value comes from: Student's t, or a permutation test, which swaps the two models within items (with
        clusters, within whole clusters). It tries every swap if there are at most `resamples`, else random ones. The
        interval always comes from t.
    resamples, seed : int
        For the permutations.

    Raises
    ------
    TypeError, ValueError
        As in :func:`mean_interval`; and with "t", if all differences are equal, because there is then no p-value.

    Notes
    -----
    Miller (2024, arXiv 2411.00640); permutations via scipy. For scores of 0 and 1 see also
    :func:`mcnemar`. Explained in the chapter "Trusting a Judge".
    """
    if method not in ("t", "permutation"):
        raise ValueError(f"method={method!r} is unknown: give 't' or 'permutation'")
    checks.require_number("confidence", confidence, 0, 1)
    a, b = checks.pair("a", a, "b", b)
    groups = None if clusters is None else checks.groups(clusters, len(a))
    difference, error, freedom = mean_and_error(a - b, groups, small_sample)
    if method == "permutation":
        p_value = _permutation_p_value(a - b, groups, resamples, seed)
    elif error == 0:
        raise ValueError(
            f"the differences do not vary (all {difference:g}, or the same in every cluster): t has nothing to measure "
            "chance by. Add items, use method='permutation', or mcnemar for scores of 0 and 1"
        )
    else:
        from scipy.stats import t

        p_value = float(2 * t.sf(abs(difference / error), freedom))
    return interval_around(difference, error, confidence, freedom, p_value)


def mcnemar(a: Iterable[int], b: Iterable[int], confidence: float = 0.95) -> Interval:
    """Difference of the accuracies of two models on the same items, with McNemar's exact test.

    Parameters
    ----------
    a, b : iterable of 0 and 1 (or bool)
        Whether each model was right, item by item in the same order, at least two.
    confidence : float

    Returns
    -------
    Interval
        `estimate` is accuracy(a) - accuracy(b). Test and interval are computed separately: in close cases, one may
        find a difference and the other not.

    Raises
    ------
    TypeError, ValueError
        If a score is neither 0 nor 1, or the lengths differ.

    Notes
    -----
    Test: McNemar (1947), the binomial test of the items on which the models disagree, via scipy. Interval: "Wald+2"
    of Agresti and Min (2005), which adds half an item to each of the four counts and behaves well when few items
    differ. Used in the chapter "Judging with a Model".
    """
    from scipy.stats import binomtest

    checks.require_number("confidence", confidence, 0, 1)
    a, b = checks.pair("a", a, "b", b)
    if not np.isin([a, b], (0, 1)).all():
        raise ValueError("mcnemar compares right with wrong: give scores of 0 and 1, or use paired_difference")
    n = len(a)
    only_a = int((a > b).sum())
    only_b = int((b > a).sum())
    differ = only_a + only_b
    p_value = float(binomtest(only_a, differ).pvalue) if differ else 1.0
    centre = (only_a - only_b) / (n + 2)
    error = math.sqrt(differ + 1 - (only_a - only_b) ** 2 / (n + 2)) / (n + 2)
    reach = quantile(confidence) * error
    return Interval((only_a - only_b) / n, max(-1.0, centre - reach), min(1.0, centre + reach), p_value=p_value)


def items_needed(
    difference: float,
    standard_deviation: float,
    power: float = 0.8,
    confidence: float = 0.95,
    pilot_items: int | None = None,
) -> Interval:
    """How many items it takes to detect a difference between two models.

    Parameters
    ----------
    difference : float
        The true mean difference to detect, greater than 0.
    standard_deviation : float
        Of the item-by-item differences a - b, greater than 0.
    power : float
        How often :func:`paired_difference` should detect it, between 0 and 1.
    confidence : float
        Coverage of that interval. The difference is detected when the interval excludes 0.
    pilot_items : int, optional
        The number of items from which the standard deviation was estimated, at least two.

    Returns
    -------
    Interval
        In whole items. With `pilot_items`, low and high are the items needed at the confidence limits of the standard
        deviation; without, they equal the estimate.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Notes
    -----
    ((z_confidence + z_power) sd / difference)^2, the formula for a normal variable (Miller, 2024, arXiv 2411.00640),
    plus z_confidence^2 / 2 because paired_difference uses t (Guenther, 1981). For a power of 0.8 or more, this is
    within one item of the exact answer, statsmodels' TTestPower. Explained in the chapter "Trusting a Judge".

    The limits from `pilot_items` assume normal differences. For scores of 0 and 1 the variance is the share of items
    on which the two models differ, minus the squared difference: a guess at that share is as good as a pilot.
    """
    checks.require_number("difference", difference)
    checks.require_number("standard_deviation", standard_deviation)
    checks.require_number("power", power, 0, 1)
    checks.require_number("confidence", confidence, 0, 1)
    from scipy.stats import chi2, norm

    z = quantile(confidence)
    z_power = float(norm.ppf(power))
    if z + z_power <= 0:
        raise ValueError(f"power={power} is no more than chance at confidence={confidence}: ask for more power")

    def items(variance: float) -> int:
        return max(2, math.ceil((z + z_power) ** 2 * variance / difference**2 + z**2 / 2))

    variance = standard_deviation**2
    estimate = items(variance)
    if pilot_items is None:
        return Interval(estimate, estimate, estimate)
    checks.require_count("pilot_items", pilot_items, least=2)
    freedom = pilot_items - 1
    tail = (1 - confidence) / 2
    low_variance = float(freedom * variance / chi2.ppf(1 - tail, freedom))
    high_variance = float(freedom * variance / chi2.ppf(tail, freedom))
    return Interval(estimate, items(low_variance), items(high_variance))


def _permutation_p_value(differences: np.ndarray, groups: np.ndarray | None, resamples: int, seed: int) -> float:
    """Swapping two models flips the sign of a difference, or of a cluster's sum of differences."""
    from scipy.stats import permutation_test

    checks.require_count("resamples", resamples)
    totals = differences if groups is None else np.bincount(groups, differences)
    test = permutation_test(
        (totals,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(totals)),
        rng=seed,
    )
    return float(test.pvalue)
