"""Two models on the same items: by how much they differ, how many items it takes to see it, and many such tests."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import Literal

import numpy as np

from . import checks
from .intervals import ROUNDING, Interval, interval_around, mean_and_error, quantile, rounding_of, unit_of


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
        For the permutations. The seed is any whole number, 0 or more; equal seeds give equal results.

    Raises
    ------
    TypeError, ValueError
        As in :func:`mean_interval`; and with "t", if all differences are equal, because there is then no p-value.

    Notes
    -----
    Differences that rounding explains, as between 0.3 and 0.1 + 0.2, count as 0; differences that vary by no more than
    rounding, as 0.3 - 0.2 and 0.1, count as equal.

    Miller (2024, arXiv 2411.00640); permutations via scipy. For scores of 0 and 1 see also
    :func:`mcnemar`; for many comparisons at once, :func:`adjusted_p_values`. Explained in the chapter "Trusting a
    Judge".
    """
    if method not in ("t", "permutation"):
        raise ValueError(f"method={method!r} is unknown: give 't' or 'permutation'")
    confidence = checks.require_number("confidence", confidence, 0, 1)
    a, b = checks.pair("a", a, "b", b)
    groups = None if clusters is None else checks.groups(clusters, len(a))
    rounding = rounding_of(a, b)
    differences = np.where(np.abs(a - b) <= rounding, 0.0, a - b)
    difference, error, freedom = mean_and_error(differences, groups, small_sample, rounding)
    if method == "permutation":
        p_value = _permutation_p_value(differences, groups, resamples, seed)
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

    confidence = checks.require_number("confidence", confidence, 0, 1)
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
    standard_deviation: float | None = None,
    power: float = 0.8,
    confidence: float = 0.95,
    pilot_items: int | None = None,
    *,
    disagreement: float | None = None,
) -> Interval:
    """How many items it takes to detect a difference between two models.

    Parameters
    ----------
    difference : float
        The true mean difference to detect, greater than 0.
    standard_deviation : float, optional
        Of the item-by-item differences a - b, greater than 0, when the true mean difference is `difference`.
    power : float
        How often :func:`paired_difference` should detect it, between 0 and 1.
    confidence : float
        Coverage of that interval. The difference is detected when the interval excludes 0.
    pilot_items : int, optional
        The number of items from which the standard deviation or the disagreement was estimated, at least two.
    disagreement : float, optional
        For scores of 0 and 1, instead of the standard deviation: the share of items on which one model is right and the
        other wrong. It is at least `difference`, because every point of difference takes an item that tells them apart.

    Returns
    -------
    Interval
        In whole items. With `pilot_items`, low and high are the items needed at the confidence limits of the standard
        deviation or of the disagreement; without, they equal the estimate.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, the difference is greater than the disagreement, or not exactly one of
        `standard_deviation` and `disagreement` is given.

    Notes
    -----
    **A trap for scores of 0 and 1.** Their standard deviation is sqrt(disagreement - d^2), where d is the mean
    difference. One that was measured in a pilot has the difference *of the pilot* taken out. If that was large and the
    one to detect is small, the measured value is too small, and so is the number of items: 40 of 63 items that differ,
    all in favour of one model, have a standard deviation of 0.48, but with a true difference of 0.1 one of 0.79.
    So give `disagreement`: then the spread is computed for the difference to detect.

    The formula is ((z_confidence + z_power) sd / difference)^2, for a normal variable (Miller, 2024,
    arXiv 2411.00640), plus z_confidence^2 / 2 because paired_difference uses t (Guenther, 1981). At a power of 0.8 to
    0.99 and a confidence of 0.95 to 0.99, this is within one item of statsmodels' TTestPower, which is exact for normal
    differences. At lower confidence it asks for up to some percent more, because a difference detected with the wrong
    sign does not count here. Scores of 0 and 1 are not normal: if the models would differ on fewer than 10 or so of the
    items, plan for more. Explained in the chapter "Trusting a Judge".

    The limits from `pilot_items` assume normal differences; those of a disagreement are Wilson's (but a disagreement
    below `difference` is impossible, and counts as equal to it).
    """
    difference = checks.require_number("difference", difference)
    power = checks.require_number("power", power, 0, 1)
    confidence = checks.require_number("confidence", confidence, 0, 1)
    if (standard_deviation is None) == (disagreement is None):
        given = "both" if disagreement is not None else "neither"
        raise ValueError(
            f"give exactly one of standard_deviation and disagreement, not {given}: disagreement for scores of 0 and 1 "
            "(the share of items on which the two models differ), standard_deviation for others"
        )
    freedom = None if pilot_items is None else checks.require_count("pilot_items", pilot_items, least=2) - 1
    if disagreement is not None:
        disagreement = checks.require_number("disagreement", disagreement, 0, 1, closed=True)
        if difference - disagreement > ROUNDING:
            raise ValueError(
                f"difference={difference:g} is greater than disagreement={disagreement:g}: models that differ on "
                f"{disagreement:.1%} of the items differ by no more than that in their means. Plan for a smaller "
                "difference, or expect more disagreement"
            )
        limits = (disagreement, disagreement) if freedom is None else _share_limits(disagreement, freedom, confidence)
        variances = [max(share, difference) - difference**2 for share in (disagreement, *limits)]
        squared = difference**2
    else:
        deviation = checks.require_number("standard_deviation", standard_deviation)
        unit = unit_of(difference)
        squared, ratio = (difference / unit) ** 2, deviation / unit
        variance = ratio * ratio  # may be infinite, where ** 2 would be a raw error
        limits = (variance, variance) if freedom is None else _variance_limits(variance, freedom, confidence)
        variances = [variance, *limits]
    from scipy.stats import norm

    z, z_power = quantile(confidence), float(norm.ppf(power))
    if z + z_power <= 0:
        raise ValueError(f"power={power} is no more than chance at confidence={confidence}: ask for more power")

    def items(variance: float) -> int:
        if not variance < 1e15 * squared:
            raise ValueError(f"difference={difference:g} is too small beside the spread: 10^15 items do not show it")
        return max(2, math.ceil((z + z_power) ** 2 * variance / squared + z**2 / 2))

    return Interval(*map(items, variances))


