"""Ratings of models from comparisons in pairs."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from itertools import islice
from numbers import Real
from typing import Any, Literal

import numpy as np

from . import checks
from .intervals import Interval, percentiles, warn_of_no_width

ELO = 400 / math.log(10)  # Elo points per nat of log-odds
NO_WIDTH = 1e-6  # points; Newton's method finds ratings that are equal to within a fifth of it


@dataclass(frozen=True)
class _Resamples:
    """What all resamples say of all pairs of models."""

    confidence: float
    strength: np.ndarray  # (resamples, models), in nats; comparable within a group of models
    reach: np.ndarray  # (resamples, models, models): whether chains of wins lead from one model to another


@dataclass(frozen=True)
class Ratings:
    """Bradley-Terry ratings with their confidence limits, on the Elo scale, best first.

    Each interval is about one model and the zero of the scale. Whether two intervals overlap does not say whether two
    models differ: see :meth:`difference`.

    Attributes
    ----------
    names : tuple of str
    estimate : tuple of float
        One for each name. A lead of 400 points means odds of 10 to 1.
    low : tuple of float
    high : tuple of float
        A limit is infinite if too many resamples have no finite rating.
    """

    names: tuple[str, ...]
    estimate: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    _resamples: _Resamples | None = field(default=None, repr=False, compare=False)

    def difference(self, a: str, b: str) -> Interval:
        """By how many points model `a` leads model `b`, with an interval from the same resamples.

        If the interval holds 0, the comparisons cannot tell the two apart, which is not to say that they are equal.

        Parameters
        ----------
        a, b : str
            Two different names of `names`.

        Returns
        -------
        Interval
            Its limits are those of `a` under ``bradley_terry(..., anchor=b)``, at the same confidence. As there, they
            may be infinite.

        Raises
        ------
        ValueError
            If a name was not rated, both are the same, or the ratings did not come from :func:`bradley_terry`.
        """
        for name in (a, b):
            if name not in self.names:
                raise ValueError(f"{name!r:.60} was not rated: choose among {list(self.names)}")
        if a == b:
            raise ValueError(f"{a!r} does not differ from itself: give two names")
        if self._resamples is None:
            raise ValueError("these ratings hold no resamples: use those that bradley_terry returned")
        i, j = self.names.index(a), self.names.index(b)
        strength, reach = self._resamples.strength, self._resamples.reach
        gaps = _gaps(strength[:, i], strength[:, j], reach[:, i, j], reach[:, j, i])
        low, high = percentiles(gaps, self._resamples.confidence, worst=(-math.inf, math.inf))
        found = Interval(self.estimate[i] - self.estimate[j], ELO * float(low), ELO * float(high))
        if found.high - found.low <= NO_WIDTH:
            warn_of_no_width(found.estimate, "nearly all resamples give it")
        return found

    def __repr__(self) -> str:
        width = max(map(len, self.names))
        rows = zip(self.names, self.estimate, self.low, self.high, strict=True)
        return "\n".join(f"{name:{width}} {e:+8.1f} [{low:+8.1f}, {high:+8.1f}]" for name, e, low, high in rows)


def bradley_terry(
    comparisons: Iterable[tuple[Hashable, str, str, float]],
    anchor: str | None = None,
    by: Literal["question", "row"] = "question",
    confidence: float = 0.95,
    *,
    resamples: int = 1_000,
    seed: int = 0,
) -> Ratings:
    """Ratings of models that were compared in pairs.

    Parameters
    ----------
    comparisons : iterable of (question, first, second, score)
        The question, the names of the two models compared on it, and 1 if the first won, 0 if the second, 0.5 for a
        tie (half a win for each).
    anchor : str, optional
        The model whose rating is set to 0. By default, the mean of all ratings is 0. Intervals around the mean do not
        compare two models, whether they overlap or not. With an anchor, each interval is about the lead over that
        model; for any two models, use the method ``difference(a, b)`` of the result.
    by : "question" or "row"
        What to resample for the interval: questions with all their comparisons, or single comparisons. "row" treats
        comparisons on one question as independent; where they are not, its interval is too narrow.
    confidence : float
    resamples, seed : int
        The seed is any whole number, 0 or more; equal seeds give equal results. A resample may have no finite ratings.
        A model that won everything then counts as infinitely good, and one that lost everything as infinitely bad; if
        not even that is known, the rating counts as the worst for either limit: minus infinity for the lower, plus
        infinity for the upper. Limits can therefore be infinite: all of them at once if the mean is the zero, whereas
        an anchor keeps the finite ones finite.

    Raises
    ------
    TypeError, ValueError
        If a comparison is malformed, some models won every comparison with the others (their ratings would be
        infinite), models fall into groups that never met, or there is only one question.

    Notes
    -----
    Bradley and Terry (1952), maximum likelihood; the maximum exists if a chain of wins leads from every model to every
    other (Ford, 1957). On the Elo scale, a lead of d points wins with probability 1 / (1 + 10 ** (-d / 400)).
    The method ``difference`` keeps what the resamples say of each pair of models: 4 MB for 60 models.
    Explained in the chapter "Trusting a Judge".
    """
    if by not in ("question", "row"):
        raise ValueError(f"by={by!r} is unknown: give 'question' or 'row'")
    checks.require_bootstrap(confidence, resamples)
    confidence = float(confidence)
    rng = checks.random_generator(seed)
    questions, firsts, seconds, scores = _check_comparisons(comparisons)
    names = sorted({*firsts, *seconds})
    if anchor is not None and anchor not in names:
        raise ValueError(f"anchor={anchor!r} was never compared: choose among {names}")
    zero = None if anchor is None else names.index(anchor)
    units = np.array(checks.codes(questions)) if by == "question" else np.arange(len(scores))  # what is resampled
    count = int(units.max()) + 1
    if count < 2:
        raise ValueError(f"there is one {by} only, and nothing to resample: compare on more questions")
    size = len(names)
    index = {name: i for i, name in enumerate(names)}
    first = np.array([index[name] for name in firsts])
    second = np.array([index[name] for name in seconds])
    # Each comparison gives points twice: to the first model against the second, and to the second against the first.
    cells = np.concatenate([first * size + second, second * size + first])
    points = np.concatenate([scores, 1 - scores])
    owners = np.concatenate([units, units])

    def points_won(draws: np.ndarray) -> np.ndarray:  # (models, models), from how often each unit was drawn
        return np.bincount(cells, points * draws[owners], size * size).reshape(size, size)

    everything = points_won(np.ones(count))
    _require_finite_ratings(everything, names)
    estimate = _relative_ratings(*_strengths(everything[None]), zero)[0]
    strengths, reaches, resampled = [], [], []
    for begin in range(0, resamples, 100):  # in batches, to bound the memory
        batch = []
        for _ in range(begin, min(begin + 100, resamples)):
            draws = np.bincount(rng.integers(count, size=count), minlength=count)
            batch.append(points_won(draws))
        strength, reach = _strengths(np.stack(batch))
        strengths.append(strength)
        reaches.append(reach)
        resampled.append(_relative_ratings(strength, reach, zero))
    low, high = percentiles(np.concatenate(resampled), confidence, worst=(-math.inf, math.inf))
    with np.errstate(invalid="ignore"):
        fixed = ELO * (high - low) <= NO_WIDTH
    if zero is not None:
        fixed[zero] = False
    for i in np.flatnonzero(fixed)[:1]:
        warn_of_no_width(ELO * estimate[i], f"nearly all resamples rate {names[i]!r} so")
    order = np.argsort(-estimate, kind="stable")
    return Ratings(
        names=tuple(names[i] for i in order),
        estimate=_elo(estimate[order]),
        low=_elo(low[order]),
        high=_elo(high[order]),
        _resamples=_Resamples(
            confidence, np.concatenate(strengths)[:, order], np.concatenate(reaches)[:, order][:, :, order]
        ),
    )


def maximum_likelihood(wins: np.ndarray, together: np.ndarray) -> np.ndarray:
    """Log-strengths that sum to 0 in each group of models, by Newton's method on all resamples at once.

    `wins` are the points won, `together` whether two models are in one group, both as (resamples, models, models).
    Newton's steps are shortened, so that they converge from anywhere (Sun and Tran-Dinh, 2019).
    """
    played = wins + wins.transpose(0, 2, 1)
    won = wins.sum(axis=2)
    strength = np.zeros(won.shape)  # (resamples, models)
    for _ in range(200):
        chance = 1 / (1 + np.exp(strength[:, None, :] - strength[:, :, None]))
        gradient = won - (played * chance).sum(axis=2)
        weights = played * chance * (1 - chance)
        curvature = np.eye(won.shape[1]) * weights.sum(axis=2)[:, :, None] - weights + together
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        length = np.ptp(step, axis=1, keepdims=True)
        strength += step * np.log1p(length) / np.maximum(length, 1e-300)
        if length.max() < 1e-9:
            return strength
    raise RuntimeError("the ratings did not converge: this is a fault of bradley_terry, please report it")


def _strengths(wins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strengths in nats, (resamples, models), and who reaches whom, from points won, (resamples, models, models).

    Two models are in one group if chains of wins lead both ways between them. Strengths compare within a group.
    """
    reach = _reachable(wins)
    together = reach & reach.transpose(0, 2, 1)
    return maximum_likelihood(wins * together, together), reach


