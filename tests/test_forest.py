"""The forest plot: what stands where, in which order, and legible whatever the names; bad input."""

import math
from itertools import pairwise

import numpy as np
import pytest

import nbhelpers as nb
from nbhelpers import plots

RESULTS = {"low": nb.Interval(0.2, 0.1, 0.3), "high": nb.Interval(0.8, 0.7, 0.9), "middle": nb.Interval(0.5, 0.4, 0.6)}


@pytest.fixture(autouse=True)
def no_figures_left():
    from matplotlib import pyplot

    before = dict(pyplot.rcParams)
    yield
    pyplot.close("all")
    assert dict(pyplot.rcParams) == before, "drawing changes nobody's settings"


def drawn_names(ax):
    """From top to bottom."""
    ax.figure.draw_without_rendering()
    places = [ax.transData.transform((0, place))[1] for place in ax.get_yticks()]
    names = [label.get_text() for label in ax.get_yticklabels()]
    return [name for _, name in sorted(zip(places, names, strict=True), reverse=True)]


def lines_of(ax):
    """The end points of each interval, row by row."""
    return [tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]


def markers_of(ax):
    return [line for line in ax.lines if line.get_marker() == "o"]


@pytest.mark.parametrize(
    "results", [RESULTS, list(RESULTS.items()), iter(RESULTS.items()), [list(pair) for pair in RESULTS.items()]]
)
def test_the_highest_stands_on_top(results):
    ax = nb.interval_plot(results)
    assert drawn_names(ax) == ["high", "middle", "low"]
    assert lines_of(ax) == [(0.7, 0.9), (0.4, 0.6), (0.1, 0.3)]
    assert [marker.get_xdata()[0] for marker in markers_of(ax)] == [0.8, 0.5, 0.2]


def test_unsorted_the_first_stands_on_top():
    assert drawn_names(nb.interval_plot(RESULTS, sort=False)) == ["low", "high", "middle"]


def test_a_hollow_marker_means_that_the_interval_holds_the_reference():
    ax = nb.interval_plot(RESULTS, reference=0.6)
    (line,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert list(line.get_xdata()) == [0.6, 0.6]
    faces = [marker.get_markerfacecolor() for marker in markers_of(ax)]
    assert faces == [plots.COLOURS[0], ax.get_facecolor(), plots.COLOURS[0]]  # 0.6 is the middle one's limit
    assert not [line for line in nb.interval_plot(RESULTS).lines if line.get_linestyle() == "--"]


def test_the_reference_is_in_the_picture():
    low, high = nb.interval_plot(RESULTS, reference=-2).get_xlim()
    assert low < -2 and high > 0.9


def test_labels_and_title():
    ax = nb.interval_plot(RESULTS, xlabel="accuracy", title="Three models")
    assert ax.get_xlabel() == "accuracy" and ax.get_title(loc="left") == "Three models"


def test_the_house_style_needs_no_call_and_is_light_on_dark_pages():
    figure = nb.interval_plot(RESULTS).figure
    from matplotlib.colors import to_hex

    assert to_hex(figure.get_facecolor()) == to_hex(figure.axes[0].get_facecolor()) == "#fbfaf7"


def test_it_draws_where_it_is_told():
    from matplotlib import pyplot

    _, (left, right) = pyplot.subplots(1, 2)
    assert nb.interval_plot(RESULTS, ax=right) is right and not left.lines
    assert len(pyplot.get_fignums()) == 1


NAMES = {
    "short": lambda i: f"{i}",
    "long": lambda i: f"template {i}, with five examples in an order of its own and the answer as a letter",
    "without a space": lambda i: (
        f"organisation/model-{i}-instruct-q4_k_m-2026-11-27-final-checkpoint-00012000-of-24000"
    ),
    "mixed": lambda i: "word " * (3 * (i % 5) + 1) + str(i),
}


@pytest.mark.parametrize("count", [1, 2, 12, 40])
@pytest.mark.parametrize("kind", NAMES)
def test_names_neither_overlap_nor_push_the_rows_out(count, kind):
    results = {NAMES[kind](i): nb.Interval(i / 40, i / 40 - 0.1, i / 40 + 0.1) for i in range(count)}
    ax = nb.interval_plot(results, reference=0.5, xlabel="accuracy", title="Many")
    figure = ax.figure
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    boxes.sort(key=lambda box: -box.y0)
    assert len(boxes) == count
    assert all(above.y0 >= below.y1 - 1 for above, below in pairwise(boxes)), "names overlap"
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes), "a name is cut off"
    assert ax.get_window_extent().width > 0.4 * figure.bbox.width, "room for the intervals"


