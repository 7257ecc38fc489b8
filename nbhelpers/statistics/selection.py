"""What looking many times does: p-values that allow for it, and how much of a best score is luck."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from . import checks
from .intervals import ROUNDING, Interval, mean_interval, quantile, unit_of

DRAWS = 10_000  # of the largest of all candidates' errors, for its upper quantile


def adjust_p_values(p_values: Iterable[float], method: Literal["holm", "bh"] = "holm") -> tuple[float, ...]:
    """Raise the p-values of many comparisons (tasks, pairs of models), so that each still means what it says.

    Twenty comparisons of equal models give one p-value below 0.05 on average. Compare the adjusted ones with 0.05.

    Parameters
    ----------
    p_values : iterable of float
        Of *all* comparisons that were made, from 0 to 1, not only of those that look good.
    method : "holm" or "bh"
        "holm" keeps the chance of even one false finding below the limit, whatever the comparisons have to do with one
        another. "bh" (Benjamini and Hochberg) keeps the expected share of false findings among the findings below it,
        which finds more; this holds if the tests are independent or positively related, as tests of two models on
        several tasks mostly are.

    Returns
    -------
    tuple of float
        In the order given.

    Raises
    ------
    TypeError, ValueError
        If there are none, one is not a number from 0 to 1, or the method is unknown.

    Notes
    -----
    Holm (1979); Benjamini and Hochberg (1995), via scipy. Explained in the chapter "Error Bars".
    """
    from scipy.stats import false_discovery_control

    if method not in ("holm", "bh"):
        raise ValueError(f"method={method!r} is unknown: give 'holm' or 'bh'")
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
    if method == "bh":
        return tuple(false_discovery_control(found).tolist())
    # By hand: the same function of statsmodels collects garbage on every call, which takes a tenth of a second.
    order = np.argsort(found, kind="stable")
    adjusted = np.empty(len(found))
    adjusted[order] = np.minimum(np.maximum.accumulate(found[order] * np.arange(len(found), 0, -1)), 1)
    return tuple(adjusted.tolist())


def best_of_k(scores: Iterable[float], k: int) -> float:
    """The score to expect of the best of k candidates, if these were tried.

    A candidate is whatever one picks the best of: a prompt, a checkpoint, a seed, a submission to a leaderboard.

    Parameters
    ----------
    scores : iterable of float
        One for each candidate, at least one.
    k : int
        How many of them are tried, from 1 to their number.

    Returns
    -------
    float
        The mean, over all choices of k of the n candidates, of the highest score among them: the mean of all scores for
        k = 1, the highest score for k = n.

    Raises
    ------
    TypeError, ValueError
        If scores are not finite numbers, or k is not a whole number from 1 to their number.

    Notes
    -----
    Exact, without drawing: the i-th lowest score is the highest of C(i-1, k-1) of the C(n, k) choices. If the
    candidates were themselves drawn at random, this estimates the expected best of k new ones without bias.

    It shows how a score grows with the number of tries alone, so a comparison is fair only at equal k. It does not
    separate better candidates from luckier ones; :func:`selection_optimism` does, from their scores item by item.

    Dodge and others, "Show Your Work" (2019, arXiv 1909.03004), draw with replacement, which is biased; Tang and
    others, "Showing Your Work Doesn't Always Work" (2020, arXiv 2004.13705), without, as here. Without bias it varies
    more (Dodge and others, 2021, arXiv 2110.00613). Explained in the chapter "Error Bars".
    """
    found = np.sort(checks.numbers("scores", scores, least=1))
    k, n = checks.require_count("k", k), len(found)
    if k > n:
        raise ValueError(f"k={k} is more than the {checks.counted(n, 'candidate')}: give a number from 1 to {n}")
    i = np.arange(n, 1, -1)
    weights = k / n * np.cumprod(np.concatenate([[1.0], np.maximum(i - k, 0) / (i - 1)]))  # of the highest score first
    unit = unit_of(found) if found.any() else 1.0
    expected = unit * math.fsum((found[::-1] / unit * weights).tolist())
    return min(max(expected, float(found[0])), float(found[-1]))


@dataclass(frozen=True)
class SelectionOptimism:
    """The best of several candidates, and how much of its score is luck.

    Attributes
    ----------
    chosen : int
        The column of the candidate with the highest mean, the first of equals.
    reported : Interval
        Its mean on the items it was chosen on, with the interval of a candidate that was not chosen. Both mislead.
    corrected : Interval
        What to report instead: its mean on other items, as far as these show it.
    optimism : Interval
        By how much `reported` is too high.
    """

    chosen: int
    reported: Interval
    corrected: Interval
    optimism: Interval

    def __str__(self) -> str:
        return f"candidate {self.chosen}: reported {self.reported}, corrected {self.corrected}, luck {self.optimism}"


def selection_optimism(
    scores: Iterable[Any],
    clusters: Iterable[Hashable] | None = None,
    confidence: float = 0.95,
    *,
    splits: int = 200,
    seed: int = 0,
) -> SelectionOptimism:
    """How much of the best candidate's score is luck, because it was chosen on the items that score it.

    Parameters
    ----------
    scores : items x candidates
        A table with a row for each item and a column for each candidate (prompt, checkpoint, submission) *that was
        tried*, not only for the good ones. Two of each or more, and no gaps.
    clusters : iterable of labels, optional
        The group each item was drawn with, if items of a group resemble one another. Whole clusters are then split.
    confidence : float
        Coverage of the limits, between 0 and 1.
    splits, seed : int
        How many random splits into halves the estimate is a mean of, and the seed of them and of the limits: any whole
        number, 0 or more. Equal seeds give equal results.

    Returns
    -------
    SelectionOptimism

    Raises
    ------
    TypeError, ValueError
        If a score is not a finite number, rows differ in length, or there is one item, one candidate or one cluster.

    Notes
    -----
    The estimate: choose the best candidate on a random half of the items, score it on the other half, and the other
    way round. The mean over all splits is `corrected`, and what it falls short of `reported` is the optimism. It is
    right on average if all candidates are equally good. If some are better, half of the items choose worse than all of
    them, and the optimism is somewhat overestimated; it is never less than 0.

    The limits are those of the chosen candidate's true mean, and they hold it at least as often as `confidence` says.
    Choosing the highest can only flatter, so the upper limit needs no correction: it is Student's t. The lower one is
    wide enough for all candidates at once, for which the greatest of their errors is simulated from its normal
    approximation, with the correlations that the same items give them. Like t, this needs some 30 items or clusters,
    and scores that are not nearly all equal. Student's t over items that ten-fold cross-validation scored would be
    narrower, and wrong: it held the true mean in 72 to 87% of simulated cases.

    Explained in the chapter "Error Bars".
    """
    confidence = checks.require_number("confidence", confidence, 0, 1)
    splits = checks.require_count("splits", splits)
    table = checks.table("scores", scores, "item", "candidate")
    groups = np.arange(len(table)) if clusters is None else checks.groups(clusters, len(table))
    rng = checks.random_generator(seed)
    unit = unit_of(table) if table.any() else 1.0
    means = table.mean(axis=0)
    chosen = _best(means, ROUNDING * unit)
    reported = mean_interval(table[:, chosen], None if clusters is None else groups, "t", confidence)
    sums = np.zeros((groups.max() + 1, table.shape[1]))
    np.add.at(sums, groups, table / unit)
    held_out = _held_out(sums, splits, rng) / len(table) * unit
    luck = reported.estimate - held_out
    luck = luck if luck > ROUNDING * unit else 0.0
    sizes = np.bincount(groups)
    reach = _greatest_error(sums - sizes[:, None] * (means / unit), confidence, rng) * (reported.standard_error or 0.0)
    estimate, low = reported.estimate - luck, min(reported.estimate - luck, reported.estimate - reach)
    return SelectionOptimism(
        chosen,
        reported,
        Interval(estimate, low, reported.high, reported.standard_error),
        Interval(luck, reported.estimate - reported.high, reported.estimate - low, reported.standard_error),
    )


# --- shared arithmetic ----------------------------------------------------------------------------------------


def _held_out(sums: np.ndarray, splits: int, rng: np.random.Generator) -> float:
    """The sum of the scores of all items, each by the best candidate of the half it is not in; a mean over splits."""
    total = sums.sum(axis=0)
    slack = ROUNDING * float(np.abs(sums).sum(axis=0).max())
    found = []
    for _ in range(splits):
        half = sums[rng.permutation(len(sums))[: len(sums) // 2]].sum(axis=0)
        other = total - half
        found.append(other[_best(half, slack)] + half[_best(other, slack)])
    return math.fsum(found) / splits


def _best(values: np.ndarray, slack: float) -> int:
    """The first of the highest values; those that rounding may have told apart are equal."""
    return int((values >= values.max() - slack).argmax())


def _greatest_error(deviations: np.ndarray, confidence: float, rng: np.random.Generator) -> float:
    """How many standard errors too high the luckiest candidate is at most; `deviations` are clusters x candidates."""
    freedom = len(deviations) - 1
    lengths = np.sqrt((deviations**2).sum(axis=0))
    varying = lengths > 1e-12 * lengths.max()
    scaled = deviations[:, varying] / lengths[varying]
    values, vectors = np.linalg.eigh(scaled.T @ scaled)  # of the correlations
    normal = rng.standard_normal((DRAWS, len(values))) @ (vectors * np.sqrt(np.maximum(values, 0))).T
    greatest = normal.max(axis=1, initial=-math.inf) / np.sqrt(rng.chisquare(freedom, DRAWS) / freedom)
    found = float(np.quantile(greatest, (1 + confidence) / 2))
    return max(found, quantile(confidence, freedom))  # at least that of a single candidate, whatever the draws
