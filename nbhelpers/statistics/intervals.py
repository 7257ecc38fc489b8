"""Confidence intervals of a proportion and of a mean, and the arithmetic that the other modules share."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..warn import warn_caller
from . import checks


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits, all in the unit of the data.

    Attributes
    ----------
    estimate : float
    low : float
    high : float
    standard_error : float or None
        None if the method has none.
    p_value : float or None
        Two-sided p-value of "there is no difference"; only comparisons have one.
    """

    estimate: float
    low: float
    high: float
    standard_error: float | None = None
    p_value: float | None = None

    def __str__(self) -> str:
        return f"{_brief(self.estimate)} [{_brief(self.low)}, {_brief(self.high)}]"


def proportion_interval(
    successes: int,
    n: int,
    method: Literal["wilson", "clopper_pearson", "jeffreys"] = "wilson",
    confidence: float = 0.95,
) -> Interval:
    """Confidence interval of a proportion that behaves near 0 and 1.

    Parameters
    ----------
    successes : int
        Items passed, from 0 to `n`.
    n : int
        Items tried, at least 1.
    method : "wilson", "clopper_pearson" or "jeffreys"
        "wilson" and "jeffreys" hold the true share with about the stated confidence on average over shares, for single
        shares more or less often. "clopper_pearson" holds every share at least that often, and is wider for it.
    confidence : float
        Coverage, between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If the method is unknown, or a count is not a whole number or is impossible; the message repeats it.

    Notes
    -----
    Each interval has a width even if all items passed or none did, and stays within [0, 1]. At 95% and 10 items or
    more, Wilson's holds a single share in 83% of cases at worst, near 0 and 1. Jeffreys' is the middle part of the
    distribution Beta(successes + 1/2, n - successes + 1/2), which the prior Beta(1/2, 1/2) leads to; its lower limit is
    0 if nothing passed, its upper 1 if everything did.

    Wilson (1927) and Clopper and Pearson (1934), via scipy; for Jeffreys' and a comparison of all three, Brown, Cai and
    DasGupta (2001, "Interval Estimation for a Binomial Proportion"). Explained in the chapter "Error Bars".
    """
    from scipy.stats import beta, binomtest

    if method not in ("wilson", "clopper_pearson", "jeffreys"):
        raise ValueError(f"method={method!r} is unknown: give 'wilson', 'clopper_pearson' or 'jeffreys'")
    n = checks.require_count("n", n)
    successes = checks.require_count("successes", successes, least=0)
    if successes > n:
        raise ValueError(f"{successes} of {n} is not a proportion: need 0 <= successes <= n and n >= 1")
    confidence = checks.require_number("confidence", confidence, 0, 1)
    if method == "jeffreys":
        low, high = beta.interval(confidence, successes + 0.5, n - successes + 0.5)
        low, high = (low if successes else 0.0), (high if successes < n else 1.0)
    else:
        scipys = {"wilson": "wilson", "clopper_pearson": "exact"}
        low, high = binomtest(successes, n).proportion_ci(confidence, method=scipys[method])
    return Interval(successes / n, float(low), float(high))


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's confidence interval of a proportion, the usual choice.

    Parameters
    ----------
    successes, n, confidence
        As in :func:`proportion_interval`.

    Raises
    ------
    TypeError, ValueError
        As in :func:`proportion_interval`.

    Notes
    -----
    Short for ``proportion_interval(successes, n, "wilson", confidence)``. Wilson (1927), via scipy. Used in the
    chapters "Judging with a Model" and "Trusting a Judge", explained in "Error Bars".
    """
    return proportion_interval(successes, n, "wilson", confidence)


def mean_interval(
    scores: Iterable[float],
    clusters: Iterable[Hashable] | None = None,
    method: Literal["auto", "t", "normal", "bootstrap", "wilson"] = "auto",
    confidence: float = 0.95,
    *,
    small_sample: bool = True,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Confidence interval of a mean score, over items or over clusters of items.

    Parameters
    ----------
    scores : iterable of float
        One for each item, at least two.
    clusters : iterable of labels, optional
        The group each item was drawn with, such as the passage of a question or the question of an answer. Items may
        resemble one another within a group, but not across groups.
    method : "auto", "t", "normal", "bootstrap" or "wilson"
        "auto": "wilson" if all scores are 0 or 1 and there are no clusters, else "t". (Name "t" for scores that only
        happen to be 0 and 1, such as points of which a wrong answer would have cost some.) "t" and "normal": the mean
        plus or minus a multiple of the standard error; t has n - 1 degrees of freedom, or one less than the number of
        clusters. "bootstrap": percentiles of the means of resampled items, or of resampled whole clusters. "wilson":
        as :func:`wilson_interval`, for scores of 0 and 1 without clusters; the standard error beside it is that of "t".
    confidence : float
    small_sample : bool
        Multiply the clustered variance by C / (C - 1), where C is the number of clusters. Miller (2024) does not.
    resamples, seed : int
        For the bootstrap. The seed is any whole number, 0 or more; equal seeds give equal results.

    Raises
    ------
    TypeError, ValueError
        If scores are not finite numbers, lengths differ, or there is only one item or one cluster.

    Notes
    -----
    If all scores are equal (or the means of all clusters), every method but "wilson" gives an interval of no width,
    with a warning. Scores that differ by no more than rounding, about 14 of their digits being equal, count as equal.

    "normal" and "bootstrap" are too narrow for few items (or clusters): below 30 or so, use "t". On scores of 0 and 1,
    "t" fails too where nearly all are equal: of 10 items that pass with probability 0.9, its interval holds that 0.9
    in 65% of cases, Wilson's in 93%. Bowyer and others (2025, arXiv 2503.01747) advise against it below a few hundred.

    Miller (2024, arXiv 2411.00640); the clustered standard error comes from statsmodels.
    Explained in the chapter "Error Bars".
    """
    if method not in ("auto", "normal", "t", "bootstrap", "wilson"):
        raise ValueError(f"method={method!r} is unknown: give 'auto', 'normal', 't', 'bootstrap' or 'wilson'")
    confidence = checks.require_number("confidence", confidence, 0, 1)
    scores = checks.numbers("scores", scores)
    groups = None if clusters is None else checks.groups(clusters, len(scores))
    right_or_wrong = groups is None and np.isin(scores, (0, 1)).all()
    if method == "auto":
        method = "wilson" if right_or_wrong else "t"
    if method == "wilson":
        if not right_or_wrong:
            raise ValueError("method='wilson' is for scores of 0 and 1 that belong to no clusters: use 't' instead")
        error = float(scores.std(ddof=1)) / math.sqrt(len(scores))
        return replace(wilson_interval(int(scores.sum()), len(scores), confidence), standard_error=error)
    if method == "bootstrap":
        return _bootstrap_mean(scores, groups, confidence, resamples, seed)
    mean, error, freedom = mean_and_error(scores, groups, small_sample)
    return interval_around(mean, error, confidence, freedom if method == "t" else math.inf)


