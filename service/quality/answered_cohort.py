"""A sealed cohort with people's answers so far: which of them count, and for how many questions each stands.

Estimating rates from them is left to `service.quality.live_quality`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

LEAST_PREFIX = 10  # completed products before a cohort says anything; fewer make weights in the hundreds
ALARM = 4.0  # standard errors


class Outcome(IntEnum):
    """What became of a question; only OPEN is a gap. A tie and a skipped or withdrawn task's questions are UNSURE."""

    NO = 0
    YES = 1
    UNSURE = 2
    OPEN = 3


@dataclass(frozen=True, slots=True)
class AskedQuestions:
    """The questions that one cohort asked, as columns of equal length.

    Parameters
    ----------
    priorities, product_weights : q and w of the question's product
    class_indices : into the classes of the cohort
    inclusion_probabilities : π, in (0, 1]
    probabilities : the model's, in [0, 1]
    positive : the served yes/no
    outcomes : values of `Outcome`
    n_yes, n_no : annotators who gave each answer
    """

    priorities: Float
    product_weights: Float
    class_indices: NDArray[np.int64]
    inclusion_probabilities: Float
    probabilities: Float
    positive: NDArray[np.bool_]
    outcomes: NDArray[np.int64]
    n_yes: NDArray[np.int64]
    n_no: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AnsweredCohort:
    """A sealed cohort with what people have answered so far; arrays of sums (n_classes,) over all its products.

    Parameters
    ----------
    threshold : τ, 0 where every product was kept
    """

    n_products: int
    threshold: float
    probability: Float
    positive: Float
    probability_of_positive: Float
    asked: AskedQuestions


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """Whether the weights add up to what they stand for, in standard errors; beyond 4 the sampling is broken."""

    products_z: float
    questions_z: float

    @property
    def alarming(self) -> bool:
        """Whether either sum is off by more than chance allows."""
        return max(abs(self.products_z), abs(self.questions_z)) > ALARM


def prefix_threshold(cohort: AnsweredCohort) -> float:
    """Priority above which every product is completed: the draw is then as if no more had been kept.

    Source: Ting 2022, Adaptive threshold sampling: the threshold may be raised to any other priority.
    """
    waiting = cohort.asked.priorities[cohort.asked.outcomes == Outcome.OPEN]
    return max(cohort.threshold, float(waiting.max(initial=0.0)))


def product_weights(cohort: AnsweredCohort) -> Float:
    """How many products each question's product stands for; 0 at and below the completed prefix.

    Source: Duffield, Lund, Thorup 2007.
    """
    asked, threshold = cohort.asked, prefix_threshold(cohort)
    return np.where(asked.priorities > threshold, np.maximum(1.0, threshold / asked.product_weights), 0.0)


def importance_weights(cohort: AnsweredCohort) -> Float:
    """W: how many questions about its class each question stands for; 0 where it does not count."""
    return product_weights(cohort) / cohort.asked.inclusion_probabilities


def is_far_enough(cohort: AnsweredCohort) -> bool:
    """Whether so many products are completed, from the highest priority on, that the cohort says something."""
    priorities = np.unique(cohort.asked.priorities)
    n_completed = np.count_nonzero(priorities > prefix_threshold(cohort))
    return bool(n_completed >= min(LEAST_PREFIX, max(len(priorities), 1)))


def self_check(cohorts: Sequence[AnsweredCohort], *, n_classes: int) -> SelfCheck:
    """Compare the sums of weights with the number of products, and of questions, that the traffic had."""
    expected = float(sum(cohort.n_products for cohort in cohorts))
    products, questions = _per_product(cohorts)
    spread = float((products * (products - 1.0)).sum())
    mean_questions = questions / n_classes  # is 1 in expectation
    question_spread = spread + float((products**2 * (mean_questions - 1.0) ** 2).sum())
    return SelfCheck(
        products_z=_z(float(products.sum()) - expected, spread),
        questions_z=_z(float((products * mean_questions).sum()) - expected, question_spread),
    )


def _z(difference: float, variance: float) -> float:
    return difference / math.sqrt(variance) if variance > 0.0 else 0.0


def _per_product(cohorts: Sequence[AnsweredCohort]) -> tuple[Float, Float]:
    """Weight of every product that counts, and the sum of 1/π over its questions."""
    weights: list[Float] = [np.zeros(0)]
    questions: list[Float] = [np.zeros(0)]
    for cohort in cohorts:
        every_weight = product_weights(cohort)
        _, first, product = np.unique(cohort.asked.priorities, return_index=True, return_inverse=True)
        sums = np.zeros(len(first))
        np.add.at(sums, product, 1.0 / cohort.asked.inclusion_probabilities)
        counts = every_weight[first] > 0.0
        weights.append(every_weight[first][counts])
        questions.append(sums[counts])
    return np.concatenate(weights), np.concatenate(questions)
