"""Several tries at each problem: at least one of k passes (pass@k), or all k do (pass^k)."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from fractions import Fraction
from numbers import Integral

from . import checks
from .intervals import Interval, interval_around, mean_and_error


def pass_at_k(
    passed: Iterable[int],
    samples: int | Iterable[int],
    k: int,
    clusters: Iterable[Hashable] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Pass@k: how likely it is that at least one of k samples passes, a mean over problems.

    Parameters
    ----------
    passed : iterable of int
        How many samples of each problem passed, for two problems or more.
    samples : int or iterable of int
        How many samples were drawn: one number for all problems, or one for each. `k` or more.
    k : int
        How many tries count, 1 or more.
    clusters : iterable of labels, optional
        The group each problem was drawn with, if problems of a group resemble one another.
    confidence : float
        Coverage, between 0 and 1.

    Returns
    -------
    Interval
        A probability, and how far it would move with other problems of the same kind. The limits stay within 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If a count is not a whole number or is impossible, lengths differ, or there is only one problem or one cluster.

    Notes
    -----
    For a problem of which c of n samples passed, the estimate is 1 - C(n-c, k) / C(n, k): the share of all choices of k
    samples that hold one that passed. It is unbiased, whatever n, where 1 - (1 - c/n)^k is too low. The quotient is
    computed in whole numbers and rounded once.

    The interval is Student's t over problems. It holds what varies between problems and, with it, between samples;
    more samples narrow it less than more problems do. If all problems give one value it has no width, with a warning.
    For one greedy sample a problem, use `wilson_interval`.

    Chen and others, "Evaluating Large Language Models Trained on Code" (2021, arXiv 2107.03374), section 2.1.
    Explained in the chapter "Does the Program Run?".
    """
    return _over_problems(at_least_one, passed, samples, k, clusters, confidence)


def pass_hat_k(
    passed: Iterable[int],
    samples: int | Iterable[int],
    k: int,
    clusters: Iterable[Hashable] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Pass^k: how likely it is that all of k samples pass, a mean over problems.

    Parameters
    ----------
    passed, samples, k, clusters, confidence
        As for `pass_at_k`.

    Returns
    -------
    Interval
        A probability, and how far it would move with other problems of the same kind. The limits stay within 0 and 1.

    Raises
    ------
    TypeError, ValueError
        As `pass_at_k`.

    Notes
    -----
    For a problem of which c of n samples passed, the estimate is C(c, k) / C(n, k), which is unbiased; (c/n)^k is too
    high. With k = 1 both measures are the share that passed.

    Yao and others, "τ-bench" (2024, arXiv 2406.12045). Explained in the chapter "Does the Program Run?".
    """
    return _over_problems(all_of, passed, samples, k, clusters, confidence)


def at_least_one(n: int, c: int, k: int) -> float:
    """The share of all choices of k from n samples, c of which passed, that hold at least one of these."""
    ways = math.comb(n, k)
    return float(Fraction(ways - math.comb(n - c, k), ways))


def all_of(n: int, c: int, k: int) -> float:
    """The share of all choices of k from n samples, c of which passed, that hold none but these."""
    return float(Fraction(math.comb(c, k), math.comb(n, k)))


def _over_problems(
    estimate: Callable[[int, int, int], float],
    passed: Iterable[int],
    samples: int | Iterable[int],
    k: int,
    clusters: Iterable[Hashable] | None,
    confidence: float,
) -> Interval:
    k = checks.require_count("k", k)
    confidence = checks.require_number("confidence", confidence, 0, 1)
    counts = checks.numbers("passed", passed)
    drawn = [samples] * len(counts) if isinstance(samples, Integral) else checks.numbers("samples", samples)
    checks.require_same_length("passed", counts, "samples", drawn)
    groups = None if clusters is None else checks.groups(clusters, len(counts))
    values = [estimate(*_counts(i, n, c, k), k) for i, (n, c) in enumerate(zip(drawn, counts, strict=True))]
    mean, error, freedom = mean_and_error(checks.numbers("estimates", values), groups)
    return interval_around(mean, error, confidence, freedom, limits=(0.0, 1.0))


def _counts(problem: int, n: float, c: float, k: int) -> tuple[int, int]:
    """The two counts of a problem as whole numbers, or a clear error."""
    if n != int(n) or c != int(c) or not 0 <= c <= n:
        raise ValueError(f"problem {problem}: {c:g} of {n:g} samples passed is no count: need 0 <= passed <= samples")
    if k > n:
        raise ValueError(f"problem {problem} has {n:g} samples, too few for k={k}: draw more, or ask for a smaller k")
    return int(n), int(c)