def _gaps(one: np.ndarray, other: np.ndarray, reach: np.ndarray, back: np.ndarray) -> np.ndarray:
    """By how much one strength exceeds the other, in nats.

    Within a group it is finite. Between groups, it is infinite if wins lead one way only, and unknown (NaN) if they
    lead neither way.
    """
    outside = np.where(reach, math.inf, np.where(back, -math.inf, math.nan))
    return np.where(reach & back, one - other, outside)


def _relative_ratings(strength: np.ndarray, reach: np.ndarray, zero: int | None) -> np.ndarray:
    """Ratings in nats, (resamples, models), relative to one model or to the mean."""
    gaps = _gaps(strength[:, :, None], strength[:, None, :], reach, reach.transpose(0, 2, 1))
    if zero is not None:
        return gaps[:, :, zero]
    with np.errstate(invalid="ignore"):  # the mean of plus and minus infinity is NaN, as intended
        return gaps.mean(axis=2)


def _reachable(wins: np.ndarray) -> np.ndarray:
    """Whether a chain of wins leads from model i to model j; `wins` may be a stack of (models, models) matrices."""
    size = wins.shape[-1]
    reach = (wins > 0) | np.eye(size, dtype=bool)
    for _ in range((size - 1).bit_length()):
        reach = reach @ reach  # doubles the length of the chains
    return reach


