"""How good the served answers are, estimated without bias from the few questions that people answered.

Data in, data out. Reading cohorts and answers from the store is left to `service.quality.cohort_records`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.quality.answered_cohort import (
    AnsweredCohort,
    Outcome,
    SelfCheck,
    importance_weights,
    is_far_enough,
    self_check,
)
from service.quality.gamma_interval import gamma_interval
from service.quality.macro_recall import mean_recall

Float = NDArray[np.float64]

LEVEL = 0.95  # of every interval
WIDEST = 0.5  # an interval wider than this says nothing


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
    """Live quality of one bundle: per class, and the plain mean over classes."""

    n_products: int
    n_answers: int
    classes: tuple[ClassQuality, ...]
    macro_precision: Estimate
    macro_recall: Estimate
    self_check: SelfCheck


@dataclass(frozen=True, slots=True)
class _Weighed:
    """Questions that count, of all cohorts; `weights` is W, how many questions each stands for."""

    class_indices: NDArray[np.int64]
    weights: Float
    probabilities: Float
    positive: NDArray[np.bool_]
    outcomes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums over all products of the cohorts that count, (n_classes,)."""

    n_products: int
    probability: Float
    positive: Float
    probability_of_positive: Float


def live_quality(cohorts: Sequence[AnsweredCohort], *, n_classes: int) -> LiveQuality:
    """Estimate precision and recall per class over the cohorts of one bundle.

    Cohorts that are not far enough are left out, with their totals.
    """
    counting = [cohort for cohort in cohorts if is_far_enough(cohort)]
    weighed = _weighed(counting)
    sums = _summed(counting, n_classes)
    classes = tuple(_class_quality(index, weighed, sums) for index in range(n_classes))
    return LiveQuality(
        n_products=sums.n_products,
        n_answers=sum(quality.n_answers for quality in classes),
        classes=classes,
        macro_precision=_macro([quality.precision for quality in classes]),
        macro_recall=_macro_recall(classes, sums),
        self_check=self_check(counting, n_classes=n_classes),
    )


def _weighed(cohorts: Sequence[AnsweredCohort]) -> _Weighed:
    asked = [cohort.asked for cohort in cohorts]
    weights = np.concatenate([np.zeros(0), *(importance_weights(cohort) for cohort in cohorts)])
    counts = weights > 0.0
    no_index, no_flag = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
    return _Weighed(
        class_indices=np.concatenate([no_index, *(one.class_indices for one in asked)])[counts],
        weights=weights[counts],
        probabilities=np.concatenate([np.zeros(0), *(one.probabilities for one in asked)])[counts],
        positive=np.concatenate([no_flag, *(one.positive for one in asked)])[counts],
        outcomes=np.concatenate([no_index, *(one.outcomes for one in asked)])[counts],
    )


def _summed(cohorts: Sequence[AnsweredCohort], n_classes: int) -> _Sums:
    nothing = np.zeros(n_classes)
    return _Sums(
        n_products=sum(cohort.n_products for cohort in cohorts),
        probability=sum((cohort.probability for cohort in cohorts), nothing),
        positive=sum((cohort.positive for cohort in cohorts), nothing),
        probability_of_positive=sum((cohort.probability_of_positive for cohort in cohorts), nothing),
    )


@dataclass(frozen=True, slots=True)
class _ClassAnswers:
    """What counts about one class: its answers as columns, and the sums over all products."""

    weights: Float
    probabilities: Float
    served: Float  # 1 where the served answer is yes
    yes: Float  # 1 where the person's is
    known: Float  # 1 where it is yes or no
    total_probability: float
    total_served: float
    total_probability_of_served: float