def test_a_name_is_drawn_as_it_is():
    ax = nb.interval_plot({"costs $5 or $6": nb.Interval(1, 0, 2), 10: nb.Interval(2, 1, 3), "": nb.Interval(0, 0, 0)})
    assert drawn_names(ax) == ["10", "costs $5 or $6", " "]
    assert not any(label.get_parse_math() for label in ax.get_yticklabels())


def test_an_infinite_limit_ends_in_an_arrow_at_the_edge():
    ax = nb.interval_plot({"a": nb.Interval(1, -math.inf, 2), "b": nb.Interval(0, -1, math.inf)})
    low, high = ax.get_xlim()
    arrows = {line.get_marker(): line.get_xdata()[0] for line in ax.lines if line.get_marker() in ("<", ">")}
    assert arrows == {"<": low, ">": high} and math.isfinite(low) and math.isfinite(high)


@pytest.mark.parametrize("value", [0, 0.5, -3, 1e-300, 1e200])
def test_a_single_number_has_room_around_it(value, recwarn):
    low, high = nb.interval_plot({"a": nb.Interval(value, value, value)}).get_xlim()
    assert low < value < high and not recwarn


def test_it_takes_what_the_statistics_return():
    a, b = np.random.default_rng(0).random((2, 30))
    ax = nb.interval_plot({"difference": nb.paired_difference(a, b), "equal?": nb.equivalence(a, b, 0.2)}, reference=0)
    assert len(lines_of(ax)) == 2


BAD_INPUT = [
    ({}, {}, ValueError, "there is nothing to draw: results is empty"),
    ([], {}, ValueError, "there is nothing to draw: results is empty"),
    (nb.Interval(1, 0, 2), {}, TypeError, "results must map names to intervals, not be Interval"),
    ("abc", {}, TypeError, "results must map names to intervals, not be str"),
    (None, {}, TypeError, "results must map names to intervals, not be NoneType"),
    ([nb.Interval(1, 0, 2)], {}, TypeError, r"result 0 must be a pair \(name, Interval\)"),
    ([("a", nb.Interval(1, 0, 2), 3)], {}, TypeError, "result 0 must be a pair"),
    (["ab"], {}, TypeError, "result 0 must be a pair"),
    ({"a": 0.5}, {}, TypeError, "the result 'a' is float and no Interval: 0.5"),
    ({"a": (0.5, 0.4, 0.6)}, {}, TypeError, "the result 'a' is tuple and no Interval"),
    ({("a", 1): nb.Interval(1, 0, 2)}, {}, TypeError, "the name of result 0 must be text or a number, not tuple"),
    ({None: nb.Interval(1, 0, 2)}, {}, TypeError, "the name of result 0 must be text or a number, not NoneType"),
    ({"a": nb.Interval(math.nan, 0, 2)}, {}, ValueError, "the estimate of 'a' is nan: give a finite number"),
    ({"a": nb.Interval(math.inf, 0, 2)}, {}, ValueError, "the estimate of 'a' is inf: give a finite number"),
    ({"a": nb.Interval(1, math.nan, 2)}, {}, ValueError, "the result 'a' has a limit that is NaN"),
    ({"a": nb.Interval(1, 0, math.nan)}, {}, ValueError, "the result 'a' has a limit that is NaN"),
    ({"a": nb.Interval("1", 0, 2)}, {}, TypeError, "the estimate of 'a' must be a number, not str"),
    (RESULTS, {"reference": math.nan}, ValueError, "reference is nan: give a finite number"),
    (RESULTS, {"reference": "0.5"}, TypeError, "reference must be a number, not str"),
    (RESULTS, {"reference": True}, TypeError, "reference must be a number, not bool"),
]


@pytest.mark.parametrize("results, options, error, message", BAD_INPUT)
def test_bad_input_says_what_was_given(results, options, error, message):
    from matplotlib import pyplot

    with pytest.raises(error, match=message):
        nb.interval_plot(results, **options)
    assert not pyplot.get_fignums(), "no empty figure is left behind"
