"""The mean of many classes' recalls, each known badly: better than the mean of what each alone says.

Estimating the classes one by one is left to `service.quality.live_quality`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

_WELL_KNOWN = 0.05  # relative standard error of a number of positives


def mean_recall(
    *, true_positives: Float, positives: Float, positives_variances: Float, served: Float, missed: Float
) -> float:
    """Mean recall over classes by linearised ratios.

    Missed positives are rare and weigh much. Most often too few are seen, so that the ratios' plain mean is too high,
    though both their parts are unbiased. Here each ratio is expanded around what the model expects of the class,
    corrected by how far its expectations are off over all classes together; or, the better the class's own number of
    positives is known, around that.

    Parameters
    ----------
    true_positives, positives, positives_variances : (n_classes,), unbiased estimates; positive for one class at least
    served, missed : (n_classes,), positives that the model expects among those it serves as positive, and as negative

    Source: Särndal, Swensson, Wretman 1992, Model Assisted Survey Sampling, section 5.6.
    """
    true_served = served * _correction(true_positives, served)
    expected = true_served + missed * _correction(positives - true_positives, missed)
    known_badly = _ratio(positives_variances, positives_variances + (_WELL_KNOWN * expected) ** 2)
    pivot = np.where(expected > 0.0, known_badly * expected + (1.0 - known_badly) * positives, positives)
    guess = _ratio(true_served, expected)
    recalls = guess + _ratio(true_positives - guess * positives, pivot)
    return min(max(float(recalls[pivot > 0.0].mean()), 0.0), 1.0)


def _correction(found: Float, expected: Float) -> float:
    total = float(expected.sum())
    return max(float(found.sum()) / total, 0.0) if total > 0.0 else 0.0


def _ratio(part: Float, whole: Float) -> Float:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0.0)
