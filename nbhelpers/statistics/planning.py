"""How many items it takes to see a difference between two models."""

from __future__ import annotations

import math

from . import checks
from .intervals import ROUNDING, Interval, quantile, unit_of


def items_needed(
    difference: float,
    standard_deviation: float | None = None,
    power: float = 0.8,
    confidence: float = 0.95,
    pilot_items: int | None = None,
    *,
    disagreement: float | None = None,
) -> Interval:
    """How many items it takes to detect a difference between two models.

    Parameters
    ----------
    difference : float
        The true mean difference to detect, greater than 0.
    standard_deviation : float, optional
        Of the item-by-item differences a - b, greater than 0, when the true mean difference is `difference`.
    power : float
        How often :func:`paired_difference` should detect it, between 0 and 1.
    confidence : float
        Coverage of that interval. The difference is detected when the interval excludes 0.
    pilot_items : int, optional
        The number of items from which the standard deviation or the disagreement was estimated, at least two.
    disagreement : float, optional
        For scores of 0 and 1, instead of the standard deviation: the share of items on which one model is right and the
        other wrong. It is at least `difference`, because every point of difference takes an item that tells them apart.

    Returns
    -------
    Interval
        In whole items. With `pilot_items`, low and high are the items needed at the confidence limits of the standard
        deviation or of the disagreement; without, they equal the estimate.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, the difference is greater than the disagreement, or not exactly one of
        `standard_deviation` and `disagreement` is given.

    Notes
    -----
    **A trap for scores of 0 and 1.** Their standard deviation is sqrt(disagreement - d^2), where d is the mean
    difference. One that was measured in a pilot has the difference *of the pilot* taken out. If that was large and the
    one to detect is small, the measured value is too small, and so is the number of items: 40 of 63 items that differ,
    all in favour of one model, have a standard deviation of 0.48, but with a true difference of 0.1 one of 0.79.
    So give `disagreement`: then the spread is computed for the difference to detect.

    The formula is ((z_confidence + z_power) sd / difference)^2, for a normal variable (Miller, 2024,
    arXiv 2411.00640), plus z_confidence^2 / 2 because paired_difference uses t (Guenther, 1981). At a power of 0.8 to
    0.99 and a confidence of 0.95 to 0.99, this is within one item of statsmodels' TTestPower, which is exact for normal
    differences. At lower confidence it asks for up to some percent more, because a difference detected with the wrong
    sign does not count here. Scores of 0 and 1 are not normal: if the models would differ on fewer than 10 or so of the
    items, plan for more. Explained in the chapters "Trusting a Judge" and "Error
    Bars".

    The limits from `pilot_items` assume normal differences; those of a disagreement are Wilson's (but a disagreement
    below `difference` is impossible, and counts as equal to it).
    """
    difference = checks.require_number("difference", difference)
    power = checks.require_number("power", power, 0, 1)
    confidence = checks.require_number("confidence", confidence, 0, 1)
    if (standard_deviation is None) == (disagreement is None):
        given = "both" if disagreement is not None else "neither"
        raise ValueError(
            f"give exactly one of standard_deviation and disagreement, not {given}: disagreement for scores of 0 and 1 "
            "(the share of items on which the two models differ), standard_deviation for others"
        )
    freedom = None if pilot_items is None else checks.require_count("pilot_items", pilot_items, least=2) - 1
    if disagreement is not None:
        disagreement = checks.require_number("disagreement", disagreement, 0, 1, closed=True)
        if difference - disagreement > ROUNDING:
            raise ValueError(
                f"difference={difference:g} is greater than disagreement={disagreement:g}: models that differ on "
                f"{disagreement:.1%} of the items differ by no more than that in their means. Plan for a smaller "
                "difference, or expect more disagreement"
            )
        limits = (disagreement, disagreement) if freedom is None else _share_limits(disagreement, freedom, confidence)
        variances = [max(share, difference) - difference**2 for share in (disagreement, *limits)]
        squared = difference**2
    else:
        deviation = checks.require_number("standard_deviation", standard_deviation)
        unit = unit_of(difference)
        squared, ratio = (difference / unit) ** 2, deviation / unit
        variance = ratio * ratio  # may be infinite, where ** 2 would be a raw error
        limits = (variance, variance) if freedom is None else _variance_limits(variance, freedom, confidence)
        variances = [variance, *limits]
    from scipy.stats import norm

    z, z_power = quantile(confidence), float(norm.ppf(power))
    if z + z_power <= 0:
        raise ValueError(f"power={power} is no more than chance at confidence={confidence}: ask for more power")

    def items(variance: float) -> int:
        if not variance < 1e15 * squared:
            raise ValueError(f"difference={difference:g} is too small beside the spread: 10^15 items do not show it")
        return max(2, math.ceil((z + z_power) ** 2 * variance / squared + z**2 / 2))

    return Interval(*map(items, variances))


# --- shared arithmetic ----------------------------------------------------------------------------------------


def _variance_limits(variance: float, freedom: int, confidence: float) -> tuple[float, float]:
    """Of the variance of a normal variable."""
    from scipy.stats import chi2

    tail = (1 - confidence) / 2
    return float(freedom * variance / chi2.ppf(1 - tail, freedom)), float(freedom * variance / chi2.ppf(tail, freedom))


def _share_limits(share: float, freedom: int, confidence: float) -> tuple[float, float]:
    """Wilson's, of a share that need not be a whole number of items: it may have been rounded to print it."""
    from statsmodels.stats.proportion import proportion_confint

    n = freedom + 1
    low, high = proportion_confint(share * n, n, alpha=1 - confidence, method="wilson")
    return float(low), min(1.0, float(high))