# --- what counts as equal -------------------------------------------------------------------------------------

# How far rounding may move a number, relative to its size: 64 times the precision of floats. So 0.3 - 0.2 and 0.1 are
# equal, and so are means of a thousand numbers that were added in another order; 1 and 1 + 1e-13 are not.
ROUNDING = 2.0**-46


def rounding_of(*terms: np.ndarray) -> np.ndarray:
    """How far rounding may move each number that was computed from these terms by adding or subtracting."""
    return ROUNDING * np.max(np.abs(terms), axis=0)


def all_equal(values: np.ndarray, rounding: np.ndarray) -> bool:
    """Whether one number could be meant by all the values, each of which rounding may have moved so far."""
    return bool((values - rounding).max() <= (values + rounding).min())


def unit_of(*arrays: np.ndarray) -> float:
    """The power of two just above the largest number: dividing by it is exact, and then squares do not overflow."""
    return math.ldexp(1.0, math.frexp(max(float(np.abs(array).max()) for array in arrays))[1])


# --- shared arithmetic ----------------------------------------------------------------------------------------

NOTHING_VARIES = "nothing varies from item to item"


def quantile(confidence: float, freedom: float = math.inf) -> float:
    """How many standard errors a limit is from the estimate: Student's t, or normal if `freedom` is infinite."""
    from scipy.stats import norm, t

    q = (1 + confidence) / 2
    return float(norm.ppf(q) if math.isinf(freedom) else t.ppf(q, freedom))


