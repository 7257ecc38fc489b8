"""True scores from the verdicts of an imperfect judge."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..warn import warn_caller
from . import checks
from .intervals import ROUNDING, Interval, all_equal, interval_around, mean_and_error, quantile, rounding_of, unit_of


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
        Share of the known good answers that the judge passed.
    specificity : float
        Share of the known bad answers that the judge failed.
    n_positive : int
        Known good answers, on which the sensitivity was measured.
    n_negative : int
        Known bad answers, on which the specificity was measured.
    confidence : float

    Returns
    -------
    Interval
        Estimate and limits are clipped to [0, 1]; the standard error is the one before clipping. The interval accounts
        for chance in all three shares, and is not centred on the estimate.

    Raises
    ------
    TypeError, ValueError
        If a share or a count is impossible, or the judge is no better than chance, so that nothing can be inferred.

    Notes
    -----
    Estimate: Rogan and Gladen (1978). Interval: Lang and Reiczigel (2014, Preventive Veterinary Medicine 113), as
    Lee et al. (2025, arXiv 2511.21140) use it for language models as judges. A warning is given if the whole interval
    lies outside [0, 1] before clipping. Explained in the chapter "Trusting a Judge".
    """
    rate = checks.require_number("rate", rate, 0, 1, closed=True)
    sensitivity = checks.require_number("sensitivity", sensitivity, 0, 1, closed=True)
    specificity = checks.require_number("specificity", specificity, 0, 1, closed=True)
    n = checks.require_count("n", n)
    n_positive = checks.require_count("n_positive", n_positive)
    n_negative = checks.require_count("n_negative", n_negative)
    confidence = checks.require_number("confidence", confidence, 0, 1)
    z = quantile(confidence)
    # Pull each share towards one half, by adding z^2 or 2 answers of which half passed, so that none is ever certain.
    size = n + z**2
    p = (n * rate + z**2 / 2) / size
    sens = (n_positive * sensitivity + 1) / (n_positive + 2)
    spec = (n_negative * specificity + 1) / (n_negative + 2)
    if min(sensitivity + specificity, sens + spec) - 1 <= ROUNDING:
        raise ValueError(
            f"sensitivity {sensitivity:.2f} (on {n_positive} answers) and specificity {specificity:.2f} (on "
            f"{n_negative}) do not safely add up to more than 1: this judge is no better than chance. "
            "Find a better one, or check it on more answers"
        )
    estimate = (rate + specificity - 1) / (sensitivity + specificity - 1)
    share = (p + spec - 1) / (sens + spec - 1)
    sens_variance = sens * (1 - sens) / (n_positive + 2)
    spec_variance = spec * (1 - spec) / (n_negative + 2)
    variance = p * (1 - p) / size + share**2 * sens_variance + (1 - share) ** 2 * spec_variance
    error = math.sqrt(variance) / (sens + spec - 1)
    centre = share + 2 * z**2 * (share * sens_variance - (1 - share) * spec_variance)
    low, high = centre - z * error, centre + z * error
    if high < 0 or low > 1:
        warn_caller(
            f"a judge of sensitivity {sensitivity:g} and specificity {specificity:g} would hardly pass {rate:.1%} of "
            "any answers: both were probably measured on answers of another kind"
        )
    return Interval(_clip(estimate), _clip(low), _clip(high), error)


def prediction_powered_mean(
    labels: Iterable[float],
    judged_labelled: Iterable[float],
    judged_unlabelled: Iterable[float],
    tuned: bool = False,
    confidence: float = 0.95,
) -> Interval:
    """Mean true score from some labels and many verdicts, unbiased however bad the judge (tuned: asymptotically).

    Parameters
    ----------
    labels : iterable of float
        True scores of the labelled items, at least two.
    judged_labelled : iterable of float
        The judge's scores of the same items, in the same order.
    judged_unlabelled : iterable of float
        The judge's scores of other items from the same source, at least two.
    tuned : bool
        True trusts the judge only as far as the labels show that it helps. False trusts it fully: a bad judge then
        makes the interval wider than the labels alone would.
    confidence : float

    Raises
    ------
    TypeError, ValueError
        If scores are not finite numbers, or lengths differ.

    Notes
    -----
    The interval is a normal one. With few labels (below 30 or so) it is too narrow, and so it is where the judge made
    hardly a mistake on them: one that made none has a correction of error 0, as if it were known never to be wrong.
    A warning says so.

    Mean of the judge's scores plus its mean error on the labelled items: Angelopoulos et al. (2023, arXiv 2301.09633).
    Tuned: the judge's scores are first multiplied by cov(label, score) / var(score) / (1 + n / N), clipped to [0, 1],
    for n labelled and N other items: PPI++ (arXiv 2311.01453). Explained in the chapter "Trusting a Judge".
    """
    confidence = checks.require_number("confidence", confidence, 0, 1)
    labels, judged = checks.pair("labels", labels, "judged_labelled", judged_labelled)
    others = checks.numbers("judged_unlabelled", judged_unlabelled)
    trust = _trust(labels, judged, others) if tuned else 1.0
    mean, error, _ = mean_and_error(trust * others)
    correction, correction_error, _ = mean_and_error(
        labels - trust * judged, rounding=rounding_of(labels, trust * judged)
    )
    if correction_error == 0 < error:
        warn_caller(
            f"on all {len(labels)} labelled items, the true score is the judge's plus {correction:.3g}, and the "
            "interval takes that for certain: this is not certainty, it is too few labels"
        )
    return interval_around(mean + correction, math.hypot(error, correction_error), confidence)


def _trust(labels: np.ndarray, judged: np.ndarray, others: np.ndarray) -> float:
    """The factor of PPI++ for the judge's scores; 0 for a judge that always gives the same score."""
    scores = np.concatenate([judged, others])
    if all_equal(scores, rounding_of(scores)):
        return 0.0
    unit = unit_of(scores)
    spread = np.var(scores / unit, ddof=1) * (1 + len(labels) / len(others))
    scale = unit_of(labels)
    slope = np.cov(labels / scale, judged / unit)[0, 1] / spread
    return float(np.clip(slope * (scale / unit), 0, 1))


def _clip(share: float) -> float:
    return min(1.0, max(0.0, share))
