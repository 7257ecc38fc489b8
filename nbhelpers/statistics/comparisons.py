"""Two models on the same items: by how much they differ, and whether they differ by less than matters."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from . import checks
from .intervals import Interval, interval_around, mean_and_error, quantile, rounding_of


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
    :func:`mcnemar`; for many comparisons at once, :func:`adjust_p_values`; to show that two models do
    *not* differ, :func:`equivalence`. Explained in the chapters "Trusting a Judge" and "Error Bars".
    """
    if method not in ("t", "permutation"):
        raise ValueError(f"method={method!r} is unknown: give 't' or 'permutation'")
    confidence = checks.require_number("confidence", confidence, 0, 1)
    differences, groups, rounding = _differences(a, b, clusters)
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
    differ. Used in the chapters "Judging with a Model" and "Error Bars".
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


@dataclass(frozen=True, kw_only=True)
class Equivalence(Interval):
    """How far two models are apart, and whether that is less than a margin.

    Attributes
    ----------
    estimate : float
        mean(a - b), in the unit of the scores.
    low : float
        Lower limit of the interval that decides. Its coverage is 2 * confidence - 1, which is 90% for 0.95.
    high : float
        Upper limit of the same interval.
    standard_error : float
    p_value : None
        This is no test of "there is no difference"; :func:`paired_difference` has that p-value.
    margin : float
        As given.
    confidence : float
        As given.
    p_not_worse : float
        One-sided p-value of "a is worse than b by the margin or more". If small, a is not worse (non-inferiority).
    p_not_better : float
        One-sided p-value of "a is better than b by the margin or more". If small, a is not better.
    p_equivalent : float
        The greater of the two. If small, the models are equal within the margin (equivalence).
    """

    margin: float
    confidence: float
    p_not_worse: float
    p_not_better: float
    p_equivalent: float

    @property
    def not_worse(self) -> bool:
        """Whether the interval lies above -margin, which is to say that p_not_worse < 1 - confidence."""
        return self.low > -self.margin

    @property
    def equivalent(self) -> bool:
        """Whether the interval lies within the margin on both sides, which means that p_equivalent < 1 - confidence."""
        return self.low > -self.margin and self.high < self.margin

    def __str__(self) -> str:
        if self.equivalent:
            verdict, p = "equal", self.p_equivalent
        elif self.not_worse:
            verdict, p = "not worse", self.p_not_worse
        else:
            verdict, p = "not shown to be equal or not worse", self.p_not_worse
        return f"{super().__str__()}: {verdict} within {self.margin:g} (p = {p:.3f})"


def equivalence(
    a: Iterable[float],
    b: Iterable[float],
    margin: float,
    clusters: Iterable[Hashable] | None = None,
    confidence: float = 0.95,
    *,
    small_sample: bool = True,
) -> Equivalence:
    """Whether model `a` is not worse than `b` by a margin, and whether the two are equal within it.

    A large p-value of :func:`paired_difference` shows nothing: too few items have one, too. This turns the question
    round and asks for evidence that the difference is small.

    Parameters
    ----------
    a, b : iterable of float
        Scores of the two models, item by item in the same order, at least two.
    margin : float
        The smallest difference that matters, greater than 0, in the unit of the scores: 0.02 is two points of accuracy.
        Choose it before you look at the data.
    clusters, small_sample
        As in :func:`mean_interval`.
    confidence : float
        Of each of the two statements, between 0.5 and 1. A false one is made in 1 - confidence of cases at most.

    Returns
    -------
    Equivalence
        An :class:`Interval` of mean(a - b) that also holds the p-values.

    Raises
    ------
    TypeError, ValueError
        As in :func:`mean_interval`; if the margin is not greater than 0; and if all differences are equal, because
        nothing then shows how much chance can do.

    Notes
    -----
    Two one-sided t-tests (TOST). Each is made at 1 - confidence, and for equivalence both must succeed. They do so
    exactly if the interval with coverage 2 * confidence - 1 lies within the margin: at 0.95 the 90% interval decides,
    not the 95% one, and no correction for two tests is needed. "Not worse" looks at its lower limit alone.

    The t-test wants some items on which the models differ, on both sides: for scores of 0 and 1, twenty or so.

    Schuirmann (1987); checked against statsmodels' ``ttost_paired``. Explained in the chapter "Error Bars".
    """
    from scipy.stats import t

    margin = checks.require_number("margin", margin)
    confidence = checks.require_number("confidence", confidence, 0.5, 1)
    differences, groups, rounding = _differences(a, b, clusters)
    difference, error, freedom = mean_and_error(differences, groups, small_sample, rounding)
    if error == 0:
        raise ValueError(
            f"the differences do not vary (all {difference:g}, or the same in every cluster): t has nothing to measure "
            "chance by. Add items; for scores of 0 and 1, proportion_interval bounds the share on which models differ"
        )
    worse = float(t.sf((difference + margin) / error, freedom))
    better = float(t.cdf((difference - margin) / error, freedom))
    plain = interval_around(difference, error, 2 * confidence - 1, freedom)
    return Equivalence(
        plain.estimate,
        plain.low,
        plain.high,
        error,
        margin=margin,
        confidence=confidence,
        p_not_worse=worse,
        p_not_better=better,
        p_equivalent=max(worse, better),
    )


# --- shared arithmetic ----------------------------------------------------------------------------------------


def _differences(a: Any, b: Any, clusters: Any) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """a - b, the cluster of each, and how far rounding may have moved it. What rounding explains is 0."""
    a, b = checks.pair("a", a, "b", b)
    groups = None if clusters is None else checks.groups(clusters, len(a))
    rounding = rounding_of(a, b)
    return np.where(np.abs(a - b) <= rounding, 0.0, a - b), groups, rounding


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