def interval_around(
    estimate: float,
    error: float,
    confidence: float,
    freedom: float = math.inf,
    p_value: float | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
    because: str = NOTHING_VARIES,
) -> Interval:
    """The estimate plus or minus a multiple of its standard error, clipped to `limits`; a warning if the error is 0."""
    if error == 0:
        warn_of_no_width(estimate, because)
    reach = quantile(confidence, freedom) * error
    return Interval(estimate, max(limits[0], estimate - reach), min(limits[1], estimate + reach), error, p_value)


def warn_of_no_width(estimate: float, because: str = NOTHING_VARIES) -> None:
    warn_caller(
        f"the interval around {estimate:.3g} has no width, because {because}: this is not "
        "certainty, it is too few items (for scores of 0 and 1, wilson_interval and mcnemar do better)"
    )


def mean_and_error(
    scores: np.ndarray,
    groups: np.ndarray | None = None,
    small_sample: bool = True,
    rounding: np.ndarray | None = None,
) -> tuple[float, float, int]:
    """The mean, its standard error (clustered, if there are groups), and the degrees of freedom.

    The error is 0 if, and only if, the scores (or the means of the groups) are `all_equal`. `rounding` is how far
    rounding may have moved each score, by default that of the score itself.
    """
    n = len(scores)
    freedom = n - 1 if groups is None else int(groups.max())
    mean = float(scores[0]) if scores.min() == scores.max() else float(scores.mean())
    if _nothing_varies(scores, groups, rounding):
        return mean, 0.0, freedom
    unit = unit_of(scores)
    if groups is None:
        error = float((scores / unit).std(ddof=1)) / math.sqrt(n)
    else:
        from statsmodels.regression.linear_model import OLS
        from statsmodels.stats.sandwich_covariance import cov_cluster

        # A mean is the regression on a constant alone.
        fit = OLS(scores / unit, np.ones(n)).fit()
        error = math.sqrt(max(0.0, cov_cluster(fit, groups, use_correction=small_sample).item()))
    return mean, error * unit, freedom


def _nothing_varies(scores: np.ndarray, groups: np.ndarray | None, rounding: np.ndarray | None = None) -> bool:
    rounding = rounding_of(scores) if rounding is None else rounding
    if groups is None:
        return all_equal(scores, rounding)
    ends = np.cumsum(np.bincount(groups))
    members = np.split(np.argsort(groups, kind="stable"), ends[:-1])
    means = np.array([math.fsum(scores[m]) / len(m) for m in members])  # fsum adds without rounding
    return all_equal(means, np.array([rounding[m].mean() for m in members]))


def percentiles(resampled: np.ndarray, confidence: float, worst: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The limits that leave out equal shares of the resamples (the first axis) on both sides.

    A NaN counts as ``worst[0]`` for the lower limit and as ``worst[1]`` for the upper. Each limit is one of the
    resamples, not an average of two, because infinities cannot be averaged.
    """
    last = len(resampled) - 1
    tail = (1 - confidence) / 2
    low = np.sort(np.where(np.isnan(resampled), worst[0], resampled), axis=0)[math.floor(tail * last)]
    high = np.sort(np.where(np.isnan(resampled), worst[1], resampled), axis=0)[math.ceil((1 - tail) * last)]
    return low, high


def _bootstrap_mean(
    scores: np.ndarray, groups: np.ndarray | None, confidence: float, resamples: int, seed: int
) -> Interval:
    """Resample whole clusters, each as its sum and its size; without clusters, each item is its own."""
    from scipy.stats import bootstrap

    checks.require_bootstrap(confidence, resamples)
    rng = checks.random_generator(seed)
    mean = float(scores[0]) if scores.min() == scores.max() else float(scores.mean())
    if _nothing_varies(scores, groups):
        warn_of_no_width(mean)
        return Interval(mean, mean, mean, 0.0)
    if groups is None:
        groups = np.arange(len(scores))
    unit = unit_of(scores)
    totals, sizes = np.bincount(groups, scores / unit), np.bincount(groups)
    result = bootstrap(
        (totals, sizes),
        lambda total, size, axis: total.sum(axis=axis) / size.sum(axis=axis),
        paired=True,
        method="percentile",
        confidence_level=confidence,
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(totals)),
        rng=rng,
    )
    low, high = (unit * float(limit) for limit in result.confidence_interval)
    if high - low <= ROUNDING * max(abs(low), abs(high)):
        warn_of_no_width(mean, "most resamples have one mean")
    return Interval(mean, low, high, unit * float(result.standard_error))


def _brief(x: float) -> str:
    return str(x) if isinstance(x, int) else f"{x:.3f}"
