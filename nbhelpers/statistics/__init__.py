"""What a count proves: intervals, paired comparisons, agreement, correction of a judge, ratings.

This folder may import numpy, scipy, statsmodels and, from the package, only `warn`; it must not know of models, tokens
or servers.

Inside it, imports go one way: ``checks``, then ``intervals``, then ``comparisons``, ``agreement``, ``correction`` and
``ratings``, which do not import one another.
"""

from .agreement import cohen_kappa, flip_rate, krippendorff_alpha
from .comparisons import adjusted_p_values, items_needed, mcnemar, paired_difference
from .correction import prediction_powered_mean, rogan_gladen
from .intervals import Interval, mean_interval, wilson_interval
from .ratings import ELO, Ratings, bradley_terry

__all__ = [
    "ELO",
    "Interval",
    "Ratings",
    "adjusted_p_values",
    "bradley_terry",
    "cohen_kappa",
    "flip_rate",
    "items_needed",
    "krippendorff_alpha",
    "mcnemar",
    "mean_interval",
    "paired_difference",
    "prediction_powered_mean",
    "rogan_gladen",
    "wilson_interval",
]
