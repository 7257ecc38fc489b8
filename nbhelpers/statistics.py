"""How sure a number is: intervals, paired comparisons, agreement of judges, correcting a judge, ratings from duels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterable, Mapping, Set
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

ELO = 400 / math.log(10)  # Elo points in one nat of log-odds


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits, all in the unit of the data.

    Attributes
    ----------
    estimate : float
    low : float
    high : float
    standard_error : float or None
        Where the method has one.
    p_value : float or None
        Two-sided, of "there is no difference"; for comparisons only.
    """

    estimate: float
    low: float
    high: float
    standard_error: float | None = None
    p_value: float | None = None

    def __str__(self) -> str:
        estimate, low, high = (
            str(x) if isinstance(x, int) else f"{x:.3f}" for x in (self.estimate, self.low, self.high)
        )
        return f"{estimate} [{low}, {high}]"


@dataclass(frozen=True)
class Ratings:
    """Bradley-Terry ratings with their confidence limits, on the Elo scale, best first.

    Attributes
    ----------
    names : tuple of str
    estimate : tuple of float
        One for each name. 400 points more are odds of 10 to 1.
    low : tuple of float
    high : tuple of float
        A limit is infinite where too many resamples held no finite rating.
    """

    names: tuple[str, ...]
    estimate: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __repr__(self) -> str:
        width = max(map(len, self.names))
        rows = zip(self.names, self.estimate, self.low, self.high, strict=True)
        return "\n".join(f"{name:{width}} {e:+8.1f} [{low:+8.1f}, {high:+8.1f}]" for name, e, low, high in rows)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Confidence interval of a proportion that behaves near 0 and 1.

    Parameters
    ----------
    successes : int
        Items passed, from 0 to `n`.
    n : int
        Items tried, at least 1.
    confidence : float
        Coverage, between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If the counts are not whole numbers or impossible; the message repeats them.

    Notes
    -----
    Wilson (1927), via scipy. Used in the chapters "Judging with a Model" and "Trusting a Judge".
    """
    from scipy.stats import binomtest

    _require_count("n", n)
    _require_count("successes", successes, least=0)
    if successes > n:
        raise ValueError(f"{successes} of {n} is not a proportion: need 0 <= successes <= n and n >= 1")
    _require_number("confidence", confidence, 0, 1)
    low, high = binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return Interval(successes / n, float(low), float(high))


def mean_interval(
    scores: Iterable[float],
    clusters: Iterable[Hashable] | None = None,
    method: Literal["t", "normal", "bootstrap", "wilson"] = "t",
    confidence: float = 0.95,
    *,
    small_sample: bool = True,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Confidence interval of a mean score, over items or over clusters of items.

    Parameters
    ----------
    scores : iterable of float
        One for each item, at least two.
    clusters : iterable of labels, optional
        For each item the group it was drawn with: the passage of a question, the question of an answer. Items of a
        group may resemble one another; groups may not.
    method : "t", "normal", "bootstrap" or "wilson"
        "t" and "normal": so many standard errors to either side; t has n - 1 degrees of freedom, or one less than
        there are clusters. "bootstrap": percentiles of the means of resampled items, or of whole resampled clusters.
        "wilson": scores of 0 and 1 without clusters.
    confidence : float
    small_sample : bool
        Multiply the clustered variance by C / (C - 1), where C is the number of clusters. Miller (2024) does not.
    resamples, seed : int
        For the bootstrap.

    Raises
    ------
    TypeError, ValueError
        If scores are not numbers, lengths differ, or there is only one item or one cluster.

    Notes
    -----
    Where every score is the same, all methods but "wilson" give an interval of no width, with a warning.

    Miller (2024, arXiv 2411.00640); the clustered standard error is that of statsmodels.
    Explained in the chapter "Trusting a Judge".
    """
    if method not in ("normal", "t", "bootstrap", "wilson"):
        raise ValueError(f"method={method!r} is unknown: give 'normal', 't', 'bootstrap' or 'wilson'")
    _require_number("confidence", confidence, 0, 1)
    scores = _numbers("scores", scores)
    groups = None if clusters is None else _groups(clusters, len(scores))
    if method == "wilson":
        if groups is not None or not np.isin(scores, (0, 1)).all():
            raise ValueError("method='wilson' is for scores of 0 and 1 that belong to no clusters: use 't' instead")
        return wilson_interval(int(scores.sum()), len(scores), confidence)
    if method == "bootstrap":
        return _bootstrap_mean(scores, groups, confidence, resamples, seed)
    mean, error, freedom = _mean_and_error(scores, groups, small_sample)
    return _around(mean, error, confidence, freedom if method == "t" else math.inf)


