"""Platt scaling: a straight line on logits that makes them calibrated probabilities, per class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
EDGE = 1e-6  # probabilities are kept this far from 0 and 1,
MAX_LOG_ODDS = float(np.log1p(-EDGE) - np.log(EDGE))  # and so log odds within this
N_NEWTON_STEPS = 25
N_HALVINGS = 10  # of a step
PENALTY = 0.5  # pull of the slope towards 1, in products
MAX_SLOPE = 5.0
CONVERGED = 1e-4  # log odds
LEAST_RISE = 1e-12  # of a loss, up to which it counts as level


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
    """Slope and shift of every class that make the weighted log loss least, by damped Newton steps.

    Parameters
    ----------
    logits, positive, weights : (n_products, n_classes); weight 0 leaves an entry out

    Source: Platt 1999, with his smoothed targets; Lin, Lin, Weng 2007 for the Newton steps.
    """
    n_positive = (weights * positive).sum(axis=0)
    n_negative = (weights * ~positive).sum(axis=0)
    targets = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    slope, shift = np.ones(logits.shape[1]), np.zeros(logits.shape[1])
    loss = _loss(logits, targets, weights, slope, shift)
    for _ in range(N_NEWTON_STEPS):
        step_slope, step_shift = _newton_step(logits, targets, weights, slope, shift)
        if max(np.abs(step_slope).max(), np.abs(step_shift).max()) < CONVERGED:
            break
        size = np.ones_like(slope)
        for _ in range(N_HALVINGS):  # halve the step of each class until its loss falls
            tried = _loss(logits, targets, weights, slope - size * step_slope, shift - size * step_shift)
            worse = tried > loss + LEAST_RISE
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        size = np.where(tried > loss + LEAST_RISE, 0.0, size)
        slope, shift = slope - size * step_slope, shift - size * step_shift
        loss = np.minimum(tried, loss)
    return Platt(np.clip(slope, 0.0, MAX_SLOPE), shift)


def _loss(
    logits: NDArray[np.floating], targets: Floats, weights: NDArray[np.floating], slope: Floats, shift: Floats
) -> Floats:
    lines = slope * logits + shift
    loss = (weights * (np.logaddexp(0, lines) - targets * lines)).sum(axis=0)
    return np.asarray(loss + 0.5 * PENALTY * (slope - 1) ** 2, dtype=np.float64)


def _newton_step(
    logits: NDArray[np.floating], targets: Floats, weights: NDArray[np.floating], slope: Floats, shift: Floats
) -> tuple[Floats, Floats]:
    probabilities = sigmoid(slope * logits + shift)
    error = weights * (probabilities - targets)
    curvature = weights * probabilities * (1 - probabilities)
    gradient_slope = (error * logits).sum(axis=0) + PENALTY * (slope - 1)
    gradient_shift = error.sum(axis=0)
    of_slope = (curvature * logits**2).sum(axis=0) + PENALTY
    of_both = (curvature * logits).sum(axis=0)
    of_shift = curvature.sum(axis=0) + 1e-6
    determinant = np.maximum(of_slope * of_shift - of_both**2, 1e-12)
    return (
        (of_shift * gradient_slope - of_both * gradient_shift) / determinant,
        (of_slope * gradient_shift - of_both * gradient_slope) / determinant,
    )
