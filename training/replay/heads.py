"""A small committee on fixed features: quick enough to train hundreds of times, alike enough to the real one to study.

One logistic regression a class for each view of the features, and one for all views together. What it learns from, and
how often, is left to `training.replay.runs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from training.members.descent import minimise

Float = NDArray[np.float32]

PENALTY = 1.0
COLD_STEPS, WARM_STEPS = 10, 4
N_PAIRS = 6
LEAST_BIAS_CURVATURE = 1e-3


@dataclass(frozen=True)
class Lessons:
    """What a committee learns from, one row a product.

    Parameters
    ----------
    features : (n_products, n_features), float32
    answers : (n_products, n_classes), 1 yes, 0 no; anything where the weight is 0
    weights : (n_products, n_classes), what each answer counts for, 0 where there is none
    """

    features: csr_array
    answers: Float
    weights: Float


@dataclass(frozen=True)
class Committee:
    """Fitted heads; a value, never changed in place.

    Parameters
    ----------
    views : the columns that each head reads; the last head reads all
    heads : weights of each head, its biases in the last row, (n_columns + 1, n_classes)
    """

    views: tuple[slice, ...]
    heads: tuple[Float, ...]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Weight of each head in the mean, (n_heads,): the one that reads everything counts as much as the others."""
        n_others = len(self.heads) - 1
        return np.array([*([0.5 / n_others] * n_others), 0.5]) if n_others else np.ones(1)

    def predict(self, features: csr_array) -> Float:
        """Probabilities of each head, (n_products, n_heads, n_classes)."""
        logits = [features[:, view] @ head[:-1] + head[-1] for view, head in zip(self.views, self.heads, strict=True)]
        return np.ascontiguousarray(_sigmoid(np.stack(logits, axis=1)))

    def probabilities(self, features: csr_array) -> NDArray[np.float64]:
        """What the committee says: the weighted mean of its heads, (n_products, n_classes)."""
        return np.asarray(np.einsum("nmc,m->nc", self.predict(features), self.shares))

    def retrained(self, lessons: Lessons) -> Committee:
        """Learn from all lessons, from where the last training ended and in fewer steps than from nothing."""
        heads = tuple(
            fit_head(lessons, view, start=head, n_steps=WARM_STEPS)
            for view, head in zip(self.views, self.heads, strict=True)
        )
        return replace(self, heads=heads)


def trained(widths: Sequence[int], lessons: Lessons) -> Committee:
    """Train from nothing.

    Parameters
    ----------
    widths : of the modalities, in the order of the features' columns
    """
    ends = np.cumsum(widths).tolist()
    everything = slice(0, ends[-1])
    alone = [slice(end - width, end) for width, end in zip(widths, ends, strict=True)] if len(widths) > 1 else []
    views = (*alone, everything)
    return Committee(views, tuple(fit_head(lessons, view) for view in views))


def fit_head(lessons: Lessons, view: slice, *, start: Float | None = None, n_steps: int = COLD_STEPS) -> Float:
    """Fit one penalised logistic regression a class; each answer counts by its weight.

    The descent walks in variables scaled by the curvature at its start: words seen in ten products and in ten thousand
    then move alike. Without it twice the steps ended .04 lower in macro average precision.

    Returns
    -------
    (n_columns + 1, n_classes), the biases in the last row
    """
    loss = _Loss(lessons.features[:, view], lessons.answers, lessons.weights)
    begin = loss.priors() if start is None else start
    scale = loss.scale(begin)
    found = minimise(lambda scaled: loss(scaled, scale), begin / scale, n_iterations=n_steps, n_pairs=N_PAIRS)
    return np.asarray(found * scale)


class _Loss:
    """Weighted log loss of each class plus the penalty, with its gradient."""

    def __init__(self, rows: csr_array, positive: Float, weights: Float) -> None:
        self._rows, self._columns = rows, rows.T.tocsr()
        self._positive, self._weights = positive, weights

    def __call__(self, scaled: Float, scale: Float) -> tuple[NDArray[np.float64], Float]:
        parameters = scaled * scale
        logits = self._logits(parameters)
        losses = self._weights * (np.logaddexp(np.float32(0), logits) - self._positive * logits)
        gradient = self._sums(self._weights * (_sigmoid(logits) - self._positive))
        gradient[:-1] += PENALTY * parameters[:-1]
        size = np.square(parameters[:-1]).sum(axis=0, dtype=np.float64)
        return losses.sum(axis=0, dtype=np.float64) + 0.5 * PENALTY * size, gradient * scale

    def priors(self) -> Float:
        """No weights but the biases, which say each class's rate."""
        rates = ((self._weights * self._positive).sum(axis=0) + 0.5) / (self._weights.sum(axis=0) + 1.0)
        parameters = np.zeros((self._rows.shape[1] + 1, len(rates)), dtype=np.float32)
        parameters[-1] = np.log(rates / (1.0 - rates))
        return parameters

    def scale(self, parameters: Float) -> Float:
        """One over the root of the curvature along each parameter."""
        says = _sigmoid(self._logits(parameters))
        curvature = self._sums(self._weights * says * (1.0 - says), squared=True)
        curvature[:-1] += PENALTY
        curvature[-1] += LEAST_BIAS_CURVATURE
        return np.asarray(1.0 / np.sqrt(curvature))

    def _logits(self, parameters: Float) -> Float:
        return np.asarray(self._rows @ parameters[:-1] + parameters[-1])

    def _sums(self, values: Float, *, squared: bool = False) -> Float:
        """Sums over the products, each value times the product's feature, (n_columns + 1, n_classes)."""
        columns = self._columns.power(2) if squared else self._columns
        return np.concatenate([columns @ values, values.sum(axis=0, keepdims=True)])


def _sigmoid(logits: Float) -> Float:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0))))
