"""Minimises one smooth function per class at once, each with its own steps: limited-memory BFGS over columns.

A solver that sees all classes as one problem takes one step length for all of them and keeps its history in double
precision; on 40,000 weights a class that bookkeeping cost five times as much as the gradients.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Columns = NDArray[np.float32]  # (n_parameters, n_classes)
PerClass = NDArray[np.float64]  # (n_classes,)
Objective = Callable[[Columns], tuple[PerClass, Columns]]  # loss and gradient

SUFFICIENT = 1e-4  # share of the promised decrease that a step must bring
N_HALVINGS = 5
LEAST_CURVATURE = 1e-10
CONVERGED = 1e-5  # of the largest gradient's length at the start


@dataclass(frozen=True)
class _Pair:
    """A step, the change of gradient along it, and one over their product (0 where a class takes no notice)."""

    step: Columns
    change: Columns
    inverse: PerClass


def minimise(objective: Objective, start: Columns, *, n_iterations: int, n_pairs: int) -> Columns:
    """Walk down every column's own loss for so many steps, or until all gradients vanish.

    Parameters
    ----------
    objective : of all columns; a column's loss may depend on no other column
    n_pairs : how many steps are remembered

    Source: Liu, Nocedal 1989 (limited-memory BFGS); Armijo 1966 (sufficient decrease).
    """
    parameters = start
    loss, gradient = objective(parameters)
    first_length = np.sqrt(_dot(gradient, gradient))
    pairs: deque[_Pair] = deque(maxlen=n_pairs)
    for _ in range(n_iterations):
        if np.all(_dot(gradient, gradient) <= (CONVERGED * first_length) ** 2):
            break
        direction = _direction(gradient, pairs)
        size = np.ones_like(loss) if pairs else 1 / np.maximum(first_length, 1.0)
        found = _search(objective, parameters, direction, size, loss=loss, gradient=gradient)
        pairs.append(found.tried)
        parameters, loss, gradient = found.parameters, found.loss, found.gradient
    return parameters


@dataclass(frozen=True)
class _Found:
    """Where a search ended, and the last step that it tried, taken or not: a step too long tells of curvature, too."""

    parameters: Columns
    loss: PerClass
    gradient: Columns
    tried: _Pair


def _search(
    objective: Objective,
    parameters: Columns,
    direction: Columns,
    size: PerClass,
    *,
    loss: PerClass,
    gradient: Columns,
) -> _Found:
    """Halve the step of each class until its loss falls enough; a class whose loss will not fall stays where it is."""
    slope = _dot(direction, gradient)
    for _ in range(N_HALVINGS + 1):
        moved = parameters + direction * size.astype(np.float32)
        new_loss, new_gradient = objective(moved)
        falls = new_loss <= loss + SUFFICIENT * size * slope
        if falls.all():
            break
        size = np.where(falls, size, size / 2)
    pair = _pair(moved - parameters, new_gradient - gradient)
    if falls.all():
        return _Found(moved, new_loss, new_gradient, pair)
    return _Found(
        np.where(falls, moved, parameters),
        np.where(falls, new_loss, loss),
        np.where(falls, new_gradient, gradient),
        pair,
    )


def _direction(gradient: Columns, pairs: deque[_Pair]) -> Columns:
    """Minus the gradient, bent by what the remembered steps tell of the curvature."""
    direction = -gradient
    shares = []
    for pair in reversed(pairs):
        share = pair.inverse * _dot(pair.step, direction)
        direction -= pair.change * share.astype(np.float32)
        shares.append(share)
    if pairs:
        direction *= _scale(pairs[-1]).astype(np.float32)
    for pair, share in zip(pairs, reversed(shares), strict=True):
        correction = share - pair.inverse * _dot(pair.change, direction)
        direction += pair.step * correction.astype(np.float32)
    return direction


def _scale(pair: _Pair) -> PerClass:
    """The curvature along the last step, inverted; 1 where that step told nothing."""
    squared = _dot(pair.change, pair.change)
    told = pair.inverse > 0
    return np.where(told, 1 / np.where(told, pair.inverse * np.maximum(squared, LEAST_CURVATURE), 1.0), 1.0)


def _pair(step: Columns, change: Columns) -> _Pair:
    product = _dot(step, change)
    told = product > LEAST_CURVATURE
    return _Pair(step, change, np.where(told, 1 / np.where(told, product, 1.0), 0.0))


def _dot(first: Columns, second: Columns) -> PerClass:
    """Product of each pair of columns, (n_classes,)."""
    return np.asarray(np.einsum("pc,pc->c", first, second), dtype=np.float64)
