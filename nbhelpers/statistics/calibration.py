"""Whether a stated confidence is the share that is right, and what it is good for: what scikit-learn lacks.

scikit-learn has the reliability diagram (`calibration_curve`), the Brier score, AUROC, isotonic regression.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from . import checks
from .intervals import Interval, mean_interval, percentiles

Binning = Literal["mass", "width"]
BATCH = 4_000_000  # numbers drawn at once


@dataclass(frozen=True)
class CalibrationBin:
    """The items of one bin.

    Attributes
    ----------
    low, high : float
        The bin's edges. An item on an edge belongs to the bin below it.
    count : int
    confidence : float
        Their mean confidence.
    correct : float
        The share that was right.
    """

    low: float
    high: float
    count: int
    confidence: float
    correct: float


@dataclass(frozen=True)
class CalibrationError:
    """How far confidence is from the share that is right.

    Attributes
    ----------
    error : Interval
        The expected calibration error (ECE), from 0 to 1.
    by_chance : float
        The mean ECE of a model that is perfectly calibrated, with the same confidences. It is above 0.
    p_value : float
        How often such a model shows an ECE as large as the one observed.
    bins : tuple of CalibrationBin
        Those that hold an item, from low to high.
    """

    error: Interval
    by_chance: float
    p_value: float
    bins: tuple[CalibrationBin, ...]

    def __str__(self) -> str:
        return f"{self.error} (calibrated: {self.by_chance:.3f})"


@dataclass(frozen=True)
class BrierDecomposition:
    """The Brier score in parts: ``score = reliability - resolution + uncertainty + within``, up to rounding.

    Attributes
    ----------
    score : Interval
        The mean squared difference of confidence and outcome, from 0 to 1. Lower is better.
    reliability : float
        The mean squared difference of a bin's confidence and its share of right answers. 0 is calibrated.
    resolution : float
        The variance of that share between bins. Higher is better; 0 tells nothing apart.
    uncertainty : float
        The variance of the outcomes, which is the score of always saying the base rate.
    within : float
        What binning leaves out: variance of confidence within bins, minus twice its covariance with the outcome.
        0 if each bin holds one distinct confidence.
    """

    score: Interval
    reliability: float
    resolution: float
    uncertainty: float
    within: float


@dataclass(frozen=True)
class RiskCoverage:
    """What abstaining buys: the share of wrong answers among those that are given.

    Attributes
    ----------
    coverage, risk : tuple of float
        The share of items that are answered and the share of wrong answers among these, one for each threshold that
        tells items apart, the strictest first. The last coverage is 1.
    area : Interval
        The mean risk over all numbers of answers, from one to all (AURC). Lower is better; a confidence that knows
        nothing has the share of wrong answers.
    """

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: Interval


def calibration_error(
    confidences: Iterable[float],
    correct: Iterable[float],
    bins: int = 15,
    binning: Binning = "mass",
    clusters: Iterable[Hashable] | None = None,
    confidence: float = 0.95,
    *,
    resamples: int = 2_000,
    seed: int = 0,
) -> CalibrationError:
    """Expected calibration error (ECE): the mean distance of a bin's confidence from its share of right answers.

    Parameters
    ----------
    confidences : iterable of float
        How sure the model was of each answer, from 0 to 1; at least two.
    correct : iterable of 0 and 1
        Whether the answer was right.
    bins : int
        How many at most; empty ones count for nothing.
    binning : "mass" or "width"
        Bins that hold equally many items (equal confidences stay together), or that are equally wide.
    clusters : iterable of labels, optional
        The group of each answer, such as the question, if it was asked several times.
    confidence : float
        Coverage of the interval, between 0 and 1.
    resamples, seed : int
        For the interval and for the perfectly calibrated model.

    Raises
    ------
    TypeError, ValueError
        If a confidence is not from 0 to 1, an outcome is neither 0 nor 1, or lengths differ.

    Notes
    -----
    ECE is no unbiased estimate: a distance is never negative, so noise adds up. `by_chance` says to what. It is
    found by drawing outcomes with the stated confidences; the answers of a cluster then share one random number, which
    makes them as alike as they can be. More bins and fewer items make it larger.

    The interval is the basic bootstrap over items, or whole clusters, with the bins held fixed: it reflects the
    resamples at the estimate, and so takes off the noise once more. Where calibration is not rejected
    (`p_value` above 1 - `confidence`), its lower limit is 0. In simulations with 108 to 2,000 items, a nominal 95%
    covered the error of the binned confidence in 81% to 97% of cases, the least with 108 items.

    Naeini, Cooper and Hauskrecht (2015); Guo and others (2017, arXiv 1706.04599), with equal widths; Nixon and others
    (2019, arXiv 1904.01685) on binning. Explained in the chapter "Calibration".
    """
    bins = checks.require_count("bins", bins)
    stated, right, groups = _items(confidences, correct, clusters)
    checks.require_bootstrap(confidence, resamples)
    rng = checks.random_generator(seed)
    edges = _edges(stated, bins, binning)
    member = np.searchsorted(edges[1:-1], stated)
    n = len(stated)

    def by_bin(values: np.ndarray) -> np.ndarray:
        return np.bincount(member, values, minlength=bins)

    estimate = float(np.abs(by_bin(stated - right)).sum() / n)
    by_group = np.zeros((groups.max() + 1, bins))
    np.add.at(by_group, (groups, member), stated - right)
    again = np.concatenate(
        [np.abs(w @ by_group).sum(1) / (w @ np.bincount(groups)) for w in _weights(len(by_group), resamples, rng)]
    )
    low, high = percentiles(again, confidence, (0.0, 1.0))
    chance = np.empty(resamples)
    for i in range(resamples):
        drawn = rng.random(len(by_group))[groups] < stated
        chance[i] = np.abs(by_bin(stated - drawn)).sum() / n
    p_value = float((1 + (chance >= estimate - 1e-12).sum()) / (1 + resamples))
    low, high = max(0.0, 2 * estimate - float(high)), min(1.0, max(0.0, 2 * estimate - float(low)))
    interval = Interval(estimate, 0.0 if p_value > 1 - confidence else low, high, float(again.std(ddof=1)))
    counts, sums, rights = np.bincount(member, minlength=bins), by_bin(stated), by_bin(right)
    held = counts > 0
    columns = (edges[:-1], edges[1:], counts, sums / np.maximum(counts, 1), rights / np.maximum(counts, 1))
    table = zip(*(column[held].tolist() for column in columns), strict=True)
    return CalibrationError(interval, float(chance.mean()), p_value, tuple(CalibrationBin(*row) for row in table))


def brier_decomposition(
    confidences: Iterable[float],
    correct: Iterable[float],
    bins: int | None = 15,
    binning: Binning = "mass",
    clusters: Iterable[Hashable] | None = None,
    confidence: float = 0.95,
) -> BrierDecomposition:
    """The Brier score and its parts: calibration, knowledge, and how hard the base rate leaves it.

    Parameters
    ----------
    confidences, correct, binning, clusters, confidence
        As for `calibration_error`.
    bins : int or None
        None makes one bin of each distinct confidence, as Murphy did: then `within` is 0.

    Raises
    ------
    TypeError, ValueError
        As `calibration_error`.

    Notes
    -----
    The score is a mean over items, and has Student's t interval. Reliability and resolution are both too large, by
    about the same amount, where bins hold few items. With as many distinct confidences as items, `bins=None` makes
    resolution equal to uncertainty and means nothing.

    Murphy (1973), "A New Vector Partition of the Probability Score"; the term `within` is that of Stephenson, Coelho
    and Jolliffe (2008). Explained in the chapter "Calibration".
    """
    stated, right, groups = _items(confidences, correct, clusters)
    if bins is None:
        member = np.unique(stated, return_inverse=True)[1]
    else:
        member = np.searchsorted(_edges(stated, checks.require_count("bins", bins), binning)[1:-1], stated)
    score = mean_interval((stated - right) ** 2, None if clusters is None else groups, "t", confidence)
    counts = np.bincount(member)
    held = counts > 0
    counts, sums, rights = counts[held], np.bincount(member, stated)[held], np.bincount(member, right)[held]
    base = right.mean()
    reliability = float(np.sum((sums - rights) ** 2 / counts) / len(stated))
    resolution = float(np.sum(counts * (rights / counts - base) ** 2) / len(stated))
    uncertainty = float(base * (1 - base))
    within = 0.0 if bins is None else score.estimate - (reliability - resolution + uncertainty)
    return BrierDecomposition(score, reliability, resolution, uncertainty, within)


def risk_coverage(
    confidences: Iterable[float],
    correct: Iterable[float],
    clusters: Iterable[Hashable] | None = None,
    confidence: float = 0.95,
    *,
    resamples: int = 2_000,
    seed: int = 0,
) -> RiskCoverage:
    """What share of answers is wrong if only the surest are given.

    Parameters
    ----------
    confidences : iterable of float
        Any numbers; only their order counts. At least two.
    correct : iterable of 0 and 1
    clusters, confidence, resamples, seed
        As for `calibration_error`.

    Raises
    ------
    TypeError, ValueError
        If an outcome is neither 0 nor 1, a number is not finite, or lengths differ.

    Notes
    -----
    Among items of equal confidence, the area takes the mean over the orders in which they could be answered. Its
    interval is the percentile bootstrap over items, or whole clusters.

    El-Yaniv and Wiener (2010); the area is that of Geifman, Uziel and El-Yaniv (2019, arXiv 1805.08206). Explained in
    the chapter "Calibration".
    """
    stated, right, groups = _items(confidences, correct, clusters, limits=False)
    checks.require_bootstrap(confidence, resamples)
    rng = checks.random_generator(seed)
    block = np.unique(-stated, return_inverse=True)[1]  # 0 is the surest
    answered, wrong = np.cumsum(np.bincount(block)), np.cumsum(np.bincount(block, 1 - right))
    order = np.argsort(block, kind="stable")
    starts = np.concatenate([[0], answered[:-1]])

    def areas(weights: np.ndarray) -> np.ndarray:
        weights = weights[:, groups[order]]
        return _area(
            np.add.reduceat(weights, starts, axis=1), np.add.reduceat(weights * (1 - right[order]), starts, axis=1)
        )

    estimate = float(areas(np.ones((1, groups.max() + 1)))[0])
    rows = max(1, BATCH // len(stated))
    again = np.concatenate([areas(w) for w in _weights(groups.max() + 1, resamples, rng, rows)])
    low, high = percentiles(again, confidence, (0.0, 1.0))
    area = Interval(estimate, float(low), float(high), float(again.std(ddof=1)))
    return RiskCoverage(tuple((answered / len(stated)).tolist()), tuple((wrong / answered).tolist()), area)


def _area(counts: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """The mean risk over 1, 2, ... answers, for rows of blocks of equally sure items.

    In a block of n items, of which a share q is wrong, after N items with E wrong ones, the expected risk after j
    more is (E + j q) / (N + j). Summed over j from 1 to n, that is n q + (E - q N) (H(N + n) - H(N)), where H is the
    harmonic number.
    """
    from scipy.special import digamma

    after, wrong_after = np.cumsum(counts, axis=1), np.cumsum(wrong, axis=1)
    before, wrong_before = after - counts, wrong_after - wrong
    share = np.divide(wrong, counts, out=np.zeros_like(wrong, dtype=float), where=counts > 0)
    harmonic = digamma(after + 1.0) - digamma(before + 1.0)
    return (wrong + (wrong_before - share * before) * harmonic).sum(1) / after[:, -1]


def _items(
    confidences: Iterable[float],
    correct: Iterable[float],
    clusters: Iterable[Hashable] | None,
    limits: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidences, outcomes and the cluster of each item as a code; without clusters, each item is its own."""
    stated, right = checks.pair("confidences", confidences, "correct", correct)
    outside = np.flatnonzero((stated < 0) | (stated > 1)) if limits else []
    if len(outside):
        i = outside[0]
        hint = "divide percentages by 100" if 1 < stated[i] <= 100 else "give probabilities, not log-probabilities"
        raise ValueError(f"item {i} of confidences is {stated[i]:g}, not from 0 to 1: {hint}")
    odd = np.flatnonzero(~np.isin(right, (0, 1)))
    if len(odd):
        raise ValueError(
            f"item {odd[0]} of correct is {right[odd[0]]:g}: give 1 for a right answer and 0 for a wrong one"
        )
    groups = np.arange(len(stated)) if clusters is None else checks.groups(clusters, len(stated))
    return stated, right, groups


def _edges(stated: np.ndarray, bins: int, binning: str) -> np.ndarray:
    if binning not in ("mass", "width"):
        raise ValueError(f"binning={binning!r} is unknown: give 'mass' or 'width'")
    if binning == "width":
        return np.linspace(0, 1, bins + 1)
    ends = np.arange(bins + 1) * len(stated) // bins  # in whole numbers: no rounding moves an item
    return np.sort(stated)[np.maximum(ends - 1, 0)]


def _weights(groups: int, resamples: int, rng: np.random.Generator, rows: int | None = None) -> Iterator[np.ndarray]:
    """How often each group is drawn in each resample, a few resamples at a time."""
    rows = rows or max(1, BATCH // groups)
    for done in range(0, resamples, rows):
        yield rng.multinomial(groups, np.full(groups, 1 / groups), size=min(rows, resamples - done))
