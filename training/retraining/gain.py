"""How much nearer to the answers a candidate is than the incumbent, estimated for all traffic from sampled questions.

Pure arithmetic. What follows from it is left to `training.retraining.gate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from training.platt import logit, sigmoid

Float = NDArray[np.float64]

CAP = 0.5  # of an importance weight, as a multiple of its class's mean: above it the answer counts as expected
PULL = 1.0  # of the expectation's coefficients to where they start, in answers


@dataclass(frozen=True)
class Judged:
    """Answered questions that neither model was trained on, one row a question.

    Parameters
    ----------
    classes : names of the classes
    product_index : (n_questions,), which product a question is about; questions about one product are not independent
    class_index : (n_questions,), into `classes`
    answers : (n_questions,), 1 yes, 0 no
    weights : (n_questions,), importance weights W, positive
    incumbent, candidate : (n_questions,), probabilities in [0, 1]
    incumbent_thresholds, candidate_thresholds : (n_classes,)
    priors : (n_classes,), positive rates that the incumbent was trained with
    """

    classes: tuple[str, ...]
    product_index: NDArray[np.int64]
    class_index: NDArray[np.int64]
    answers: Float
    weights: Float
    incumbent: Float
    candidate: Float
    incumbent_thresholds: Float
    candidate_thresholds: Float
    priors: Float

    def __post_init__(self) -> None:
        """Refuse weights that no sampling can have given."""
        if not (np.isfinite(self.weights).all() and (self.weights > 0).all()):
            raise ValueError("importance weights must be finite and positive; leave out answers that weigh nothing")

    def rates(self) -> Float:
        """Positive rate of each class, (n_classes,): the yardstick by which a rare class counts like a frequent one.

        The prior, or what the answers say where that is more: of a class that is new the incumbent knows nothing.
        """
        seen = self.per_class(self.weights * self.answers) / np.maximum(self.per_class(self.weights), 1e-12)
        return np.clip(np.maximum(self.priors, seen), 0.002, 0.998)

    def per_class(self, values: Float) -> Float:
        """Sums of the questions' values, (n_classes,)."""
        return np.bincount(self.class_index, weights=values, minlength=len(self.classes)).astype(np.float64)

    def per_product(self, values: Float) -> Float:
        """Sums of the questions' values, one a product."""
        _, product = np.unique(self.product_index, return_inverse=True)
        return np.bincount(product, weights=values).astype(np.float64)


@dataclass(frozen=True)
class MeanGain:
    """Mean gain of each class, and what each question adds to the mean over the counted classes in first order."""

    by_class: Float
    influence: Float


def standardised_gains(judged: Judged, answers: Float | None = None) -> Float:
    """Decrease of the squared error of each question, in units of its class's standard deviation √(π(1-π)).

    Between the raw Brier score, to which rare classes mean nothing, and the Brier skill score, in which their few
    positives drown the rest: the scale at which the paired difference was found to have the most power.

    Parameters
    ----------
    answers : (n_questions,), in [0, 1]; people's by default. The gain is linear in them

    Returns
    -------
    (n_questions,), positive where the candidate is nearer to the answer
    """
    said = judged.answers if answers is None else answers
    rates = judged.rates()
    scale = np.sqrt(rates * (1 - rates))[judged.class_index]
    middle = (judged.candidate + judged.incumbent) / 2
    gains: Float = 2 * (judged.candidate - judged.incumbent) * (said - middle) / scale
    return gains


def mean_gain(judged: Judged, counted: NDArray[np.bool_]) -> MeanGain:
    """Mean over traffic of the gain of each class, with few large weights tamed.

    An answer stands for W questions. Up to the cap it stands for them itself; the rest of W counts as what both models
    together let expect of such a question. Few plain questions of large weight then no longer make most of the
    variance, and an expectation that is somewhat wrong does so for them alone. What is learned of the expectation from
    these same answers is part of the influence.

    Parameters
    ----------
    counted : (n_classes,), the classes over which the mean goes

    Source: Cassel, Särndal, Wretman 1976 (difference estimation by a model); Ionides 2008 (truncated weights).
    """
    totals = np.maximum(judged.per_class(judged.weights), np.finfo(np.float64).tiny)
    n_answers = np.maximum(judged.per_class(np.ones_like(judged.weights)), 1.0)
    capped = np.minimum(judged.weights, CAP * (totals / n_answers)[judged.class_index])
    rest = judged.weights - capped
    expectation = _Expectation.of(judged)
    gains = capped * standardised_gains(judged) + rest * standardised_gains(judged, expectation.answers)
    by_class = judged.per_class(gains) / totals
    own = np.where(counted, 1.0 / (max(int(counted.sum()), 1) * totals), 0.0)[judged.class_index]
    slope = standardised_gains(judged, np.ones_like(rest)) - standardised_gains(judged, np.zeros_like(rest))
    influence = own * (gains - judged.weights * by_class[judged.class_index])
    return MeanGain(by_class, influence + expectation.influence(own * rest * slope))


@dataclass(frozen=True)
class _Expectation:
    """A logistic regression of the answers on what both models say: their middle, their distance, the class's prior."""

    answers: Float  # expected, in (0, 1)
    inputs: Float  # (n_questions, 4)
    surprise: Float
    inverse: Float  # of the curvature

    @classmethod
    def of(cls, judged: Judged) -> _Expectation:
        """Fit it, without weights: given both models, whether a question was asked says nothing about its answer."""
        old, new = logit(judged.incumbent), logit(judged.candidate)
        prior = logit(judged.rates())[judged.class_index]
        inputs = np.stack([np.ones_like(old), (old + new) / 2, (new - old) / 2, prior], axis=1)
        start = np.array([0.0, 1.0, 0.0, 0.0])  # the models' middle, as it stands

        def loss(coefficients: Float) -> tuple[float, Float]:
            lines, moved = inputs @ coefficients, coefficients - start
            value = float((np.logaddexp(0, lines) - judged.answers * lines).sum() + 0.5 * PULL * moved @ moved)
            return value, inputs.T @ (sigmoid(lines) - judged.answers) + PULL * moved

        def curvature(coefficients: Float) -> Float:
            expected = sigmoid(inputs @ coefficients)
            bent: Float = (inputs * (expected * (1 - expected))[:, None]).T @ inputs + PULL * np.eye(len(start))
            return bent

        # Newton's steps alone run away where the models were sure and wrong; a trust region holds them.
        found = minimize(loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-6})
        coefficients = np.asarray(found.x, dtype=np.float64)
        expected = sigmoid(inputs @ coefficients)
        return cls(expected, inputs, judged.answers - expected, np.asarray(np.linalg.inv(curvature(coefficients))))

    def influence(self, effects: Float) -> Float:
        """What each answer adds, through the coefficients, to a sum of expected answers times their effects."""
        direction = self.inverse @ (self.inputs.T @ (effects * self.answers * (1 - self.answers)))
        added: Float = self.surprise * (self.inputs @ direction)
        return added