def adjusted_p_values(
    p_values: Iterable[float], method: Literal["holm", "benjamini-hochberg"] = "holm"
) -> tuple[float, ...]:
    """P-values of many comparisons (tasks, pairs of models), raised so that each still means what it says.

    Twenty comparisons of equal models give one p-value below 0.05 on average. Compare the adjusted ones with 0.05.

    Parameters
    ----------
    p_values : iterable of float
        Of *all* comparisons that were made, from 0 to 1, not only of those that look good.
    method : "holm" or "benjamini-hochberg"
        "holm" keeps the chance of even one false finding below the limit, whatever the comparisons have to do with one
        another. "benjamini-hochberg" keeps the expected share of false findings among the findings below it, which
        finds more; this holds if the tests are independent or positively related, as tests of two models on several
        tasks mostly are.

    Returns
    -------
    tuple of float
        In the order given.

    Raises
    ------
    TypeError, ValueError
        If there are none, or one is not a number from 0 to 1.

    Notes
    -----
    Holm (1979); Benjamini and Hochberg (1995); via statsmodels.
    """
    from statsmodels.stats.multitest import multipletests

    names = {"holm": "holm", "benjamini-hochberg": "fdr_bh"}
    if method not in names:
        raise ValueError(f"method={method!r} is unknown: give 'holm' or 'benjamini-hochberg'")
    p_values = checks.listed("p_values", p_values)
    for i, p in enumerate(p_values):
        if checks.is_missing(p):
            raise ValueError(
                f"item {i} of p_values is {p}: leave out no comparison. paired_difference and mcnemar give p-values, "
                "intervals of a single model have none"
            )
    found = checks.numbers("p_values", p_values, least=1)
    for i, p in enumerate(found):
        if not 0 <= p <= 1:
            raise ValueError(f"item {i} of p_values is {p:g}: a p-value is between 0 and 1")
    return tuple(multipletests(found, method=names[method])[1].tolist())


# --- shared arithmetic ----------------------------------------------------------------------------------------


def _variance_limits(variance: float, freedom: int, confidence: float) -> tuple[float, float]:
    """Of the variance of a normal variable."""
    from scipy.stats import chi2

    tail = (1 - confidence) / 2
    return float(freedom * variance / chi2.ppf(1 - tail, freedom)), float(freedom * variance / chi2.ppf(tail, freedom))


def _share_limits(share: float, freedom: int, confidence: float) -> tuple[float, float]:
    """Wilson's, of a share that need not be a whole number of items: it may have been rounded to print it."""
    from statsmodels.stats.proportion import proportion_confint

    n = freedom + 1
    low, high = proportion_confint(share * n, n, alpha=1 - confidence, method="wilson")
    return float(low), min(1.0, float(high))


def _permutation_p_value(differences: np.ndarray, groups: np.ndarray | None, resamples: int, seed: int) -> float:
    """Swapping two models flips the sign of a difference, or of a cluster's sum of differences."""
    from scipy.stats import permutation_test

    checks.require_count("resamples", resamples)
    rng = checks.random_generator(seed)
    totals = differences if groups is None else np.bincount(groups, differences)
    # Sums that are equal but for the order of their rounding must tie. Of multiples of pi, no tie is torn apart because
    # it falls on the edge between two rounded values.
    unit = math.pi * (np.abs(totals).sum() or 1.0)
    test = permutation_test(
        (totals,),
        lambda x, axis: (x.sum(axis=axis) / unit).round(13),
        permutation_type="samples",
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(totals)),
        rng=rng,
    )
    return float(test.pvalue)
