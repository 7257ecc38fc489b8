"""What a count proves: intervals, comparisons, selection, variance, agreement, passes, calibration, ratings.

This folder may import numpy, scipy, statsmodels and, from the package, only `warn`; it must not know of models, tokens
or servers.

Inside it, imports go one way: ``checks``, then ``intervals``, then all others, which do not import one another.
"""

from .agreement import flip_rate, krippendorff_alpha
from .calibration import (
    BrierDecomposition,
    CalibrationBin,
    CalibrationError,
    RiskCoverage,
    brier_decomposition,
    calibration_error,
    risk_coverage,
)
from .comparisons import Equivalence, equivalence, mcnemar, paired_difference
from .correction import prediction_powered_mean, rogan_gladen
from .intervals import Interval, mean_interval, proportion_interval, wilson_interval
from .kappa import cohen_kappa
from .passes import pass_at_k, pass_hat_k
from .planning import items_needed
from .ratings import ELO, Ratings, bradley_terry
from .selection import SelectionOptimism, adjust_p_values, best_of_k, selection_optimism
from .variance import VarianceComponents, variance_components

__all__ = [
    "ELO",
    "BrierDecomposition",
    "CalibrationBin",
    "CalibrationError",
    "Equivalence",
    "Interval",
    "Ratings",
    "RiskCoverage",
    "SelectionOptimism",
    "VarianceComponents",
    "adjust_p_values",
    "best_of_k",
    "bradley_terry",
    "brier_decomposition",
    "calibration_error",
    "cohen_kappa",
    "equivalence",
    "flip_rate",
    "items_needed",
    "krippendorff_alpha",
    "mcnemar",
    "mean_interval",
    "paired_difference",
    "pass_at_k",
    "pass_hat_k",
    "prediction_powered_mean",
    "proportion_interval",
    "risk_coverage",
    "rogan_gladen",
    "selection_optimism",
    "variance_components",
    "wilson_interval",
]
