"""Input checks whose error messages name the argument and repeat what was given."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Set
from decimal import Decimal
from numbers import Integral, Number, Real
from typing import Any

import numpy as np

from ..warn import warn_caller

LARGEST = 1e300  # of a score: differences and sums of larger ones would overflow
LARGEST_COUNT = 2**53  # floats hold every whole number up to here

# --- single numbers -------------------------------------------------------------------------------------------


def require_number(name: str, value: Any, low: float = 0, high: float = LARGEST, closed: bool = False) -> float:
    """Require a number between `low` and `high` and return it; `closed` also allows the two limits themselves."""
    if not isinstance(value, Real | Decimal) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}: {value!r:.60}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except ValueError:  # a signalling NaN
        number = math.nan
    if low <= number <= high if closed else low < number < high:
        return number
    allowed = f"greater than {low}" if high == LARGEST else f"between {low} and {high}"
    if closed:
        allowed += " or one of these"
    elif number >= LARGEST == high:
        allowed += f" and less than {LARGEST:g}"
    raise ValueError(f"{name}={value!r:.60}: give a number {allowed}")


def require_count(name: str, value: Any, least: int = 1) -> int:
    """Require a whole number, `least` or more, and return it."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}: {value!r:.60}")
    if value < least:
        raise ValueError(f"{name}={value!r:.60}: give {least} or more")
    if value > LARGEST_COUNT:
        raise ValueError(f"{name}={value!r:.60}: give {LARGEST_COUNT:,} (2^53) or less")
    return int(value)


def require_bootstrap(confidence: float, resamples: int) -> None:
    """Require at least one resample beyond each limit."""
    require_number("confidence", confidence, 0, 1)
    require_count("resamples", resamples)
    if resamples * (1 - confidence) < 2 - 1e-9:
        least = math.ceil(2 / (1 - confidence) - 1e-9)
        raise ValueError(
            f"resamples={resamples} is too few to find limits at confidence={confidence}: give {least} or more"
        )


def random_generator(seed: Any) -> np.random.Generator:
    """The random numbers of a seed: a whole number of any size, 0 or more, and no two seeds draw alike.

    True and False are errors, because they would draw what 1 and 0 draw.
    """
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise TypeError(
            f"seed must be a whole number, so that the result can be had again, not {type(seed).__name__}: {seed!r:.60}"
        )
    if seed < 0:
        raise ValueError(f"seed={seed!r:.60}: give 0 or more")
    return np.random.default_rng(int(seed))


# --- lists of numbers -----------------------------------------------------------------------------------------


def counted(count: int, noun: str) -> str:
    """How many there are, as English says it: "1 item", "3 items"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def require_items(name: str, count: int, least: int = 2) -> None:
    if count < least:
        given = "is empty" if count == 0 else f"holds {counted(count, 'item')}"
        reason = ", since one item shows no variation" if least == 2 else ""
        raise ValueError(f"{name} {given}: give {least} or more{reason}")


def require_same_length(name: str, one: Any, other_name: str, other: Any) -> None:
    if len(one) != len(other):
        raise ValueError(
            f"{name} has {counted(len(one), 'item')} and {other_name} has {len(other):,}: "
            "give one of each for every item"
        )


def listed(name: str, values: Any, table: bool = False) -> list[Any]:
    """The values as a list, in order. Tensors become plain numbers.

    Strings, dicts and sets are errors, although they can be iterated over; so are arrays with two dimensions, unless
    the argument is a `table` of rows. A data frame is always an error: iterating over it gives its columns' names.
    """
    if isinstance(values, str | bytes | bytearray | memoryview | Mapping | Set) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list or an array with one entry for each item, not {values!r:.60}")
    dimensions = getattr(values, "ndim", 1)
    if hasattr(values, "columns") and not isinstance(values, list | tuple):
        hint = ".to_numpy(), with the rows this argument wants" if table else "['name of a column']"
        raise TypeError(f"{name} is a {type(values).__name__}, which has columns: give {name}{hint}")
    if isinstance(dimensions, int) and (dimensions < 1 or dimensions > (2 if table else 1)):
        shape = tuple(getattr(values, "shape", ()))
        given = f"an array of shape {shape}" if shape else "a single number"
        if 0 not in shape and shape:
            given += f", in which item 0 is {type(values[0]).__name__}"
        raise TypeError(f"{name} must be a list or an array with one entry for each item, not {given}")
    if hasattr(values, "detach"):  # a tensor, on whatever device
        return values.tolist()
    return list(values)


def require_real(name: str, i: int | str, value: Any) -> float:
    """Require that item `i` of `name` is a finite number and return it."""
    if not isinstance(value, Real | np.bool_ | Decimal):
        hint = ". Leave the item out, or decide what it scores" if is_missing(value) else ""
        raise TypeError(f"{name} must hold numbers, and item {i} is {type(value).__name__}: {value!r:.60}{hint}")
    if is_missing(value) or value in (math.inf, -math.inf):
        raise ValueError(f"item {i} of {name} is {value}: leave the item out, or decide what it scores")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if abs(number) > LARGEST:
        raise ValueError(f"item {i} of {name} is {value!r:.60}: choose a unit in which it is {LARGEST:g} or less")
    return number


def numbers(name: str, values: Any, least: int = 2) -> np.ndarray:
    """The values as an array of floats: finite numbers, at least `least` of them."""
    if type(values) is np.ndarray and values.ndim == 1 and values.dtype.kind in "fiub" and np.isfinite(values).all():
        require_items(name, len(values), least)
        return values.astype(float)
    values = listed(name, values)
    require_items(name, len(values), least)
    return np.array([require_real(name, i, value) for i, value in enumerate(values)])


def pair(name: str, one: Any, other_name: str, other: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of numbers of the same length."""
    first, second = numbers(name, one), numbers(other_name, other)
    require_same_length(name, first, other_name, second)
    return first, second


