"""The solver of the linear members: it finds the minimum of every column, whatever the other columns are."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from training.members.descent import minimise

Columns = NDArray[np.float32]


class Logistic:
    """Penalised logistic regression of each column, and how often it was asked."""

    def __init__(self, rows: Columns, positive: NDArray[np.bool_], penalty: float) -> None:
        self.rows, self.positive, self.penalty = rows, positive, penalty

    def __call__(self, parameters: Columns) -> tuple[NDArray[np.float64], Columns]:
        logits = self.rows @ parameters
        loss = (np.logaddexp(0, logits) - self.positive * logits).sum(axis=0, dtype=np.float64)
        gradient = self.rows.T @ (1 / (1 + np.exp(-logits)) - self.positive) + self.penalty * parameters
        return loss + 0.5 * self.penalty * np.square(parameters).sum(axis=0, dtype=np.float64), gradient.astype(
            np.float32
        )


def logistic(seed: int, n_classes: int, *, scale: float = 1.0) -> Logistic:
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(80, 6)) * scale).astype(np.float32)
    weights = rng.normal(size=(6, n_classes)) * rng.uniform(0.1, 5, n_classes)
    return Logistic(rows, rng.random((80, n_classes)) < 1 / (1 + np.exp(-rows @ weights)), 0.5)


@given(st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([0.1, 1.0, 20.0]))
@settings(max_examples=30, deadline=None)
def test_every_column_reaches_the_loss_that_a_solver_of_its_own_reaches(
    seed: int, n_classes: int, scale: float
) -> None:
    objective = logistic(seed, n_classes, scale=scale)
    start = np.zeros((6, n_classes), dtype=np.float32)

    found, _ = objective(minimise(objective, start, n_iterations=200, n_pairs=6))

    for column in range(n_classes):
        alone = Logistic(objective.rows, objective.positive[:, [column]], 0.5)
        best = minimize(lambda x, alone=alone: float(alone(x[:, None].astype(np.float32))[0][0]), np.zeros(6))
        assert found[column] <= best.fun * (1 + 1e-3) + 1e-3


def test_no_step_raises_the_loss_of_any_column() -> None:
    objective = logistic(3, 4, scale=20.0)
    start = np.zeros((6, 4), dtype=np.float32)

    losses = [objective(minimise(objective, start, n_iterations=steps, n_pairs=4))[0] for steps in range(12)]

    assert np.all(np.diff(losses, axis=0) <= 1e-9)


def test_a_column_at_its_minimum_stays_there_while_others_move() -> None:
    objective = logistic(5, 2)
    solved = minimise(objective, np.zeros((6, 2), dtype=np.float32), n_iterations=200, n_pairs=6)
    start = solved.copy()
    start[:, 1] = 0.0

    again = minimise(objective, start, n_iterations=200, n_pairs=6)

    np.testing.assert_allclose(again, solved, atol=2e-3)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_first_step_that_is_far_too_long_is_learned_from(seed: int) -> None:
    """A gradient says nothing of curvature: here even a thirty-second part of its length leads up the other side."""
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.normal(5, 1, 5_000), np.ones(5_000)], axis=1).astype(np.float32)
    objective = Logistic(rows, rng.random((5_000, 3)) < 1 / (1 + np.exp(-0.1 * (rows[:, :1] - 5))), 0.5)
    start = np.zeros((2, 3), dtype=np.float32)

    loss, gradient = objective(minimise(objective, start, n_iterations=25, n_pairs=6))

    assert np.all(loss < objective(start)[0])
    assert np.abs(gradient).max() < 1.0
