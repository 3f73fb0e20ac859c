"""Platt scaling: a straight line on logits that makes them calibrated probabilities, per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]
EDGE = 1e-6  # probabilities are kept this far from 0 and 1,
MAX_LOG_ODDS = float(np.log1p(-EDGE) - np.log(EDGE))  # and so log odds within this
PENALTY = 0.5  # pull of the slope towards 1, in products
MAX_SLOPE = 5.0
SOLVER: Any = {"ftol": 1e-12, "gtol": 1e-9, "maxiter": 200}  # of a loss in products' means


@dataclass(frozen=True)
class Platt:
    """Probability = σ(slope · logit + shift), per class or per member and class."""

    slope: Floats
    shift: Floats

    def __call__(self, logits: NDArray[np.floating]) -> Floats:
        """Calibrated probabilities of logits, (n_products, ..., n_classes)."""
        return sigmoid(self.log_odds(logits))

    def log_odds(self, logits: NDArray[np.floating]) -> Floats:
        """Calibrated log odds of logits, of probabilities kept away from 0 and 1."""
        return np.asarray(np.clip(self.slope * logits + self.shift, -MAX_LOG_ODDS, MAX_LOG_ODDS), dtype=np.float64)


def sigmoid(logits: NDArray[np.floating]) -> Floats:
    """1 / (1 + exp(−x)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=np.float64)


def logit(probabilities: NDArray[np.floating]) -> Floats:
    """Log odds of probabilities kept away from 0 and 1."""
    bounded = np.clip(probabilities.astype(np.float64), EDGE, 1 - EDGE)
    return np.asarray(np.log(bounded) - np.log1p(-bounded), dtype=np.float64)


def fit_platt(logits: NDArray[np.floating], positive: NDArray[np.bool_], weights: NDArray[np.floating]) -> Platt:
    """Slope, from 0 to 5, and shift of every class that together make the weighted log loss least.

    Parameters
    ----------
    logits, positive, weights : (n_products, n_classes); weight 0 leaves an entry out

    Source: Platt 1999, with his smoothed targets.
    """
    columns = zip(logits.T, positive.T, weights.T, strict=True)
    lines = np.array([_line(*(each[column[2] > 0] for each in column)) for column in columns]).reshape(-1, 2)
    return Platt(slope=lines[:, 0].copy(), shift=lines[:, 1].copy())


def _line(logits: NDArray[np.floating], positive: NDArray[np.bool_], weights: NDArray[np.floating]) -> Floats:
    """Slope and shift of one class.

    The solver moves the slope and the line's height at the mean logit, which hardly depend on each other, and keeps the
    slope within its bounds: to cut it off afterwards would leave the shift of another line.
    """
    if not len(logits):
        return np.array([1.0, 0.0])
    counts = weights.astype(np.float64)
    n_positive, n_negative = (counts * positive).sum(), (counts * ~positive).sum()
    targets = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    total = n_positive + n_negative
    middle = float(counts @ logits / total)
    centred = logits - middle

    def loss(line: Floats) -> tuple[float, Floats]:
        said, moved = line[0] * centred + line[1], line[0] - 1.0
        value = counts @ (np.logaddexp(0, said) - targets * said) + 0.5 * PENALTY * moved**2
        error = counts * (sigmoid(said) - targets)
        return float(value) / total, np.array([error @ centred + PENALTY * moved, error.sum()]) / total

    start = np.array([1.0, logit(np.asarray(counts @ targets / total))])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, MAX_SLOPE), (None, None)], options=SOLVER)
    slope, height = found.x
    return np.array([slope, height - slope * middle])
