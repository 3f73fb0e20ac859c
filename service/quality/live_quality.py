"""How good the served answers are, estimated without bias from the few questions that people answered.

Data in, data out. Reading cohorts and answers from the store is left to `service.quality.cohort_records`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.quality.answered_cohort import AnsweredCohort, SelfCheck, is_far_enough, self_check
from service.quality.gamma_interval import gamma_interval
from service.quality.macro_recall import ClassTotals, mean_recall, recall_interval
from service.quality.weighed_answers import ClassSums, TrafficSums, WeighedAnswers, effective_sample_size, summed, weigh

Float = NDArray[np.float64]

LEVEL = 0.95  # of every interval
WIDEST = 0.5  # an interval wider than this says nothing
_ROUNDING = 1e-9  # of a sum, as a share of it


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate with its 95 % interval.

    Parameters
    ----------
    value : None where there is nothing to divide by: no product was served as positive, or none is
    sufficient : False where the interval is too wide to say anything
    """

    value: float | None
    lower: float
    upper: float
    sufficient: bool


@dataclass(frozen=True, slots=True)
class ClassQuality:
    """Live quality of one class; the totals are estimated numbers of products of the traffic."""

    n_answers: int  # yes or no, that count
    n_unsure: int
    effective_sample_size: float
    true_positives: float
    true_positives_variance: float
    positives: float
    positives_variance: float
    served_positives: float
    precision: Estimate
    recall: Estimate


@dataclass(frozen=True, slots=True)
class LiveQuality:
    """Live quality of one bundle: per class, and the plain mean over classes.

    Parameters
    ----------
    annotator_error : share of wrong answers to plain questions that second opinions tell of; 0 without any
    """

    n_products: int
    n_answers: int
    classes: tuple[ClassQuality, ...]
    macro_precision: Estimate
    macro_recall: Estimate
    self_check: SelfCheck
    annotator_error: float


def live_quality(cohorts: Sequence[AnsweredCohort], *, n_classes: int) -> LiveQuality:
    """Estimate precision and recall per class over the cohorts of one bundle.

    Cohorts that are not far enough are left out, with their totals.
    """
    counting = [cohort for cohort in cohorts if is_far_enough(cohort)]
    sums = summed(counting, n_classes)
    answers, error = weigh(counting, sums)
    classes = tuple(_class_quality(answers.of_class(index), sums.of_class(index)) for index in range(n_classes))
    return LiveQuality(
        n_products=sums.n_products,
        n_answers=sum(quality.n_answers for quality in classes),
        classes=classes,
        macro_precision=_macro([quality.precision for quality in classes]),
        macro_recall=_macro_recall(classes, answers, sums),
        self_check=self_check(counting, n_classes=n_classes),
        annotator_error=error,
    )


def _class_quality(answers: WeighedAnswers, sums: ClassSums) -> ClassQuality:
    weights, known = answers.weights, answers.known > 0.0
    served_positives = sums.positive - float((weights * answers.served * (1.0 - answers.known)).sum())
    surprise, spread = answers.yes - answers.probabilities, weights * (weights - 1.0)
    true_positives = _settled(sums.probability_of_positive, weights * answers.served * surprise)
    positives = _settled(sums.probability, weights * surprise)
    precision, recall = _intervals(answers, sums, served_positives)
    return ClassQuality(
        n_answers=int(known.sum()),
        n_unsure=int((~known).sum()),
        effective_sample_size=effective_sample_size(weights[known]),
        true_positives=true_positives,
        true_positives_variance=float((spread * answers.served * surprise**2).sum()),
        positives=positives,
        positives_variance=float((spread * surprise**2).sum()),
        served_positives=served_positives,
        precision=_estimate(true_positives, served_positives, precision),
        recall=_estimate(true_positives, positives, recall),
    )


def _settled(expected: float, surprises: Float) -> float:
    """What was expected and what came as a surprise, together; 0 where they differ by rounding alone.

    Where every product was asked about, and none is positive, the two cancel, and no rate of nothing may come of it.
    """
    total = expected + float(surprises.sum())
    return 0.0 if abs(total) <= _ROUNDING * expected else total


Interval = tuple[float, float]


