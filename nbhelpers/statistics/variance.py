"""Where the variance of a mean score comes from: the items, the runs, or the rest."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from . import checks
from .intervals import ROUNDING, Interval, interval_around, unit_of


@dataclass(frozen=True)
class VarianceComponents:
    """How much items, runs and the rest vary, and what that does to the mean.

    Attributes
    ----------
    mean : float
        Of all scores.
    item_variance : float
        Of the items' means over endless runs, in the squared unit of the scores. More items reduce its part.
    run_variance : float
        Of the runs' means over endless items: what no number of items reduces.
    rest_variance : float
        Of what is left, in a single score: how differently runs treat items, and noise. A table with one score in each
        cell cannot tell these two apart.
    items : int
        How many there were.
    runs : int
        How many there were.
    set_to_zero : tuple of str
        Which of "items" and "runs" had a negative estimate, given as 0: nothing of it can be seen in these data.
    """

    mean: float
    item_variance: float
    run_variance: float
    rest_variance: float
    items: int
    runs: int
    set_to_zero: tuple[str, ...]

    def variance_of_mean(self, items: float | None = None, runs: float | None = None) -> dict[str, float]:
        """The squared standard error of the mean, split by where it comes from.

        Parameters
        ----------
        items, runs : int or math.inf, optional
            How many there would be, 1 or more; by default as many as there were.

        Returns
        -------
        dict
            "items": item_variance / items; "runs": run_variance / runs; "rest": rest_variance / (items * runs).
        """
        items = self.items if items is None else _require_planned("items", items)
        runs = self.runs if runs is None else _require_planned("runs", runs)
        return {
            "items": self.item_variance / items,
            "runs": self.run_variance / runs,
            "rest": self.rest_variance / items / runs,
        }

    def standard_error(self, items: float | None = None, runs: float | None = None) -> float:
        """The standard error of the mean of so many items and runs, in the unit of the scores.

        Parameters
        ----------
        items, runs : int or math.inf, optional
            How many there would be; by default as many as there were. ``items=math.inf`` gives what is left however
            many items are added.
        """
        return math.hypot(*map(math.sqrt, self.variance_of_mean(items, runs).values()))

    def interval(self, confidence: float = 0.95) -> Interval:
        """Confidence interval of the mean, for other items *and* other runs of the same kinds.

        Student's t with Satterthwaite's degrees of freedom: with few runs that differ, these are few. In simulations it
        held the mean in 93 to 96% of cases at 95%, with 2 runs in 89%.
        """
        confidence = checks.require_number("confidence", confidence, 0, 1)
        return interval_around(self.mean, self.standard_error(), confidence, self._freedom())

    def _freedom(self) -> float:
        """Satterthwaite's, of the sum of mean squares that the squared standard error is made of."""
        unit = max(self.item_variance, self.run_variance, self.rest_variance) or 1.0
        of_items, of_runs, rest = (v / unit for v in (self.item_variance, self.run_variance, self.rest_variance))
        squares = []
        if of_items:
            squares.append((self.runs * of_items + rest, self.items - 1))
        if of_runs:
            squares.append((self.items * of_runs + rest, self.runs - 1))
        if len(squares) != 1:
            squares.append((-rest if squares else rest, (self.items - 1) * (self.runs - 1)))
        total, spread = sum(s for s, _ in squares), sum(s**2 / freedom for s, freedom in squares)
        return total**2 / spread if spread else math.inf

    def __str__(self) -> str:
        left_out = "".join(f"; the estimate for {what} was negative" for what in self.set_to_zero)
        return (
            f"mean {self.mean:.3f} ± {self.standard_error():.3f} ({self.items} items, {self.runs} runs); variance of "
            f"items {self.item_variance:.3g}, runs {self.run_variance:.3g}, rest {self.rest_variance:.3g}{left_out}"
        )


