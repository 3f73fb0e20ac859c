"""Fits linear members: the penalised log loss of each class over a design, minimised for many classes at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.members.descent import minimise
from training.members.image_components import ImageComponents, fit_components
from training.members.linear import LinearMember, components_of, free_parameters, member_of
from training.members.linear_design import Design
from training.weights import mask, priors

PENALTY = 1.5
N_ITERATIONS = 25
N_FURTHER_ITERATIONS = 12  # of a member that begins where another ended
N_PAIRS = 6  # steps that the solver remembers
CLASS_BLOCK = 64  # classes solved together, which bounds memory


def fit_linear(
    data: Design,
    targets: NDArray[np.int8],
    weights: NDArray[np.float32],
    *,
    start: LinearMember | None = None,
    image: ImageComponents | None = None,
) -> LinearMember:
    """Fit one penalised logistic regression a class; known targets count by their weight.

    Parameters
    ----------
    targets, weights : (n_products, n_classes)
    start : a member of the same columns to begin with, and to stay near: the penalty then is on the difference, so that
        a few products cannot undo what many have taught
    image : components to read, where the design has images; by default those of `start`, or else of these products
    """
    n_classes = targets.shape[1]
    if image is None:
        image = image_components(data) if start is None else start.image
    problem = _Problem(data, image)
    blocks = [slice(first, first + CLASS_BLOCK) for first in range(0, n_classes, CLASS_BLOCK)]
    begin = None if start is None else free_parameters(start, data)
    solved = [
        _solve(
            problem,
            targets[:, block],
            weights[:, block] * mask(targets[:, block]),
            start=None if begin is None else begin[:, block],
        )
        for block in blocks
    ]
    return member_of(data, np.concatenate(solved, axis=1), image)


def image_components(data: Design) -> ImageComponents | None:
    """Components of these products' images, which know no target; None where the design has no images."""
    return None if data.image_features is None else fit_components(data.image_features)


def _solve(
    problem: _Problem,
    targets: NDArray[np.int8],
    weights: NDArray[np.float32],
    *,
    start: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    begin = _at_base_rate(problem, targets) if start is None else start
    anchor = np.float32(0.0) if start is None else start[:-1]
    objective = _Objective(problem, (targets == 1).astype(np.float32), weights, anchor=anchor)
    n_iterations = N_ITERATIONS if start is None else N_FURTHER_ITERATIONS
    return minimise(objective, begin, n_iterations=n_iterations, n_pairs=N_PAIRS)


def _at_base_rate(problem: _Problem, targets: NDArray[np.int8]) -> NDArray[np.float32]:
    rate = priors(targets)
    start = np.zeros((problem.n_parameters, targets.shape[1]), dtype=np.float32)
    start[-1] = np.log(rate / (1 - rate))
    return start


class _Problem:
    """The products of a fit: parameters in, logits out, and back."""

    def __init__(self, data: Design, image: ImageComponents | None) -> None:
        self._rows, self._sharing = data.rows, data.sharing
        self._rows_back, self._sharing_back = data.rows.T.tocsr(), data.sharing.T.tocsr()
        self._seen = None if image is None else components_of(data, image)
        self._n_columns = data.rows.shape[1]
        self.n_parameters = self._n_columns + (0 if self._seen is None else self._seen.shape[1]) + 1

    def logits(self, parameters: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n_parameters, n_classes) to (n_products, n_classes)."""
        said = self._rows @ (self._sharing @ parameters[: self._n_columns]) + parameters[-1]
        if self._seen is not None:
            said += self._seen @ parameters[self._n_columns : -1]
        return np.asarray(said)

    def gradient(self, error: NDArray[np.float32]) -> NDArray[np.float32]:
        """From that of logits, (n_products, n_classes), to that of parameters, (n_parameters, n_classes)."""
        gradient = np.empty((self.n_parameters, error.shape[1]), dtype=np.float32)
        gradient[: self._n_columns] = self._sharing_back @ (self._rows_back @ error)
        if self._seen is not None:
            gradient[self._n_columns : -1] = self._seen.T @ error
        gradient[-1] = error.sum(axis=0)
        return gradient


class _Objective:
    """Weighted log loss of each class plus the penalty on its distance to the anchor, with the gradient."""

    def __init__(
        self,
        problem: _Problem,
        positive: NDArray[np.float32],
        weights: NDArray[np.float32],
        *,
        anchor: NDArray[np.float32] | np.float32,
    ) -> None:
        self._problem, self._anchor = problem, anchor
        self._positive, self._weights = positive, weights

    def __call__(self, parameters: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        logits = self._problem.logits(parameters)
        tail = np.exp(-np.abs(logits))
        loss = self._weights * (np.log1p(tail) + np.maximum(logits, 0) - self._positive * logits)
        error = self._weights * (np.where(logits >= 0, 1.0, tail) / (1 + tail) - self._positive)
        gradient = self._problem.gradient(error)
        moved = parameters[:-1] - self._anchor
        gradient[:-1] += np.float32(PENALTY) * moved
        penalty = 0.5 * PENALTY * np.square(moved).sum(axis=0, dtype=np.float64)
        return loss.sum(axis=0, dtype=np.float64) + penalty, gradient