def _intervals(answers: WeighedAnswers, sums: ClassSums, served: float) -> tuple[Interval, Interval]:
    """Intervals of precision and recall from those of false positives and false negatives.

    Recall falls with both; their distances are added in squares (Zou & Donner 2008, MOVER).
    """
    false_positive = answers.served * (answers.known - answers.yes)
    false_negative = (1.0 - answers.served) * answers.yes
    false_chance, missed_chance = (
        answers.served * (1.0 - answers.probabilities),
        (1.0 - answers.served) * answers.probabilities,
    )
    fp, fp_low, fp_high = _rare_count(
        answers, false_positive, false_chance, sums.positive - sums.probability_of_positive
    )
    fn, fn_low, fn_high = _rare_count(
        answers, false_negative, missed_chance, sums.probability - sums.probability_of_positive
    )
    recall = _recall(served, fp, fn)
    lower = recall - math.hypot(recall - _recall(served, fp_high, fn), recall - _recall(served, fp, fn_high))
    upper = recall + math.hypot(_recall(served, fp_low, fn) - recall, _recall(served, fp, fn_low) - recall)
    return (_share(served - fp_high, served), _share(served - fp_low, served)), (_clipped(lower), _clipped(upper))


def _rare_count(
    answers: WeighedAnswers, events: Float, chances: Float, expected_total: float
) -> tuple[float, float, float]:
    """Weighted count of events with its interval.

    The weight of the next, unseen event is taken to be its expectation: expected events of the traffic for each
    expected event of the sample. The variance is half that of the events seen and half that of the events expected:
    the first alone is too small whenever the heavy ones were not seen.

    Parameters
    ----------
    events : 1 where an answer is an event, less where it is not quite believed
    chances : the model's probability of it
    expected_total : sum of those probabilities over all products
    """
    count, expected = float((answers.weights * events).sum()), float(chances.sum())
    spread = answers.weights * (answers.weights - 1.0)
    variance = float((spread * (events + chances)).sum()) / 2.0 if count > 0.0 else 0.0
    if not spread.any() and expected_total <= expected * (1.0 + 1e-6):
        return count, count, count  # every product was asked about this class: nothing is unseen
    if expected <= 0.0:
        return count, 0.0, math.inf
    next_weight = max(expected_total / expected, 1.0)
    limits = gamma_interval(
        count, variance=variance, next_weight=next_weight, next_variance=next_weight * (next_weight - 1.0), level=LEVEL
    )
    return count, *limits


def _recall(served: float, false_positives: float, false_negatives: float) -> float:
    found = max(served - false_positives, 0.0)
    return _share(found, found + false_negatives)


def _share(part: float, whole: float) -> float:
    return _clipped(part / whole) if whole > 0.0 and math.isfinite(whole) else 0.0


def _clipped(rate: float) -> float:
    return min(max(rate, 0.0), 1.0)


def _estimate(part: float, whole: float, interval: Interval) -> Estimate:
    """The difference estimate, which is sharper than the counts of its interval, kept inside it."""
    lower, upper = interval
    if whole <= 0.0:
        return Estimate(value=None, lower=0.0, upper=1.0, sufficient=False)
    return Estimate(min(max(part / whole, lower), upper), lower, upper, sufficient=upper - lower <= WIDEST)


def _macro(estimates: Sequence[Estimate]) -> Estimate:
    """Plain mean of the classes that have a value; their distances to the limits are added in squares."""
    known = [(one.value, one.lower, one.upper) for one in estimates if one.value is not None]
    if not known:
        return Estimate(value=None, lower=0.0, upper=1.0, sufficient=False)
    values, lowers, uppers = np.array(known).T
    mean = float(values.mean())
    lower = _clipped(mean - float(np.linalg.norm(values - lowers)) / len(known))
    upper = _clipped(mean + float(np.linalg.norm(uppers - values)) / len(known))
    return Estimate(mean, lower, upper, sufficient=upper - lower <= WIDEST)


def _macro_recall(classes: Sequence[ClassQuality], answers: WeighedAnswers, sums: TrafficSums) -> Estimate:
    if all(quality.recall.value is None for quality in classes):
        return Estimate(value=None, lower=0.0, upper=1.0, sufficient=False)
    totals = ClassTotals(
        true_positives=np.array([one.true_positives for one in classes]),
        positives=np.array([one.positives for one in classes]),
        positives_variances=np.array([one.positives_variance for one in classes]),
        served=sums.probability_of_positive,
        missed=sums.expected_missed,
    )
    lower, upper = recall_interval(totals, answers, level=LEVEL)
    return Estimate(mean_recall(totals), lower, upper, sufficient=upper - lower <= WIDEST)