def variance_components(
    scores: Iterable[Any],
    items: Iterable[Hashable] | None = None,
    runs: Iterable[Hashable] | None = None,
) -> VarianceComponents:
    """Split the variance of scores into that of the items, that of the runs, and the rest.

    A run is whatever was varied over all items alike: a seed, a prompt, a judge, a checkpoint.

    Parameters
    ----------
    scores : items x runs, or iterable of float
        A table with a row for each item, two rows and two columns or more, and no gaps. Or one number for each pair of
        item and run, in any order, with the two columns that follow.
    items, runs : iterable of labels, optional
        The item and the run of each score. Each item must have been scored once in each run.

    Returns
    -------
    VarianceComponents

    Raises
    ------
    TypeError, ValueError
        If a score is not a finite number, rows differ in length, a cell is missing or filled twice, there is one item
        or one run, or only one of `items` and `runs` is given.

    Notes
    -----
    The model: score = mean + item + run + rest, each drawn at random and independently of the others. The estimates
    come from the mean squares of the analysis of variance (method of moments): (MS_items - MS_rest) / runs,
    (MS_runs - MS_rest) / items and MS_rest. They may turn out negative, which a variance cannot be; such a one is set
    to 0 and named in `set_to_zero`. From few runs, their variance is known but roughly: from 5, its 95% limits are a
    third of the estimate and eight times as much, even with endless items.

    If run 1 of one item has nothing to do with run 1 of another (independent samples of a model), the variance of runs
    is 0 in truth, its estimate is near 0, and the noise of sampling is in the rest.

    Searle, Casella and McCulloch, "Variance Components" (1992), section 4.3; in generalizability theory the
    design p x i of Brennan (2001). Explained in the chapter "Error Bars".
    """
    if (items is None) != (runs is None):
        given, other = ("items", "runs") if runs is None else ("runs", "items")
        raise ValueError(f"{given} is given and {other} is not: give both columns, or a table items x runs and neither")
    table = checks.table("scores", scores if items is None else _pivoted(scores, items, runs), "item", "run")
    rows, columns = table.shape
    unit = unit_of(table) if table.any() else 1.0
    if not 1e-150 < unit < 1e150:
        largest = float(np.abs(table).max())
        raise ValueError(f"the largest of scores is {largest:g}, too extreme to be squared: choose a unit nearer to 1")
    table = table / unit
    mean = float(table.mean())
    by_item, by_run = table.mean(axis=1) - mean, table.mean(axis=0) - mean
    rest = table - mean - by_item[:, None] - by_run
    slack = ROUNDING * float(np.abs(table).max())  # what adding up may leave of nothing

    def mean_square(deviations: np.ndarray, freedom: int) -> float:
        return float((deviations**2).sum()) / freedom if np.abs(deviations).max() > slack else 0.0

    of_rest = mean_square(rest, (rows - 1) * (columns - 1))
    of_items = (columns * mean_square(by_item, rows - 1) - of_rest) / columns
    of_runs = (rows * mean_square(by_run, columns - 1) - of_rest) / rows
    return VarianceComponents(
        mean=mean * unit,
        item_variance=max(0.0, of_items) * unit**2,
        run_variance=max(0.0, of_runs) * unit**2,
        rest_variance=of_rest * unit**2,
        items=rows,
        runs=columns,
        set_to_zero=tuple(name for name, found in (("items", of_items), ("runs", of_runs)) if found < 0),
    )


def _pivoted(scores: Any, items: Any, runs: Any) -> np.ndarray:
    """The table of three parallel columns, in order of first appearance."""
    values = checks.numbers("scores", scores)
    columns = []
    for name, given in (("items", items), ("runs", runs)):
        found = checks.labels(name, given)
        checks.require_same_length("scores", values, name, found)
        checks.warn_of_lookalikes(name, found)
        columns.append(found)
    rows, places = map(checks.codes, columns)
    filled = np.zeros((max(rows) + 1, max(places) + 1), dtype=int)
    np.add.at(filled, (rows, places), 1)
    if (filled != 1).any():
        row, place = (int(i) for i in np.argwhere(filled != 1)[0])
        item, run = checks.shown(columns[0][rows.index(row)]), checks.shown(columns[1][places.index(place)])
        raise ValueError(
            f"item {item} has {checks.counted(int(filled[row, place]), 'score')} in run {run}: give one for every item "
            "in every run. Leave out what is not complete, or average what was scored twice"
        )
    table = np.zeros(filled.shape)
    table[rows, places] = values
    return table


def _require_planned(name: str, value: Any) -> float:
    if isinstance(value, Real) and value == math.inf:
        return math.inf
    return checks.require_count(name, value)
