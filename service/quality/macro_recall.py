"""The mean of many classes' recalls, each known badly: better than the mean of what each alone says.

Estimating the classes one by one is left to `service.quality.live_quality`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from service.quality.gamma_interval import gamma_interval
from service.quality.weighed_answers import WeighedAnswers

Float = NDArray[np.float64]

_WELL_KNOWN = 0.05  # relative standard error of a number of positives
_STEP = 1e-3  # of a class's positives, for slopes


@dataclass(frozen=True, slots=True)
class ClassTotals:
    """What is known of each class; all (n_classes,).

    Parameters
    ----------
    true_positives, positives, positives_variances : unbiased estimates; positive for one class at least
    served, missed : positives that the model expects among those it serves as positive, and as negative
    """

    true_positives: Float
    positives: Float
    positives_variances: Float
    served: Float
    missed: Float


def mean_recall(totals: ClassTotals) -> float:
    """Mean recall over classes by linearised ratios, in [0, 1].

    Missed positives are rare and weigh much. Most often too few are seen, so that the ratios' plain mean is too high,
    though both their parts are unbiased. Here each ratio is expanded around what the model expects of the class,
    corrected by how far its expectations are off over all classes together; or, the better the class's own number of
    positives is known, around that.

    Source: Särndal, Swensson, Wretman 1992, Model Assisted Survey Sampling, section 5.6.
    """
    recalls, counted = _recalls(totals)
    return min(max(float(recalls[counted].mean()), 0.0), 1.0)


def recall_interval(totals: ClassTotals, answers: WeighedAnswers, *, level: float) -> tuple[float, float]:
    """Interval of the mean recall, around `mean_recall`, in [0, 1].

    What misses cost the mean is a weighted count of rare events, each weighing W times the mean's slope in its class:
    it gets the gamma interval, with the expected event as the next one, and with half of the variance from the events
    seen, half from those expected. What true positives bring is normal; distances are added in squares.
    """
    by_found, by_missed = _slopes(totals)
    prices = np.maximum(-by_missed, 0.0)
    low, high = _cost_margins(totals, answers, prices, level=level)
    surprise = by_found[answers.class_indices] * answers.served * (answers.yes - answers.probabilities)
    variance = float((answers.weights * (answers.weights - 1.0)) @ surprise**2)
    margin = NormalDist().inv_cdf((1.0 + level) / 2.0) * math.sqrt(variance)
    value = mean_recall(totals)
    return max(value - math.hypot(high, margin), 0.0), min(value + math.hypot(low, margin), 1.0)


def _cost_margins(totals: ClassTotals, answers: WeighedAnswers, prices: Float, *, level: float) -> tuple[float, float]:
    """How far what misses cost may lie below and above what was seen of it; prices are per missed positive."""
    costs = answers.weights * prices[answers.class_indices]
    spread = costs**2 * (1.0 - 1.0 / answers.weights)
    events, chances = (1.0 - answers.served) * answers.yes, (1.0 - answers.served) * answers.probabilities
    n_expected, count = float(chances.sum()), float(costs @ events)
    if n_expected <= 0.0 or not spread.any():
        return 0.0, 0.0
    low, high = gamma_interval(
        count,
        variance=float(spread @ (events + _correction(answers.weights * events, totals.missed) * chances)) / 2.0,
        next_weight=float(prices @ totals.missed) / n_expected,
        next_variance=float(spread @ chances) / n_expected,
        level=level,
    )
    return count - low, high - count


def _slopes(totals: ClassTotals) -> tuple[Float, Float]:
    """What one more positive of each class, found or missed, changes in the mean."""
    by_found, by_missed = np.zeros((2, len(totals.positives)))
    _, counted = _recalls(totals)
    for index, n_positives in enumerate(totals.positives):
        size = _STEP * max(n_positives, 1.0)
        step = np.zeros(len(totals.positives))
        step[index] = min(size, n_positives / 2.0) if n_positives > 0.0 else size  # a class that counts goes on to
        by_found[index] = _slope(totals, step, step, counted)
        by_missed[index] = _slope(totals, step, np.zeros_like(step), counted)
    return by_found, by_missed


def _slope(totals: ClassTotals, step: Float, found: Float, counted: NDArray[np.bool_]) -> float:
    up = replace(totals, positives=totals.positives + step, true_positives=totals.true_positives + found)
    down = replace(totals, positives=totals.positives - step, true_positives=totals.true_positives - found)
    (above, _), (below, _) = _recalls(up), _recalls(down)
    return float((above - below)[counted].mean()) / (2.0 * float(step.sum()))


def _recalls(totals: ClassTotals) -> tuple[Float, NDArray[np.bool_]]:
    """Linearised recall of each class, not kept within [0, 1], and which classes count in the mean."""
    true_served = totals.served * _correction(totals.true_positives, totals.served)
    expected = true_served + totals.missed * _correction(totals.positives - totals.true_positives, totals.missed)
    variances = totals.positives_variances
    known_badly = _ratio(variances, variances + (_WELL_KNOWN * expected) ** 2)
    pivot = np.where(expected > 0.0, known_badly * expected + (1.0 - known_badly) * totals.positives, totals.positives)
    guess = _ratio(true_served, expected)
    return guess + _ratio(totals.true_positives - guess * totals.positives, pivot), pivot > 0.0


def _correction(found: Float, expected: Float) -> float:
    total = float(expected.sum())
    return max(float(found.sum()) / total, 0.0) if total > 0.0 else 0.0


def _ratio(part: Float, whole: Float) -> Float:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0.0)
