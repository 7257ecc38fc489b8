"""The forest plot: many estimates with their intervals, one a row."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping
from itertools import pairwise
from numbers import Real
from typing import TYPE_CHECKING, Any

from .plots import COLOURS, house_style
from .statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 6.0  # of the figure, in inches
NAME_WIDTH = 30  # characters of a line of a name; what is longer goes on in the next line
NAME_LINES = 3
LINE_HEIGHT = 0.2  # inches of a line of a name
ROW_GAP = 0.08  # inches between two rows
FRAME_HEIGHT = 0.7  # inches of the axis below
INK = "#333333"


def interval_plot(
    results: Mapping[str, Interval] | Iterable[tuple[str, Interval]],
    *,
    reference: float | None = None,
    sort: bool = True,
    xlabel: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a forest plot, which is one row for each result with its estimate and its interval.

    Parameters
    ----------
    results : mapping of names to Interval, or iterable of pairs (name, Interval)
        What any function of the statistics returns. Names are text or numbers; long ones break into up to three lines.
    reference : float, optional
        A value to compare with, such as chance or no difference, drawn as a dashed line. A hollow marker then says that
        the interval holds it.
    sort : bool
        Whether the highest estimate stands on top; else, the first result does.
    xlabel, title : str
        What is measured, and in which unit; and what the picture shows.
    ax : matplotlib Axes, optional
        Where to draw. By default in a new figure in the house style, as high as its rows need.

    Returns
    -------
    matplotlib Axes
        Its ``figure`` is the figure. The background is light on dark pages, too.

    Raises
    ------
    TypeError, ValueError
        If there are no results, one is no Interval, an estimate is not finite, a limit is NaN, or the reference is not
        a finite number.

    Notes
    -----
    Nothing depends on colour alone. An infinite limit, as :func:`bradley_terry` may give, ends in an arrow at the edge.
    The rows are intervals of single results: that two of them overlap does not show that the two are equal, see
    :func:`paired_difference`. Explained in the chapter "Error Bars".
    """
    rows = _checked(results)
    if reference is not None:
        reference = _finite("reference", reference)
    if sort:
        rows.sort(key=lambda row: -row[1].estimate)  # stable: equal estimates stay in the order given
    from matplotlib import pyplot

    with pyplot.rc_context(house_style() if ax is None else {}):
        if ax is None:
            lines = sum(name.count("\n") + 1 for name, _ in rows)
            height = FRAME_HEIGHT + LINE_HEIGHT * lines + ROW_GAP * len(rows) + (0.3 if title else 0)
            _, ax = pyplot.subplots(figsize=(WIDTH, max(1.4, height)))
        _draw(ax, rows, reference)
        ax.set_xlabel(xlabel)
        if title:
            ax.set_title(title, loc="left")
    return ax


def _draw(ax: Axes, rows: list[tuple[str, Interval]], reference: float | None) -> None:
    finite = [x for _, row in rows for x in (row.estimate, row.low, row.high) if math.isfinite(x)]
    finite += [] if reference is None else [reference]
    margin = 0.04 * (max(finite) - min(finite)) or 0.04 * abs(finite[0]) or 0.04
    left, right = min(finite) - margin, max(finite) + margin
    places = _places([name.count("\n") + 1 for name, _ in rows])
    for place, (_, row) in zip(places, rows, strict=True):
        hollow = reference is not None and row.low <= reference <= row.high
        ax.plot([max(row.low, left), min(row.high, right)], [place, place], color=COLOURS[0], solid_capstyle="butt")
        for limit, edge, arrow in ((row.low, left, "<"), (row.high, right, ">")):
            at, marker = (limit, "|") if math.isfinite(limit) else (edge, arrow)
            ax.plot(at, place, marker, color=COLOURS[0], markersize=7, clip_on=False)
        ax.plot(row.estimate, place, "o", markersize=7, color=COLOURS[0], mfc=ax.get_facecolor() if hollow else None)
    if reference is not None:
        ax.axvline(reference, color=INK, linestyle="--", linewidth=1.2, zorder=0.9)
    ax.set_xlim(left, right)
    ax.set_ylim(places[-1] + 0.7, places[0] - 0.7)
    ax.set_yticks(places, [name for name, _ in rows])
    for label in ax.get_yticklabels():
        label.set_parse_math(False)  # a name with two dollars is no formula
        label.set_linespacing(1.0)
    ax.tick_params(axis="y", length=0, pad=8)  # an arrow at the edge must not touch the names
    ax.grid(False, axis="y")
    ax.spines["left"].set_visible(False)


def _places(lines: list[int]) -> list[float]:
    """The heights of the rows, from 0 downwards, with more room for names of several lines."""
    places = [0.0]
    for above, below in pairwise(lines):
        places.append(places[-1] + (above + below) / 2)
    return places


def _checked(results: Any) -> list[tuple[str, Interval]]:
    """The rows as they are drawn, or a clear error."""
    given = results.items() if isinstance(results, Mapping) else results
    if isinstance(given, str | bytes | Interval) or not isinstance(given, Iterable):
        raise TypeError(f"results must map names to intervals, not be {type(results).__name__}: {results!r:.60}")
    rows = []
    for i, row in enumerate(given):
        if not isinstance(row, tuple | list) or len(row) != 2:
            raise TypeError(f"result {i} must be a pair (name, Interval), not {row!r:.60}")
        name, found = row
        if not isinstance(name, str | int | float):
            raise TypeError(f"the name of result {i} must be text or a number, not {type(name).__name__}: {name!r:.60}")
        if not isinstance(found, Interval):
            raise TypeError(
                f"the result {name!r:.40} is {type(found).__name__} and no Interval: {found!r:.60}. mean_interval and "
                "the other functions of the statistics return one; Interval(estimate, low, high) makes one"
            )
        _finite(f"the estimate of {name!r:.40}", found.estimate)
        if math.isnan(found.low) or math.isnan(found.high):
            raise ValueError(f"the result {name!r:.40} has a limit that is NaN ({found}): leave it out")
        rows.append((_wrapped(str(name)), found))
    if not rows:
        raise ValueError("there is nothing to draw: results is empty")
    return rows


def _wrapped(name: str) -> str:
    lines = textwrap.wrap(name, NAME_WIDTH, max_lines=NAME_LINES, placeholder=" …")
    return "\n".join(lines) or " "


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}: {value!r:.60}")
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}: give a finite number")
    return float(value)