def paired_difference(
    a: Iterable[float],
    b: Iterable[float],
    clusters: Iterable[Hashable] | None = None,
    method: Literal["t", "permutation"] = "t",
    confidence: float = 0.95,
    *,
    small_sample: bool = True,
    resamples: int = 9_999,
    seed: int = 0,
) -> Interval:
    """By how much model `a` scores higher than model `b` on the same items, mean(a - b).

    Parameters
    ----------
    a, b : iterable of float
        Scores of the two models, item by item in the same order, at least two.
    clusters, confidence, small_sample
        As in :func:`mean_interval`.
    method : "t" or "permutation"
        Where the p-value comes from: Student's t, or swapping the two models within items (within whole clusters),
        in every possible way if there are no more than `resamples`, else at random. The interval is always t's.
    resamples, seed : int
        For the permutations.

    Raises
    ------
    TypeError, ValueError
        As in :func:`mean_interval`; and for "t", if all differences are equal, so that there is no p-value.

    Notes
    -----
    Miller (2024, arXiv 2411.00640); permutations via scipy. For scores of 0 and 1 see also
    :func:`mcnemar`. Explained in the chapter "Trusting a Judge".
    """
    if method not in ("t", "permutation"):
        raise ValueError(f"method={method!r} is unknown: give 't' or 'permutation'")
    _require_number("confidence", confidence, 0, 1)
    a, b = _pair("a", a, "b", b)
    groups = None if clusters is None else _groups(clusters, len(a))
    difference, error, freedom = _mean_and_error(a - b, groups, small_sample)
    if method == "permutation":
        from scipy.stats import permutation_test

        _require_count("resamples", resamples)
        totals = a - b if groups is None else np.bincount(groups, a - b)
        test = permutation_test(
            (totals,),
            lambda x, axis: x.sum(axis=axis),
            permutation_type="samples",
            n_resamples=resamples,
            batch=max(1, 4_000_000 // len(totals)),
            rng=seed,
        )
        return _around(difference, error, confidence, freedom, float(test.pvalue))
    if error == 0:
        raise ValueError(
            f"the differences do not vary (all {difference:g}, or the same in every cluster): t has nothing to measure "
            "chance by. Add items, use method='permutation', or mcnemar for scores of 0 and 1"
        )
    from scipy.stats import t

    return _around(difference, error, confidence, freedom, float(2 * t.sf(abs(difference / error), freedom)))


def mcnemar(a: Iterable[int], b: Iterable[int], confidence: float = 0.95) -> Interval:
    """Difference of the accuracies of two models on the same items, with McNemar's exact test.

    Parameters
    ----------
    a, b : iterable of 0 and 1 (or bool)
        Whether each model was right, item by item in the same order, at least two.
    confidence : float

    Returns
    -------
    Interval
        `estimate` is accuracy(a) - accuracy(b). Test and interval are made separately: near the edge, one may see a
        difference where the other does not.

    Raises
    ------
    TypeError, ValueError
        If a score is neither 0 nor 1, or the lengths differ.

    Notes
    -----
    Test: McNemar (1947), the binomial test of the items on which the models disagree, via scipy. Interval: "Wald+2"
    of Agresti and Min (2005), which adds half an item to each of the four counts and behaves where few items differ.
    Used in the chapter "Judging with a Model".
    """
    from scipy.stats import binomtest

    _require_number("confidence", confidence, 0, 1)
    a, b = _pair("a", a, "b", b)
    if not np.isin([a, b], (0, 1)).all():
        raise ValueError("mcnemar compares right with wrong: give scores of 0 and 1, or use paired_difference")
    n, only_a, only_b = len(a), int((a > b).sum()), int((b > a).sum())
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    centre = (only_a - only_b) / (n + 2)
    error = math.sqrt(only_a + only_b + 1 - (only_a - only_b) ** 2 / (n + 2)) / (n + 2)
    reach = _quantile(confidence) * error
    return Interval((only_a - only_b) / n, max(-1.0, centre - reach), min(1.0, centre + reach), p_value=p_value)


def cohen_kappa(a: Iterable[Hashable], b: Iterable[Hashable], confidence: float = 0.95) -> Interval:
    """Agreement of two raters beyond chance: 1 is perfect, 0 is what their habits alone would give.

    Parameters
    ----------
    a, b : iterable of labels
        What each rater said, item by item in the same order, at least two.
    confidence : float

    Raises
    ------
    TypeError, ValueError
        If the lengths differ, a label is missing, or both raters gave one and the same label to everything: then
        agreement by chance is certain and kappa is 0 / 0.

    Notes
    -----
    Cohen (1960); standard error of Fleiss, Cohen and Everitt (1969), via statsmodels. Where it is 0 (perfect
    agreement, or a rater who never changes) the interval has no width, and a warning says so.
    Explained in the chapter "Trusting a Judge".
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    _require_number("confidence", confidence, 0, 1)
    a, b = _labels("a", a), _labels("b", b)
    _require_same_length("a", a, "b", b)
    _require_items("a", len(a))
    codes = np.array(_codes(a + b))
    size = int(codes.max()) + 1
    if size == 1:
        raise ValueError(f"both raters said {a[0]!r} every time: kappa is 0 / 0. Rate items on which labels can differ")
    table = np.bincount(codes[: len(a)] * size + codes[len(a) :], minlength=size**2).reshape(size, size)
    with np.errstate(invalid="ignore"):  # on its way, statsmodels computes a z value that can be 0 / 0
        result = cohens_kappa(table)
    error = math.sqrt(max(0.0, result.var_kappa))
    return _around(float(result.kappa), error if error > 1e-9 else 0.0, confidence, limits=(-1.0, 1.0))


def krippendorff_alpha(
    ratings: Iterable[Iterable[Any]],
    level: Literal["nominal", "ordinal", "interval", "ratio"] = "nominal",
    confidence: float = 0.95,
    *,
    resamples: int = 1_000,
    seed: int = 0,
) -> Interval:
    """Agreement of any number of raters, some of whom may have skipped items: 1 is perfect, 0 is chance.

    Parameters
    ----------
    ratings : raters x items
        One row for each rater; None or NaN where a rating is missing. Labels of any kind if nominal, else numbers.
    level : "nominal", "ordinal", "interval" or "ratio"
        What the ratings mean: names, ranks, or numbers with meaningful differences, or ratios (none negative).
    confidence : float
    resamples, seed : int
        The interval comes from resampling items. Where a resample holds one label only, alpha is 0 / 0, and it
        counts as -1 for the lower limit and as 1 for the upper.

    Raises
    ------
    TypeError, ValueError
        If there is one rater, rows differ in length, fewer than two items have two ratings, or all ratings are equal.

    Notes
    -----
    Krippendorff (2011, "Computing Krippendorff's Alpha-Reliability"), via the package krippendorff. Explained in the
    chapter "Trusting a Judge".
    """
    from krippendorff import alpha

    if level not in ("nominal", "ordinal", "interval", "ratio"):
        raise ValueError(f"level={level!r} is unknown: give 'nominal', 'ordinal', 'interval' or 'ratio'")
    _require_bootstrap(confidence, resamples)
    rows = [_labels(f"ratings of rater {i}", row, missing=True) for i, row in enumerate(_listed("ratings", ratings))]
    if len(rows) < 2:
        raise ValueError(f"ratings has {len(rows)} row: give one row for each rater, at least two")
    for i, row in enumerate(rows):
        _require_same_length("ratings of rater 0", rows[0], f"ratings of rater {i}", row)
    items = [[label for label in item if label is not None] for item in zip(*rows, strict=True)]
    items = [item for item in items if len(item) > 1]  # a rating that no other can be compared with says nothing
    if len(items) < 2:
        raise ValueError(f"{len(items)} items have two ratings or more: give at least two such items")
    domain = list(dict.fromkeys(label for item in items for label in item))
    if level != "nominal":
        domain = sorted(_numbers("ratings", domain, least=1).tolist())
        if level == "ratio" and domain[0] < 0:
            raise ValueError(f"the rating {domain[0]:g} is negative, where ratios mean nothing: use level='interval'")
    if len(domain) == 1:
        raise ValueError(f"every rating is {domain[0]!r}: alpha is 0 / 0. Rate items on which ratings can differ")
    counts = np.array([[item.count(label) for label in domain] for item in items])
    values = np.arange(len(domain)) if level == "nominal" else np.array(domain, dtype=float)

    def compute(rated: np.ndarray) -> float:
        seen = rated.any(axis=0)
        if seen.sum() < 2:
            return math.nan
        return float(alpha(value_counts=rated[:, seen], value_domain=values[seen], level_of_measurement=level))

    rng = np.random.default_rng(seed)
    resampled = np.array([compute(counts[rng.integers(len(counts), size=len(counts))]) for _ in range(resamples)])
    low, high = _percentiles(resampled, confidence, worst=(-1.0, 1.0))
    if low == high:
        _warn_of_no_width(float(low), stacklevel=3)
    return Interval(compute(counts), float(low), float(high))


def rogan_gladen(
    rate: float,
    n: int,
    sensitivity: float,
    specificity: float,
    n_positive: int,
    n_negative: int,
    confidence: float = 0.95,
) -> Interval:
    """The true share of good answers, from the share that an imperfect judge passed.

    Parameters
    ----------
    rate : float
        Share of answers that the judge passed.
    n : int
        Answers judged.
    sensitivity : float
        Share that the judge passed of good answers of known truth.
    specificity : float
        Share that the judge failed of bad answers of known truth.
    n_positive : int
        Good answers of known truth, from which the sensitivity comes.
    n_negative : int
        Bad answers of known truth, from which the specificity comes.
    confidence : float

    Returns
    -------
    Interval
        Estimate and limits are clipped to [0, 1]. The interval allows for chance in all three shares; it is not
        centred at the estimate.

    Raises
    ------
    TypeError, ValueError
        If a share or a count is impossible, or the judge is no better than chance, so that nothing can be inferred.

    Notes
    -----
    Estimate: Rogan and Gladen (1978). Interval: Lang and Reiczigel (2014, Preventive Veterinary Medicine 113), as
    Lee et al. (2025, arXiv 2511.21140) use it for language models as judges. Explained in "Trusting a Judge".
    """
    for name, share in (("rate", rate), ("sensitivity", sensitivity), ("specificity", specificity)):
        _require_number(name, share, 0, 1, closed=True)
    for name, count in (("n", n), ("n_positive", n_positive), ("n_negative", n_negative)):
        _require_count(name, count)
    _require_number("confidence", confidence, 0, 1)
    z = _quantile(confidence)
    # Each share moves towards one half, by z^2 answers or by two, so that none is ever certain.
    p, size = (n * rate + z**2 / 2) / (n + z**2), n + z**2
    sens, spec = (n_positive * sensitivity + 1) / (n_positive + 2), (n_negative * specificity + 1) / (n_negative + 2)
    if sensitivity + specificity <= 1 or sens + spec <= 1:
        raise ValueError(
            f"sensitivity {sensitivity:.2f} (on {n_positive} answers) and specificity {specificity:.2f} (on "
            f"{n_negative}) do not safely add up to more than 1: this judge is no better than chance. "
            "Find a better one, or check it on more answers"
        )
    estimate = (rate + specificity - 1) / (sensitivity + specificity - 1)
    share = (p + spec - 1) / (sens + spec - 1)
    sens_variance, spec_variance = sens * (1 - sens) / (n_positive + 2), spec * (1 - spec) / (n_negative + 2)
    variance = p * (1 - p) / size + share**2 * sens_variance + (1 - share) ** 2 * spec_variance
    error = math.sqrt(variance) / (sens + spec - 1)
    centre = share + 2 * z**2 * (share * sens_variance - (1 - share) * spec_variance)
    low, high = centre - z * error, centre + z * error
    if high < 0 or low > 1:
        warnings.warn(
            f"a judge of sensitivity {sensitivity:g} and specificity {specificity:g} would hardly pass {rate:.1%} of "
            "any answers: both were probably measured on answers of another kind",
            stacklevel=2,
        )
    estimate, low, high = (min(1.0, max(0.0, x)) for x in (estimate, low, high))
    return Interval(estimate, low, high, error)


def prediction_powered_mean(
    labels: Iterable[float],
    judged_labelled: Iterable[float],
    judged_unlabelled: Iterable[float],
    tuned: bool = False,
    confidence: float = 0.95,
) -> Interval:
    """Mean true score from a few labels and many verdicts, unbiased however bad the judge (tuned: in the long run).

    Parameters
    ----------
    labels : iterable of float
        True scores of the labelled items, at least two.
    judged_labelled : iterable of float
        The judge's scores of the same items, in the same order.
    judged_unlabelled : iterable of float
        The judge's scores of other items, drawn from the same source, at least two.
    tuned : bool
        Rely on the judge only as far as the labels show that it helps. False relies on it fully, and a bad judge
        then makes the interval wider than the labels alone would.
    confidence : float

    Raises
    ------
    TypeError, ValueError
        If scores are not numbers, or lengths differ.

    Notes
    -----
    Mean of the judge's scores plus its mean error on the labelled items: Angelopoulos et al. (2023, arXiv 2301.09633).
    Tuned: the judge's scores are first multiplied by cov(label, score) / var(score) / (1 + n / N), held between 0 and
    1: PPI++ (arXiv 2311.01453). Explained in the chapter "Trusting a Judge".
    """
    _require_number("confidence", confidence, 0, 1)
    labels, judged = _pair("labels", labels, "judged_labelled", judged_labelled)
    others = _numbers("judged_unlabelled", judged_unlabelled)
    trust = 1.0
    if tuned:
        spread = np.var(np.concatenate([judged, others]), ddof=1) * (1 + len(labels) / len(others))
        trust = float(np.clip(np.cov(labels, judged)[0, 1] / spread, 0, 1)) if spread > 0 else 0.0
    mean, error, _ = _mean_and_error(trust * others)
    correction, correction_error, _ = _mean_and_error(labels - trust * judged)
    return _around(mean + correction, math.hypot(error, correction_error), confidence)


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
        On which question two models, by name, were compared, and 1 if the first won, 0 if the second, 0.5 for a tie
        (half a win for each).
    anchor : str, optional
        The model whose rating is 0. By default the mean of all ratings is.
    by : "question" or "row"
        What is resampled for the interval: questions with all their comparisons, or single comparisons. "row" takes
        comparisons on one question for independent, and is too narrow where they are not.
    confidence : float
    resamples, seed : int
        Where a resample gives no finite ratings, a model that won everything counts as infinitely good and one that
        lost everything as infinitely bad; where even that is unknown, as the worst for either limit. So limits can be
        infinite, with the mean as the zero all of them together; an anchor keeps what is finite apart.

    Raises
    ------
    TypeError, ValueError
        If a comparison is malformed, some models won every comparison with the others (their ratings would be
        infinite), models fall into groups that never met, or there is only one question.

    Notes
    -----
    Bradley and Terry (1952), maximum likelihood; it exists if every model can be reached from every other along wins
    (Ford, 1957). On the Elo scale a lead of d points wins with probability 1 / (1 + 10 ** (-d / 400)).
    Explained in the chapter "Trusting a Judge".
    """
    if by not in ("question", "row"):
        raise ValueError(f"by={by!r} is unknown: give 'question' or 'row'")
    _require_bootstrap(confidence, resamples)
    questions, firsts, seconds, scores = _check_comparisons(comparisons)
    names = sorted({*firsts, *seconds})
    if anchor is not None and anchor not in names:
        raise ValueError(f"anchor={anchor!r} was never compared: choose among {names}")
    zero = None if anchor is None else names.index(anchor)
    size, index = len(names), {name: i for i, name in enumerate(names)}
    first, second = (np.array([index[name] for name in column]) for column in (firsts, seconds))
    units = np.array(_codes(questions)) if by == "question" else np.arange(len(scores))
    count = int(units.max()) + 1
    if count < 2:
        raise ValueError(f"there is one {by} only, and nothing to resample: compare on more questions")
    cells = np.concatenate([first * size + second, second * size + first])
    points, owners = np.concatenate([scores, 1 - scores]), np.concatenate([units, units])

    def matrix(draws: np.ndarray) -> np.ndarray:
        return np.bincount(cells, points * draws[owners], size * size).reshape(size, size)

    everything = matrix(np.ones(count))
    _require_finite_ratings(everything, names)
    estimate = _relative_ratings(everything[None], zero)[0]
    rng = np.random.default_rng(seed)
    resampled = []
    for begin in range(0, resamples, 100):
        batch = range(begin, min(begin + 100, resamples))
        draws = [np.bincount(rng.integers(count, size=count), minlength=count) for _ in batch]
        resampled.append(_relative_ratings(np.stack([matrix(draw) for draw in draws]), zero))
    low, high = _percentiles(np.concatenate(resampled), confidence, worst=(-math.inf, math.inf))
    order = np.argsort(-estimate, kind="stable")
    columns = (tuple((ELO * column[order]).tolist()) for column in (estimate, low, high))
    return Ratings(tuple(names[i] for i in order), *columns)


def items_needed(
    difference: float,
    standard_deviation: float,
    power: float = 0.8,
    confidence: float = 0.95,
    pilot_items: int | None = None,
) -> Interval:
    """How many items it takes to see a difference between two models.

    Parameters
    ----------
    difference : float
        The true mean difference that is to be seen, greater than 0.
    standard_deviation : float
        Of the item-by-item differences a - b, greater than 0.
    power : float
        How often :func:`paired_difference` is to find it, between 0 and 1.
    confidence : float
        It is found when the interval of this coverage leaves out 0.
    pilot_items : int, optional
        How many items the standard deviation was estimated from, at least two.

    Returns
    -------
    Interval
        In whole items. With `pilot_items`, low and high are the items needed at the confidence limits of the standard
        deviation; without, they equal the estimate.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Notes
    -----
    ((z_confidence + z_power) sd / difference)^2, the formula for a normal variable (Miller, 2024, arXiv 2411.00640),
    plus z_confidence^2 / 2 because paired_difference uses t (Guenther, 1981). Within an item of the exact answer,
    statsmodels' TTestPower, for a power of 0.8 or more. Explained in the chapter "Trusting a Judge".

    The limits from `pilot_items` take the differences to be normal. For scores of 0 and 1 the variance is the share of
    items on which the two differ, less the squared difference: a guess at that share is as good as a pilot.
    """
    _require_number("difference", difference)
    _require_number("standard_deviation", standard_deviation)
    _require_number("power", power, 0, 1)
    _require_number("confidence", confidence, 0, 1)
    from scipy.stats import chi2, norm

    z, z_power = _quantile(confidence), float(norm.ppf(power))
    if z + z_power <= 0:
        raise ValueError(f"power={power} is no more than chance at confidence={confidence}: ask for more power")

    def items(variance: float) -> int:
        return max(2, math.ceil((z + z_power) ** 2 * variance / difference**2 + z**2 / 2))

    variance = standard_deviation**2
    estimate = items(variance)
    if pilot_items is None:
        return Interval(estimate, estimate, estimate)
    _require_count("pilot_items", pilot_items, least=2)
    freedom, tail = pilot_items - 1, (1 - confidence) / 2
    low, high = (float(freedom * variance / chi2.ppf(q, freedom)) for q in (1 - tail, tail))
    return Interval(estimate, items(low), items(high))


# --- the arithmetic behind them -------------------------------------------------------------------------------


def _quantile(confidence: float, freedom: float = math.inf) -> float:
    """How many standard errors an interval reaches to either side: Student's t, or the normal one if infinite."""
    from scipy.stats import norm, t

    q = (1 + confidence) / 2
    return float(norm.ppf(q) if math.isinf(freedom) else t.ppf(q, freedom))


def _around(
    estimate: float,
    error: float,
    confidence: float,
    freedom: float = math.inf,
    p_value: float | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    if error == 0:
        _warn_of_no_width(estimate)
    reach = _quantile(confidence, freedom) * error
    return Interval(estimate, max(limits[0], estimate - reach), min(limits[1], estimate + reach), error, p_value)


def _warn_of_no_width(estimate: float, stacklevel: int = 4) -> None:
    warnings.warn(
        f"the interval around {estimate:.3g} has no width, because nothing varies from item to item: this is not "
        "certainty, it is too few items (for scores of 0 and 1, wilson_interval and mcnemar do better)",
        stacklevel=stacklevel,
    )


def _mean_and_error(
    scores: np.ndarray, groups: np.ndarray | None = None, small_sample: bool = True
) -> tuple[float, float, int]:
    """The mean, its standard error (of groups, if there are any), and the degrees of freedom."""
    n, mean = len(scores), float(scores.mean())
    if groups is None:
        error, freedom = float(scores.std(ddof=1)) / math.sqrt(n), n - 1
    else:
        from statsmodels.regression.linear_model import OLS
        from statsmodels.stats.sandwich_covariance import cov_cluster

        # A mean is a regression on nothing but a constant.
        fit = OLS(scores, np.ones(n)).fit()
        error = math.sqrt(max(0.0, cov_cluster(fit, groups, use_correction=small_sample).item()))
        freedom = int(groups.max())
    return mean, error if error > 1e-12 * np.abs(scores).max() else 0.0, freedom


def _bootstrap_mean(
    scores: np.ndarray, groups: np.ndarray | None, confidence: float, resamples: int, seed: int
) -> Interval:
    """A resampled cluster brings its sum and its size; without clusters, each item is one."""
    from scipy.stats import bootstrap

    _require_bootstrap(confidence, resamples)
    groups = np.arange(len(scores)) if groups is None else groups
    totals, sizes = np.bincount(groups, scores), np.bincount(groups)
    result = bootstrap(
        (totals, sizes),
        lambda total, size, axis: total.sum(axis=axis) / size.sum(axis=axis),
        paired=True,
        method="percentile",
        confidence_level=confidence,
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(totals)),
        rng=seed,
    )
    low, high = map(float, result.confidence_interval)
    if high - low <= 1e-12 * np.abs(scores).max():
        _warn_of_no_width(float(scores.mean()))
    return Interval(float(scores.mean()), low, high, float(result.standard_error))


def _percentiles(resampled: np.ndarray, confidence: float, worst: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """Limits that leave out equal shares on both sides. NaN counts as the worst; infinities are never averaged."""
    last, tail = len(resampled) - 1, (1 - confidence) / 2
    low = np.sort(np.where(np.isnan(resampled), worst[0], resampled), axis=0)[math.floor(tail * last)]
    high = np.sort(np.where(np.isnan(resampled), worst[1], resampled), axis=0)[math.ceil((1 - tail) * last)]
    return low, high


def _reachable(wins: np.ndarray) -> np.ndarray:
    """Whether a chain of wins leads from i to j; for a stack of matrices, models x models each."""
    size = wins.shape[-1]
    reach = (wins > 0) | np.eye(size, dtype=bool)
    for _ in range((size - 1).bit_length()):
        reach = reach @ reach  # chains of twice the length
    return reach


def _relative_ratings(wins: np.ndarray, zero: int | None) -> np.ndarray:
    """Ratings in nats, resamples x models, from points won, resamples x models x models.

    Models that beat one another, if by way of others, have finite differences. Between such groups a difference is
    infinite if all wins go one way, and unknown (NaN) if none go either way.
    """
    reach = _reachable(wins)
    back = reach.transpose(0, 2, 1)
    together = reach & back
    strength = _maximum_likelihood(wins * together, together)
    gaps = strength[:, :, None] - strength[:, None, :]
    gaps = np.where(together, gaps, np.where(reach, math.inf, np.where(back, -math.inf, math.nan)))
    with np.errstate(invalid="ignore"):  # the mean of plus and minus infinity is NaN, and that is meant
        return gaps.mean(axis=2) if zero is None else gaps[:, :, zero]


def _maximum_likelihood(wins: np.ndarray, together: np.ndarray) -> np.ndarray:
    """Log-strengths that sum to 0 in each group of models, by Newton's method on all resamples at once.

    Its steps are shortened so that it converges from anywhere (Sun and Tran-Dinh, 2019).
    """
    played, won = wins + wins.transpose(0, 2, 1), wins.sum(axis=2)
    strength = np.zeros(won.shape)
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


# --- clear errors ---------------------------------------------------------------------------------------------


def _require_number(name: str, value: Any, low: float = 0, high: float = math.inf, closed: bool = False) -> None:
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}: {value!r:.60}")
    if not (low <= value <= high if closed else low < value < high):
        limits = f"greater than {low}" if high == math.inf else f"between {low} and {high}"
        raise ValueError(f"{name}={value!r}: give a number {limits}{' or one of these' if closed else ''}")


def _require_count(name: str, value: Any, least: int = 1) -> None:
    if not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}: {value!r:.60}")
    if value < least:
        raise ValueError(f"{name}={value!r}: give {least} or more")


