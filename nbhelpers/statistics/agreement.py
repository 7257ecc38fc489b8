"""Agreement of raters beyond chance."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import Any, Literal

import numpy as np

from . import checks
from .intervals import Interval, interval_around, percentiles, warn_of_no_width


def cohen_kappa(a: Iterable[Hashable], b: Iterable[Hashable], confidence: float = 0.95) -> Interval:
    """Agreement of two raters beyond chance: 1 is perfect, 0 is what their label frequencies alone would give.

    Parameters
    ----------
    a, b : iterable of labels
        What each rater said, item by item in the same order, at least two.
    confidence : float

    Raises
    ------
    TypeError, ValueError
        If the lengths differ, a label is missing, or both raters gave the same one label to every item: agreement by
        chance is then certain and kappa is 0 / 0.

    Notes
    -----
    Cohen (1960); standard error of Fleiss, Cohen and Everitt (1969), via statsmodels. If that is 0 (perfect
    agreement, or a rater who never changes), the interval has no width, and a warning says so.
    Explained in the chapter "Trusting a Judge".
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    checks.require_number("confidence", confidence, 0, 1)
    a, b = checks.labels("a", a), checks.labels("b", b)
    checks.require_same_length("a", a, "b", b)
    checks.require_items("a", len(a))
    codes = np.array(checks.codes(a + b))
    size = int(codes.max()) + 1
    if size == 1:
        raise ValueError(f"both raters said {a[0]!r} every time: kappa is 0 / 0. Rate items on which labels can differ")
    codes_a, codes_b = codes[: len(a)], codes[len(a) :]
    table = np.bincount(codes_a * size + codes_b, minlength=size**2).reshape(size, size)  # (label of a, label of b)
    with np.errstate(invalid="ignore"):  # statsmodels also computes a z value, which can be 0 / 0
        result = cohens_kappa(table)
    error = math.sqrt(max(0.0, result.var_kappa))
    if error <= 1e-9:  # zero, up to rounding
        error = 0.0
    return interval_around(float(result.kappa), error, confidence, limits=(-1.0, 1.0))


def krippendorff_alpha(
    ratings: Iterable[Iterable[Any]],
    level: Literal["nominal", "ordinal", "interval", "ratio"] = "nominal",
    confidence: float = 0.95,
    *,
    resamples: int = 1_000,
    seed: int = 0,
) -> Interval:
    """Agreement of two or more raters, who may skip items: 1 is perfect, 0 is chance.

    Parameters
    ----------
    ratings : raters x items
        One row for each rater; None or NaN where a rating is missing. Labels of any kind if nominal, else numbers.
    level : "nominal", "ordinal", "interval" or "ratio"
        What the ratings mean: names, ranks, numbers with meaningful differences, or numbers with meaningful ratios
        (none negative).
    confidence : float
    resamples, seed : int
        The interval comes from resampling items. In a resample with a single label, alpha is 0 / 0; it then counts
        as -1 for the lower limit and as 1 for the upper.

    Raises
    ------
    TypeError, ValueError
        If there is one rater, rows differ in length, fewer than two items have two ratings, or all ratings are equal.

    Notes
    -----
    Krippendorff (2011, "Computing Krippendorff's Alpha-Reliability"), via the package krippendorff. Explained in the
    chapter "Trusting a Judge".
    """
    if level not in ("nominal", "ordinal", "interval", "ratio"):
        raise ValueError(f"level={level!r} is unknown: give 'nominal', 'ordinal', 'interval' or 'ratio'")
    checks.require_bootstrap(confidence, resamples)
    items = _comparable_items(ratings)
    domain = _domain(items, level)
    counts = np.array([[item.count(label) for label in domain] for item in items])  # (items, labels)
    values = np.arange(len(domain)) if level == "nominal" else np.array(domain, dtype=float)
    rng = np.random.default_rng(seed)
    resampled = []
    for _ in range(resamples):
        drawn = rng.integers(len(counts), size=len(counts))
        resampled.append(_alpha(counts[drawn], values, level))
    low, high = percentiles(np.array(resampled), confidence, worst=(-1.0, 1.0))
    if low == high:
        warn_of_no_width(float(low))
    return Interval(_alpha(counts, values, level), float(low), float(high))


def _comparable_items(ratings: Any) -> list[list[Any]]:
    """The ratings of each item that has at least two."""
    rows = []
    for i, row in enumerate(checks.listed("ratings", ratings)):
        rows.append(checks.labels(f"ratings of rater {i}", row, missing=True))
    if len(rows) < 2:
        raise ValueError(f"ratings has {len(rows)} row: give one row for each rater, at least two")
    for i, row in enumerate(rows):
        checks.require_same_length("ratings of rater 0", rows[0], f"ratings of rater {i}", row)
    rated = [[label for label in item if label is not None] for item in zip(*rows, strict=True)]
    items = [item for item in rated if len(item) > 1]  # a single rating has nothing to agree with
    if len(items) < 2:
        raise ValueError(f"{len(items)} items have two ratings or more: give at least two such items")
    return items


def _domain(items: list[list[Any]], level: str) -> list[Any]:
    """The distinct ratings: in order of first appearance if nominal, else numbers in ascending order."""
    domain = list(dict.fromkeys(label for item in items for label in item))
    if level != "nominal":
        domain = sorted(checks.numbers("ratings", domain, least=1).tolist())
        if level == "ratio" and domain[0] < 0:
            raise ValueError(f"the rating {domain[0]:g} is negative, where ratios mean nothing: use level='interval'")
    if len(domain) == 1:
        raise ValueError(f"every rating is {domain[0]!r}: alpha is 0 / 0. Rate items on which ratings can differ")
    return domain


def _alpha(counts: np.ndarray, values: np.ndarray, level: str) -> float:
    """Alpha from how often each item got each value; NaN if all items got the same one."""
    from krippendorff import alpha

    seen = counts.any(axis=0)
    if seen.sum() < 2:
        return math.nan
    return float(alpha(value_counts=counts[:, seen], value_domain=values[seen], level_of_measurement=level))