def _class_quality(index: int, weighed: _Weighed, sums: _Sums) -> ClassQuality:
    answers = _of_class(index, weighed, sums)
    weights, known = answers.weights, answers.known > 0.0
    served_positives = answers.total_served - float((weights * answers.served * (1.0 - answers.known)).sum())
    surprise, spread = answers.yes - answers.probabilities, weights * (weights - 1.0)
    true_positives = answers.total_probability_of_served + float((weights * answers.served * surprise).sum())
    positives = answers.total_probability + float((weights * surprise).sum())
    precision, recall = _intervals(answers, served_positives)
    return ClassQuality(
        n_answers=int(known.sum()),
        n_unsure=int((~known).sum()),
        effective_sample_size=_effective_sample_size(weights[known]),
        true_positives=true_positives,
        true_positives_variance=float((spread * answers.served * surprise**2).sum()),
        positives=positives,
        positives_variance=float((spread * surprise**2).sum()),
        served_positives=served_positives,
        precision=_estimate(true_positives, served_positives, precision),
        recall=_estimate(true_positives, positives, recall),
    )


def _of_class(index: int, weighed: _Weighed, sums: _Sums) -> _ClassAnswers:
    rows = weighed.class_indices == index
    outcomes = weighed.outcomes[rows]
    return _ClassAnswers(
        weights=weighed.weights[rows],
        probabilities=weighed.probabilities[rows],
        served=weighed.positive[rows].astype(np.float64),
        yes=(outcomes == Outcome.YES).astype(np.float64),
        known=(outcomes != Outcome.UNSURE).astype(np.float64),
        total_probability=float(sums.probability[index]),
        total_served=float(sums.positive[index]),
        total_probability_of_served=float(sums.probability_of_positive[index]),
    )


def _effective_sample_size(weights: Float) -> float:
    """Kish 1965: answers of equal weight that would say as much."""
    return float(weights.sum() ** 2 / (weights**2).sum()) if len(weights) else 0.0


Interval = tuple[float, float]


def _intervals(answers: _ClassAnswers, served: float) -> tuple[Interval, Interval]:
    """Intervals of precision and recall from those of false positives and false negatives.

    Recall falls with both; their distances are added in squares (Zou & Donner 2008, MOVER).
    """
    false_positive = answers.served * (answers.known - answers.yes)
    false_negative = (1.0 - answers.served) * answers.yes
    missed_chance, missed_total = (
        1.0 - answers.probabilities,
        answers.total_served - answers.total_probability_of_served,
    )
    fp, fp_low, fp_high = _rare_count(answers, false_positive, answers.served * missed_chance, missed_total)
    fn, fn_low, fn_high = _rare_count(
        answers,
        false_negative,
        (1.0 - answers.served) * answers.probabilities,
        answers.total_probability - answers.total_probability_of_served,
    )
    recall = _recall(served, fp, fn)
    lower = recall - math.hypot(recall - _recall(served, fp_high, fn), recall - _recall(served, fp, fn_high))
    upper = recall + math.hypot(_recall(served, fp_low, fn) - recall, _recall(served, fp, fn_low) - recall)
    return (_share(served - fp_high, served), _share(served - fp_low, served)), (_clipped(lower), _clipped(upper))


def _rare_count(
    answers: _ClassAnswers, events: Float, chances: Float, expected_total: float
) -> tuple[float, float, float]:
    """Weighted count of events with its interval.

    The weight of the next, unseen event is taken to be its expectation: expected events of the traffic for each
    expected event of the sample. The variance is half that of the events seen and half that of the events expected:
    the first alone is too small whenever the heavy ones were not seen.

    Parameters
    ----------
    events : 1 where an answer is an event
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


def _macro_recall(classes: Sequence[ClassQuality], sums: _Sums) -> Estimate:
    """The mean of the classes' intervals, moved to the better value."""
    spread = _macro([quality.recall for quality in classes])
    if spread.value is None:
        return spread
    value = mean_recall(
        true_positives=np.array([one.true_positives for one in classes]),
        positives=np.array([one.positives for one in classes]),
        positives_variances=np.array([one.positives_variance for one in classes]),
        served=sums.probability_of_positive,
        missed=sums.probability - sums.probability_of_positive,
    )
    shift = value - spread.value
    return Estimate(value, _clipped(spread.lower + shift), _clipped(spread.upper + shift), spread.sufficient)