def _require_bootstrap(confidence: float, resamples: int) -> None:
    _require_number("confidence", confidence, 0, 1)
    _require_count("resamples", resamples)
    if resamples * (1 - confidence) < 2 - 1e-9:
        least = math.ceil(2 / (1 - confidence) - 1e-9)
        raise ValueError(
            f"resamples={resamples} is too few to find limits at confidence={confidence}: give {least} or more"
        )


def _require_items(name: str, count: int, least: int = 2) -> None:
    if count < least:
        given = "is empty" if count == 0 else f"holds {count} item"
        raise ValueError(f"{name} {given}: give {least} or more, since one item shows no variation")


def _require_same_length(name: str, one: Any, other_name: str, other: Any) -> None:
    if len(one) != len(other):
        raise ValueError(
            f"{name} has {len(one)} items and {other_name} has {len(other)}: give one of each for every item"
        )


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list or an array with one entry for each item, not {values!r:.60}")
    return list(values)


def _numbers(name: str, values: Any, least: int = 2) -> np.ndarray:
    values = _listed(name, values)
    _require_items(name, len(values), least)
    for i, value in enumerate(values):
        if not isinstance(value, Real | np.bool_):
            raise TypeError(f"{name} must hold numbers, and item {i} is {type(value).__name__}: {value!r:.60}")
        if not math.isfinite(value):
            raise ValueError(f"item {i} of {name} is {value}: leave the item out, or decide what it scores")
    return np.array(values, dtype=float)