def _elo(nats: np.ndarray) -> tuple[float, ...]:
    return tuple((ELO * nats).tolist())


def _check_comparisons(comparisons: Any) -> tuple[list[Any], list[str], list[str], np.ndarray]:
    """The four columns of the comparisons: questions, first models, second models, scores."""
    given = checks.listed("comparisons", comparisons, table=True)
    if not given:
        raise ValueError("comparisons is empty: give rows of (question, first, second, score)")
    rows = []
    for i, entry in enumerate(given):
        iterates = isinstance(entry, Iterable) and not isinstance(entry, str | bytes | bytearray | Mapping | Set)
        row = tuple(islice(entry, 5)) if iterates and getattr(entry, "ndim", 1) == 1 else ()
        if len(row) != 4:
            raise TypeError(f"comparison {i} must be (question, first, second, score), not {entry!r:.80}")
        rows.append(row)
        _, first, second, score = row
        if not isinstance(first, str) or not isinstance(second, str):
            raise TypeError(f"comparison {i} must name two models with strings, not {first!r:.40} and {second!r:.40}")
        if first == second:
            raise ValueError(f"comparison {i} compares {first!r} with itself: leave it out")
        if not isinstance(score, Real | np.bool_) or score not in (0, 0.5, 1):
            raise ValueError(f"comparison {i} has score {score!r:.40}: give 1 (first won), 0 (second won) or 0.5 (tie)")
    questions, firsts, seconds, scores = zip(*rows, strict=True)
    labels = checks.labels("the questions of comparisons", questions)
    checks.warn_of_lookalikes("the questions of comparisons", labels)
    return labels, list(firsts), list(seconds), np.array(scores, dtype=float)


def _require_finite_ratings(wins: np.ndarray, names: list[str]) -> None:
    met = _reachable(wins + wins.T)
    if not met.all():
        group, rest = _chosen(names, met[0]), _chosen(names, ~met[0])
        raise ValueError(f"{group} and {rest} were never compared: rate them apart, or compare across the two groups")
    reach = _reachable(wins)
    if not reach.all():
        # Some group never loses to an outsider. A model is in such a group if it reaches every model that reaches it.
        top = int(np.flatnonzero((reach | ~reach.T).all(axis=1))[0])
        group = reach[top] & reach[:, top]
        winners, losers = _chosen(names, group), _chosen(names, ~group)
        raise ValueError(
            f"{winners} won every comparison with {losers}, so that no finite rating is good enough: leave one side "
            "out, or add comparisons until each side has won some"
        )


def _chosen(names: list[str], mask: np.ndarray) -> list[str]:
    return [name for name, chosen in zip(names, mask, strict=True) if chosen]