def table(name: str, rows: Any, row: str, column: str) -> np.ndarray:
    """The rows as a table of finite numbers, with two rows (say, items) and two columns (say, runs) or more."""
    if type(rows) is not np.ndarray or rows.ndim != 2 or rows.dtype.kind not in "fiub" or not np.isfinite(rows).all():
        found = [listed(f"row {i} of {name}", values) for i, values in enumerate(listed(name, rows, table=True))]
        for i, values in enumerate(found):
            if len(values) != len(found[0]):
                raise ValueError(
                    f"{row} 0 of {name} has {counted(len(found[0]), column)} and {row} {i} has {len(values):,}: give "
                    f"one score for every {row} and {column}"
                )
        numbers = [[require_real(name, f"{j} of row {i}", x) for j, x in enumerate(v)] for i, v in enumerate(found)]
        rows = np.array(numbers).reshape(len(found), -1 if found else 0)
    for count, noun in zip(rows.shape, (row, column), strict=True):
        if count < 2:
            raise ValueError(f"{name} has {counted(count, noun)}: give a table {row}s x {column}s, two of each or more")
    return rows.astype(float)


# --- labels ---------------------------------------------------------------------------------------------------


def is_missing(value: Any) -> bool:
    """Whether the value stands for "no value": None, any kind of NaN or NaT, pandas.NA, numpy.ma.masked."""
    if value is None or value is np.ma.masked:
        return True
    if isinstance(value, Decimal):
        return value.is_nan()  # a signalling NaN refuses to be compared
    if type(value).__name__ == "NAType":  # pandas.NA, which compares as neither true nor false
        return True
    if isinstance(value, np.ndarray | list | tuple) or not isinstance(value, Hashable):
        return False
    try:
        return bool(value != value)  # NaN and NaT differ from themselves
    except Exception:  # whatever the type of a stranger does
        return False


def labels(name: str, values: Any, missing: bool = False) -> list[Any]:
    """The labels as a list. A missing one (see `is_missing`) becomes None if `missing` is true, else it is an error.

    Labels are one label if Python calls them equal: 1, 1.0, True and numpy.int64(1) are, 1 and "1" are not.
    """
    found = [None if is_missing(value) else value for value in listed(name, values)]
    for i, label in enumerate(found):
        if label is None and not missing:
            raise ValueError(f"item {i} of {name} has no label (None or NaN): leave the item out")
        if not _can_be_label(label):
            raise TypeError(
                f"item {i} of {name} is {type(label).__name__}, and a label must be a string or a number: {label!r:.60}"
            )
    return found


def _can_be_label(value: Any) -> bool:
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        return False  # a tensor can be hashed, but by its place in memory: no two would be one label
    try:
        hash(value)
    except Exception:  # a tuple that holds a list, for instance
        return False
    return True


def codes(values: list[Any]) -> list[int]:
    """Number the labels 0, 1, 2, ... in order of first appearance."""
    numbered: dict[Any, int] = {}
    return [numbered.setdefault(value, len(numbered)) for value in values]


def require_comparable_labels(name: str, one: Set[Any], other_name: str, other: Set[Any]) -> bool:
    """Whether two raters have a label in common; an error if they have none because their labels are of other types."""
    if not one.isdisjoint(other):
        return True
    kinds, other_kinds = sorted(set(map(_kind, one))), sorted(set(map(_kind, other)))
    if kinds != other_kinds:
        raise ValueError(
            f"{no_label_in_common(name, one, other_name, other)}. They are of different types ({', '.join(kinds)} and "
            f"{', '.join(other_kinds)}): write both in the same way, for instance with str or int"
        )
    return False


def no_label_in_common(name: str, one: Iterable[Any], other_name: str, other: Iterable[Any]) -> str:
    return f"{name} and {other_name} have no label in common: {_some(one)} and {_some(other)}"


def warn_of_lookalikes(name: str, found: Iterable[Any]) -> None:
    """Warn if a label stands in `found` both as text and as something else, such as "1" and 1."""
    found = list(dict.fromkeys(found))
    texts = {label for label in found if isinstance(label, str)}
    if not texts or len(texts) == len(found):
        return
    for label in found:
        if not isinstance(label, str) and str(label) in texts:
            warn_caller(
                f"{name} hold the label {shown(label):.40} ({type(label).__name__}) and the text {str(label)!r:.40}, "
                "which count as different: write labels in one way, for instance with str"
            )
            return


def _kind(label: Any) -> str:
    """The type of a label as its user thinks of it: all numbers are of one kind."""
    if isinstance(label, Number | np.bool_):
        return "number"
    return "text" if isinstance(label, str) else type(label).__name__


def shown(label: Any) -> str:
    """The label as a user would write it: 'x', not numpy.str_('x')."""
    return repr(label.item() if isinstance(label, np.generic) else label)


def _some(found: Iterable[Any]) -> str:
    """A few of the labels, for a message."""
    texts = sorted(f"{shown(label):.30}" for label in found)
    return f"{{{', '.join(texts[:5])}{', ...' if len(texts) > 5 else ''}}}"


def groups(clusters: Any, n: int) -> np.ndarray:
    """The cluster of each of `n` scores, as a code; there must be at least two clusters."""
    found = labels("clusters", clusters)
    if len(found) != n:
        raise ValueError(
            f"clusters has {counted(len(found), 'item')}, and there are {n:,} scores: give the cluster of every score"
        )
    coded = np.array(codes(found), dtype=int)
    if coded.max() == 0:
        raise ValueError("all items are in one cluster: at least two are needed to see how much clusters vary")
    warn_of_lookalikes("clusters", found)
    return coded
