"""What a count proves: intervals, comparisons, agreement, correction of a judge, passes, calibration, ratings.

This folder may import numpy, scipy, statsmodels and, from the package, only `warn`; it must not know of models, tokens
or servers.

Inside it, imports go one way: ``checks``, then ``intervals``, then ``comparisons``, ``agreement``, ``correction``,
``passes``, ``calibration`` and ``ratings``, which do not import one another.
"""

from .agreement import cohen_kappa, flip_rate, krippendorff_alpha
from .calibration import (
    BrierDecomposition,
    CalibrationBin,
    CalibrationError,
    RiskCoverage,
    brier_decomposition,
    calibration_error,
    risk_coverage,
)
from .comparisons import adjusted_p_values, items_needed, mcnemar, paired_difference
from .correction import prediction_powered_mean, rogan_gladen
from .intervals import Interval, mean_interval, wilson_interval
from .passes import pass_at_k, pass_hat_k
from .ratings import ELO, Ratings, bradley_terry

__all__ = [
    "ELO",
    "BrierDecomposition",
    "CalibrationBin",
    "CalibrationError",
    "Interval",
    "Ratings",
    "RiskCoverage",
    "adjusted_p_values",
    "bradley_terry",
    "brier_decomposition",
    "calibration_error",
    "cohen_kappa",
    "flip_rate",
    "items_needed",
    "krippendorff_alpha",
    "mcnemar",
    "mean_interval",
    "paired_difference",
    "pass_at_k",
    "pass_hat_k",
    "prediction_powered_mean",
    "risk_coverage",
    "rogan_gladen",
    "wilson_interval",
]
