"""Input checks whose error messages name the argument and repeat what was given."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Set
from numbers import Integral, Real
from typing import Any

import numpy as np


def require_number(name: str, value: Any, low: float = 0, high: float = math.inf, closed: bool = False) -> None:
    """Require a number between `low` and `high`; `closed` also allows the two limits themselves."""
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}: {value!r:.60}")
    inside = low <= value <= high if closed else low < value < high
    if inside:
        return
    allowed = f"greater than {low}" if high == math.inf else f"between {low} and {high}"
    if closed:
        allowed += " or one of these"
    raise ValueError(f"{name}={value!r}: give a number {allowed}")


def require_count(name: str, value: Any, least: int = 1) -> None:
    if not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}: {value!r:.60}")
    if value < least:
        raise ValueError(f"{name}={value!r}: give {least} or more")


def require_bootstrap(confidence: float, resamples: int) -> None:
    """Require at least one resample beyond each limit."""
    require_number("confidence", confidence, 0, 1)
    require_count("resamples", resamples)
    if resamples * (1 - confidence) < 2 - 1e-9:
        least = math.ceil(2 / (1 - confidence) - 1e-9)
        raise ValueError(
            f"resamples={resamples} is too few to find limits at confidence={confidence}: give {least} or more"
        )


def require_items(name: str, count: int, least: int = 2) -> None:
    if count < least:
        given = "is empty" if count == 0 else f"holds {count} item"
        raise ValueError(f"{name} {given}: give {least} or more, since one item shows no variation")


def require_same_length(name: str, one: Any, other_name: str, other: Any) -> None:
    if len(one) != len(other):
        raise ValueError(
            f"{name} has {len(one)} items and {other_name} has {len(other)}: give one of each for every item"
        )


def listed(name: str, values: Any) -> list[Any]:
    """The values as a list. Strings, dicts and sets are errors, although they can be iterated over."""
    if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list or an array with one entry for each item, not {values!r:.60}")
    return list(values)


def numbers(name: str, values: Any, least: int = 2) -> np.ndarray:
    """The values as an array of floats: finite numbers, at least `least` of them."""
    values = listed(name, values)
    require_items(name, len(values), least)
    for i, value in enumerate(values):
        if not isinstance(value, Real | np.bool_):
            raise TypeError(f"{name} must hold numbers, and item {i} is {type(value).__name__}: {value!r:.60}")
        if not math.isfinite(value):
            raise ValueError(f"item {i} of {name} is {value}: leave the item out, or decide what it scores")
    return np.array(values, dtype=float)


def pair(name: str, one: Any, other_name: str, other: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of numbers of the same length."""
    first, second = numbers(name, one), numbers(other_name, other)
    require_same_length(name, first, other_name, second)
    return first, second


def labels(name: str, values: Any, missing: bool = False) -> list[Any]:
    """The labels as a list. A missing one (None or NaN) becomes None if `missing` is true, and is an error if not."""
    found = [None if value is None or value != value else value for value in listed(name, values)]  # NaN != NaN
    for i, label in enumerate(found):
        if label is None and not missing:
            raise ValueError(f"item {i} of {name} has no label (None or NaN): leave the item out")
        if not isinstance(label, Hashable):
            raise TypeError(f"item {i} of {name} is {type(label).__name__}, and a label must be a string or a number")
    return found


def codes(values: list[Any]) -> list[int]:
    """Number the labels 0, 1, 2, ... in order of first appearance."""
    numbered: dict[Any, int] = {}
    return [numbered.setdefault(value, len(numbered)) for value in values]


def groups(clusters: Any, n: int) -> np.ndarray:
    """The cluster of each of `n` scores, as a code; there must be at least two clusters."""
    coded = np.array(codes(labels("clusters", clusters)), dtype=int)
    if len(coded) != n:
        raise ValueError(f"clusters has {len(coded)} items, and there are {n} scores: give the cluster of every score")
    if coded.max() == 0:
        raise ValueError("all items are in one cluster: at least two are needed to see how much clusters vary")
    return coded