def _pair(name: str, one: Any, other_name: str, other: Any) -> tuple[np.ndarray, np.ndarray]:
    one, other = _numbers(name, one), _numbers(other_name, other)
    _require_same_length(name, one, other_name, other)
    return one, other


def _labels(name: str, values: Any, missing: bool = False) -> list[Any]:
    """Labels as a list. One that is missing (None or NaN) becomes None, or is an error."""
    labels = [None if value is None or value != value else value for value in _listed(name, values)]
    for i, label in enumerate(labels):
        if label is None and not missing:
            raise ValueError(f"item {i} of {name} has no label (None or NaN): leave the item out")
        if not isinstance(label, Hashable):
            raise TypeError(f"item {i} of {name} is {type(label).__name__}, and a label must be a string or a number")
    return labels


def _codes(labels: list[Any]) -> list[int]:
    """Labels as numbers from 0 on, in the order in which they first appear."""
    numbered: dict[Any, int] = {}
    return [numbered.setdefault(label, len(numbered)) for label in labels]


def _groups(clusters: Any, n: int) -> np.ndarray:
    codes = np.array(_codes(_labels("clusters", clusters)), dtype=int)
    if len(codes) != n:
        raise ValueError(f"clusters has {len(codes)} items, and there are {n} scores: give the cluster of every score")
    if codes.max() == 0:
        raise ValueError("all items are in one cluster: at least two are needed to see how much clusters vary")
    return codes


