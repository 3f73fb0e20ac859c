"""How often each annotator errs, from how often two of them contradict each other about the same question.

Nobody's answers are taken for the truth. Counting agreements is left to `service.label_queue`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_ENOUGH = 50  # shared answers of an annotator; below, an estimate says little of a person
RIDGE = 1.0  # in shared answers: with two annotators alone, each is blamed for half
MAX_CONTRADICTION = 0.49  # two who guess contradict each other half the time; beyond, the logarithm has no value
MIN_CONTRADICTION = 0.01  # below, one slip would weigh as much as a hundred answers
PSEUDO_COUNT = 0.25
N_REFITS = 3

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Questions that two annotators both answered with yes or no."""

    first: str
    second: str
    n_shared: int
    n_same: int


@dataclass(frozen=True, slots=True)
class AnnotatorError:
    """What is known of one annotator.

    Parameters
    ----------
    error : share of wrong answers, 0 to .5
    n_shared : answers to questions that others answered, too
    """

    name: str
    error: float
    n_shared: int


def annotator_errors(agreements: Sequence[Agreement]) -> list[AnnotatorError]:
    """Estimate each annotator's share of wrong answers, the highest first.

    Two who err independently with rates a and b contradict each other in d of their shared answers, where
    1 - 2d = (1 - 2a)(1 - 2b): in logarithms a linear model of the pairs. It is fitted by least squares, each pair
    weighing as the inverse of its logarithm's variance, 4d(1 - d) / n(1 - 2d)², under the fit before.

    Source: Bonald & Combes 2017, "A minimax optimal algorithm for crowdsourcing" (the one-coin model and its
    correlations); Dawid & Skene 1979 for the model.
    """
    names = sorted({name for pair in agreements for name in (pair.first, pair.second)})
    if not names:
        return []
    design = np.asarray([[name in {pair.first, pair.second} for name in names] for pair in agreements], dtype=float)
    n_shared = np.asarray([pair.n_shared for pair in agreements], dtype=float)
    n_other = np.asarray([pair.n_shared - pair.n_same for pair in agreements], dtype=float)
    observed = np.minimum((n_other + PSEUDO_COUNT) / (n_shared + 2 * PSEUDO_COUNT), MAX_CONTRADICTION)
    said: Float = np.log(1 - 2 * observed)
    logarithms = _solved(design, said, n_shared)
    for _ in range(N_REFITS):
        fitted = np.clip((1 - np.exp(design @ logarithms)) / 2, MIN_CONTRADICTION, MAX_CONTRADICTION)
        weights: Float = n_shared * (1 - 2 * fitted) ** 2 / (4 * fitted * (1 - fitted))
        logarithms = _solved(design, said, weights)
    errors = (1 - np.exp(logarithms)) / 2
    found = [
        AnnotatorError(name, float(error), int(shared))
        for name, error, shared in zip(names, errors, n_shared @ design, strict=True)
    ]
    return sorted(found, key=lambda annotator: (-annotator.error, annotator.name))


def _solved(design: Float, logarithms: Float, weights: Float) -> Float:
    """Logarithm of 1 - 2 error of each annotator, at most 0."""
    weighted = design.T * weights
    normal = weighted @ design + RIDGE * np.eye(design.shape[1])
    return np.minimum(np.linalg.solve(normal, weighted @ logarithms).astype(np.float64), 0.0)
