"""Agreement of raters beyond chance, and of a rater with itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from . import checks
from .checks import counted
from .intervals import (
    ROUNDING,
    Interval,
    mean_interval,
    percentiles,
    rounding_of,
    unit_of,
    warn_of_no_width,
)


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
        One row for each rater; None, NaN, NaT or pandas.NA where a rating is missing. Labels of any kind if nominal
        (which are the same if Python calls them equal, see :func:`cohen_kappa`), else finite numbers.
    level : "nominal", "ordinal", "interval" or "ratio"
        What the ratings mean: names, ranks, numbers with meaningful differences, or numbers with meaningful ratios
        (none negative).
    confidence : float
    resamples, seed : int
        The interval comes from resampling items. In a resample with a single label, alpha is 0 / 0; it then counts
        as -1 for the lower limit and as 1 for the upper. The seed is any whole number, 0 or more; equal seeds give
        equal results.

    Raises
    ------
    TypeError, ValueError
        If there is one rater, rows differ in length, fewer than two items have two ratings, all ratings are equal, or
        nominal raters use different types without a label in common.

    Notes
    -----
    Krippendorff (2011, "Computing Krippendorff's Alpha-Reliability"). The time grows with the number of ratings: 10,000
    take a second or so. "ratio" alone compares each distinct rating with each other one: 10,000 distinct ratings take
    some ten seconds, twice as many four times as long. There, round the ratings, or take their logarithms and
    "interval". Numbers that differ by no more than rounding, as 0.3 and 0.1 + 0.2, are one rating, unless the level is
    nominal.

    The interval is too narrow for few items, below 30 or so. Explained in the chapter "Trusting a Judge".
    """
    if level not in ("nominal", "ordinal", "interval", "ratio"):
        raise ValueError(f"level={level!r} is unknown: give 'nominal', 'ordinal', 'interval' or 'ratio'")
    checks.require_bootstrap(confidence, resamples)
    confidence = float(confidence)
    rng = checks.random_generator(seed)
    table = _Table.of(ratings, level)
    count = len(table.sizes)
    resampled = []
    batch = max(1, 4_000_000 // len(table.codes))  # to bound the memory
    for begin in range(0, resamples, batch):
        draws = [rng.integers(count, size=count) for _ in range(begin, min(begin + batch, resamples))]
        resampled.append(_alphas(table, level, np.stack([np.bincount(draw, minlength=count) for draw in draws])))
    low, high = percentiles(np.concatenate(resampled), confidence, worst=(-1.0, 1.0))
    if high - low <= ROUNDING:
        warn_of_no_width(float(low), "nearly all resamples of the items give it")
    estimate = _alphas(table, level, np.ones((1, count), dtype=int))[0]
    return Interval(float(estimate), float(low), float(high))


def flip_rate(draws: Iterable[Iterable[Any]], confidence: float = 0.95) -> Interval:
    """How often a judge that is asked the same thing twice gives two different verdicts.

    Parameters
    ----------
    draws : items x verdicts
        One row for each item, with the verdicts (labels of any kind, see :func:`cohen_kappa`) that repeated questions
        gave; None, NaN or pandas.NA where there was none. Rows may differ in length.
    confidence : float

    Returns
    -------
    Interval
        The chance that two draws of one item differ, averaged over the items with at least two verdicts; the others
        say nothing of it and are left out. Limits are clipped to [0, 1].

    Raises
    ------
    TypeError, ValueError
        If fewer than two items have two verdicts, or a verdict is not a label.

    Notes
    -----
    Each item's chance is estimated without bias, by the share of its pairs of draws that differ. The interval is that
    of :func:`mean_interval` over items: it says how much other items might differ, and draws of one item may depend on
    one another. It needs at least 30 items or so with some flips among them; if no item ever flipped it has no width,
    and a warning says so; ``wilson_interval(0, items)`` then bounds the share of items that flip. Every item
    counts once, whatever the number of its draws. A judge that decodes greedily never flips, which shows no
    reliability.
    """
    rows = _rows("draws", "item", draws)
    checks.warn_of_lookalikes("draws", [label for row in rows for label in row if label is not None])
    found = []
    for row in rows:
        counts = Counter(label for label in row if label is not None)
        n = counts.total()
        if n > 1:
            found.append(1 - sum(count * (count - 1) for count in counts.values()) / (n * (n - 1)))
    if len(found) < 2:
        raise ValueError(f"{_with_two(len(found), 'verdicts')}: draw again, for at least two items")
    rate = mean_interval(found, method="t", confidence=confidence)
    return replace(rate, low=max(0.0, rate.low), high=min(1.0, rate.high))


# --- the table of ratings, and alpha from it ------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """All ratings of the items that have at least two, item after item."""

    codes: np.ndarray  # (ratings,), the value of each as its index in `values`
    owners: np.ndarray  # (ratings,), the item of each, ascending
    sizes: np.ndarray  # (items,), how many ratings each has
    values: np.ndarray  # (values,), ascending; if nominal, only their number means something

    @classmethod
    def of(cls, ratings: Any, level: str) -> _Table:
        rows = _rows("ratings", "rater", ratings)
        if len(rows) < 2:
            raise ValueError(f"ratings has {counted(len(rows), 'row')}: give one row for each rater, at least two")
        for i, row in enumerate(rows):
            checks.require_same_length("ratings of rater 0", rows[0], f"ratings of rater {i}", row)
        if level == "nominal":
            _require_comparable_raters(rows)
        else:
            _require_numbers(rows, level)
        rated = [[label for label in item if label is not None] for item in zip(*rows, strict=True)]
        items = [item for item in rated if len(item) > 1]  # a single rating has nothing to agree with
        if len(items) < 2:
            raise ValueError(f"{_with_two(len(items), 'ratings')} or more: give at least two such items")
        flat = [label for item in items for label in item]
        if level == "nominal":
            codes = np.array(checks.codes(flat))
            values = np.arange(codes.max() + 1)
        else:
            values, codes = _distinct(np.array([float(label) for label in flat]))
        if len(values) == 1:
            raise ValueError(
                f"every rating is {checks.shown(flat[0])}: alpha is 0 / 0. Rate items on which ratings can differ"
            )
        sizes = np.array([len(item) for item in items])
        return cls(codes, np.repeat(np.arange(len(items)), sizes), sizes, values)


def _rows(name: str, of: str, rows: Any) -> list[list[Any]]:
    """The labels of each row, with None for a missing one."""
    found = enumerate(checks.listed(name, rows, table=True))
    return [checks.labels(f"{name} of {of} {i}", row, missing=True) for i, row in found]


def _with_two(count: int, what: str) -> str:
    return f"{counted(count, 'item')} {'has' if count == 1 else 'have'} two {what}"


def _require_comparable_raters(rows: list[list[Any]]) -> None:
    """Compare the labels of each rater with those of the raters before it."""
    before: dict[Any, None] = {}
    for i, row in enumerate(rows):
        own = {label: None for label in row if label is not None}
        if own and before:
            others = "ratings of rater 0" if i == 1 else "ratings of the raters before"
            checks.require_comparable_labels(f"ratings of rater {i}", own.keys(), others, before.keys())
        before |= own
    checks.warn_of_lookalikes("ratings", before)


def _require_numbers(rows: list[list[Any]], level: str) -> None:
    for i, row in enumerate(rows):
        for j, rating in enumerate(row):
            if rating is None:
                continue
            checks.require_real("ratings", f"{j} of rater {i}", rating)
            if level == "ratio" and rating < 0:
                raise ValueError(
                    f"the rating {rating!r:.40} is negative, where ratios mean nothing: use level='interval'"
                )


def _distinct(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct numbers, ascending, and the index of each number among them. Rounding makes none distinct."""
    found, indices = np.unique(numbers, return_inverse=True)
    new = np.append(True, np.diff(found) > 2 * rounding_of(found[1:]))
    return found[new], (np.cumsum(new) - 1)[indices]


def _alphas(table: _Table, level: str, draws: np.ndarray) -> np.ndarray:
    """Alpha of each resample, given how often it holds each item, (resamples, items); NaN if all ratings are equal.

    Alpha is 1 - (n - 1) observed / expected, where `expected` sums the squared distances of all pairs of n ratings, and
    `observed` those within items, divided by an item's number of ratings less one.
    """
    size = len(table.values)
    counts = np.stack([np.bincount(table.codes, draw[table.owners], size) for draw in draws])  # (resamples, values)
    n = counts.sum(axis=1)
    if level == "nominal":  # pairs that differ are all pairs but those of one value
        cells, same = np.unique(table.owners * size + table.codes, return_counts=True)
        within = table.sizes**2 - np.bincount(cells // size, same**2)
        expected = n**2 - (counts**2).sum(axis=1)
    elif level == "ratio":
        unit = unit_of(table.values)
        values = table.values / unit
        items = np.split(values[table.codes], np.cumsum(table.sizes)[:-1])
        within = np.array([_ratio_distances(item, np.ones((1, len(item))))[0] for item in items])
        expected = _ratio_distances(values, counts)
    else:
        if level == "ordinal":  # the distance of two ranks counts the ratings between them: it is that of mid-ranks
            places = counts.cumsum(axis=1) - counts / 2  # (resamples, values)
        else:
            places = table.values[None] - table.values[size // 2]
            places = places / unit_of(places)
        # The squared distances of all pairs add up to 2 n times the squared distances from the mean.
        starts = np.cumsum(table.sizes) - table.sizes
        placed = places[:, table.codes]  # (resamples or 1, ratings)
        means = np.add.reduceat(placed, starts, axis=1) / table.sizes
        within = 2 * table.sizes * np.add.reduceat((placed - means[:, table.owners]) ** 2, starts, axis=1)
        mean = (counts * places).sum(axis=1) / n
        expected = 2 * n * (counts * (places - mean[:, None]) ** 2).sum(axis=1)
    observed = (draws * (within / (table.sizes - 1))).sum(axis=1)
    defined = ((counts > 0).sum(axis=1) > 1) & (expected > 0)
    return np.where(defined, 1 - (n - 1) * observed / np.where(defined, expected, 1), math.nan)


def _ratio_distances(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The sum of ((x - y) / (x + y))^2 over all pairs, for each row of `counts`, (resamples, values)."""
    total = np.zeros(len(counts))
    step = max(1, 4_000_000 // len(values))
    for begin in range(0, len(values), step):
        some = values[begin : begin + step, None]
        sums = some + values
        distances = np.divide(some - values, sums, out=np.zeros_like(sums), where=sums > 0) ** 2  # (some, values)
        total += ((counts[:, begin : begin + step] @ distances) * counts).sum(axis=1)
    return total
