"""The answers of many cohorts as columns, each with the questions that it stands for, and the sums over all products.

What follows from them is left to `service.quality.live_quality` and `service.quality.macro_recall`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.quality.answered_cohort import AnsweredCohort, importance_weights
from service.quality.second_opinion import believed, error_rate

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrafficSums:
    """Sums over all products of the cohorts that count, (n_classes,)."""

    n_products: int
    probability: Float
    positive: Float
    probability_of_positive: Float

    @property
    def expected_missed(self) -> Float:
        """Positives that the model expects among those that it serves as negative."""
        return self.probability - self.probability_of_positive

    def of_class(self, index: int) -> ClassSums:
        """Those of one class."""
        return ClassSums(
            float(self.probability[index]), float(self.positive[index]), float(self.probability_of_positive[index])
        )


@dataclass(frozen=True, slots=True)
class ClassSums:
    """Σp, Σŷ and Σpŷ of one class."""

    probability: float
    positive: float
    probability_of_positive: float


@dataclass(frozen=True, slots=True)
class WeighedAnswers:
    """Questions that count, as columns of equal length.

    Parameters
    ----------
    weights : W, how many questions each stands for
    served : 1 where the served answer is yes
    yes : how far a yes is believed; what people say, 0 or 1, as long as none of them is seen to err
    known : 1 where somebody said yes or no, 0 where nobody could tell
    """

    class_indices: NDArray[np.int64]
    weights: Float
    probabilities: Float
    served: Float
    yes: Float
    known: Float

    def of_class(self, index: int) -> WeighedAnswers:
        """Those about one class."""
        rows = self.class_indices == index
        return WeighedAnswers(
            class_indices=self.class_indices[rows],
            weights=self.weights[rows],
            probabilities=self.probabilities[rows],
            served=self.served[rows],
            yes=self.yes[rows],
            known=self.known[rows],
        )


def weigh(cohorts: Sequence[AnsweredCohort], sums: TrafficSums) -> tuple[WeighedAnswers, float]:
    """Arrange the answers that count, and tell the share of wrong ones among those to plain questions."""
    asked = [cohort.asked for cohort in cohorts]
    weights = _joined(importance_weights(cohort) for cohort in cohorts)
    counts = weights > 0.0
    weights = weights[counts]
    probabilities = _joined(one.probabilities for one in asked)[counts]
    served = _joined(one.positive.astype(np.float64) for one in asked)[counts]
    n_yes, n_no = _indices(one.n_yes for one in asked)[counts], _indices(one.n_no for one in asked)[counts]
    known = n_yes + n_no > 0
    error = error_rate(probabilities, n_yes, n_no)
    beliefs = believed(
        probabilities=probabilities,
        served=served > 0.0,
        leads=n_yes - n_no,
        weights=np.where(known, weights, 0.0),
        expected_missed=float(sums.expected_missed.sum()),
        error=error,
    )
    class_indices = _indices(one.class_indices for one in asked)[counts]
    yes = np.where(known, beliefs, 0.0)
    return WeighedAnswers(class_indices, weights, probabilities, served, yes, known.astype(np.float64)), error


def summed(cohorts: Sequence[AnsweredCohort], n_classes: int) -> TrafficSums:
    """Add up what the cohorts know of all their products."""
    nothing = np.zeros(n_classes)
    return TrafficSums(
        n_products=sum(cohort.n_products for cohort in cohorts),
        probability=sum((cohort.probability for cohort in cohorts), nothing),
        positive=sum((cohort.positive for cohort in cohorts), nothing),
        probability_of_positive=sum((cohort.probability_of_positive for cohort in cohorts), nothing),
    )


def effective_sample_size(weights: Float) -> float:
    """How many equally weighted answers would tell as much; 0 for none. Source: Kish 1965, Survey Sampling."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _joined(columns: Iterable[Float]) -> Float:
    return np.concatenate([np.zeros(0), *columns])


def _indices(columns: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, dtype=np.int64), *columns])
