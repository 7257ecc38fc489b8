"""Data and small functions that several tests of the statistics share."""

import math

import numpy as np
import pytest
from scipy import stats

SCORES, CLUSTERS = [1, 1, 0, 0, 1, 0, 1, 1], list("aaabbbcc")
A, B = [1, 1, 0, 1, 0, 1, 1, 0, 1, 1], [1, 0, 0, 1, 0, 0, 1, 0, 1, 0]
NAN = math.nan
Z = stats.norm.ppf(0.975)


def limits(interval):
    return interval.low, interval.high


def covered(intervals, truth):
    """The share of intervals that hold the truth. Coverage tests want 93 to 97 % of nominal 95 % intervals to."""
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


def warned_at(call):
    """The file and line that each warning of this call points at."""
    with pytest.warns(UserWarning) as record:
        call()
    return [(warning.filename, warning.lineno) for warning in record]


def written_at(call):
    """The file and line of a lambda, which must fit on one line."""
    return call.__code__.co_filename, call.__code__.co_firstlineno