def _check_comparisons(comparisons: Any) -> tuple[list[Any], list[str], list[str], np.ndarray]:
    rows = _listed("comparisons", comparisons)
    if not rows:
        raise ValueError("comparisons is empty: give rows of (question, first, second, score)")
    for i, row in enumerate(rows):
        if isinstance(row, str | Mapping | Set) or not isinstance(row, Iterable) or len(row) != 4:
            raise TypeError(f"comparison {i} must be (question, first, second, score), not {row!r:.80}")
        _, first, second, score = row
        if not isinstance(first, str) or not isinstance(second, str):
            raise TypeError(f"comparison {i} must name two models with strings, not {first!r:.40} and {second!r:.40}")
        if first == second:
            raise ValueError(f"comparison {i} compares {first!r} with itself: leave it out")
        if not isinstance(score, Real | np.bool_) or score not in (0, 0.5, 1):
            raise ValueError(f"comparison {i} has score {score!r}: give 1 (first won), 0 (second won) or 0.5 (tie)")
    questions, firsts, seconds, scores = (list(column) for column in zip(*rows, strict=True))
    return _labels("the questions of comparisons", questions), firsts, seconds, np.array(scores, dtype=float)


def _require_finite_ratings(wins: np.ndarray, names: list[str]) -> None:
    met, reach = _reachable(wins + wins.T), _reachable(wins)
    if not met.all():
        group, rest = ([n for n, is_in in zip(names, met[0], strict=True) if is_in == flag] for flag in (True, False))
        raise ValueError(f"{group} and {rest} were never compared: rate them apart, or compare across the two groups")
    if not reach.all():
        # Some group loses to nobody outside it: those whom only models reach that they reach themselves.
        top = int(np.flatnonzero((reach | ~reach.T).all(axis=1))[0])
        inside = reach[top] & reach[:, top]
        winners, losers = ([n for n, is_in in zip(names, mask, strict=True) if is_in] for mask in (inside, ~inside))
        raise ValueError(
            f"{winners} won every comparison with {losers}, so that no finite rating is good enough: leave one side "
            "out, or add comparisons until each side has won some"
        )
