"""Which products a warm training looks at again: all new ones, and a replay of those that the incumbent knew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.folds import make_folds
from training.retraining.lessons import Lessons

N_FOLDS = 2


@dataclass(frozen=True)
class WarmOptions:
    """How a training begins where another ended.

    Parameters
    ----------
    epochs : over the new products and the replayed ones
    n_replayed : products of earlier trainings that are shown again; of those that people labelled, half at most
    rate : of learning, as a share of a cold training's
    """

    epochs: int = 3
    n_replayed: int = 5_000
    rate: float = 0.5


@dataclass(frozen=True)
class WarmPlan:
    """Which products are looked at again.

    Parameters
    ----------
    shown : their numbers, rising
    fold : (n_shown,), of a new product the half that is trained without it; -1 for a replayed one
    """

    shown: NDArray[np.int64]
    fold: NDArray[np.int64]


def make_plan(lessons: Lessons, *, is_new: NDArray[np.bool_], warm: WarmOptions, seed: int) -> WarmPlan:
    """All new products, and a replay of those that are not."""
    rng = np.random.default_rng(seed)
    answered = (lessons.human > 0).any(axis=1)
    from_people = some_of(np.flatnonzero(answered & ~is_new), warm.n_replayed // 2, rng)
    others = some_of(np.flatnonzero(~answered & ~is_new), warm.n_replayed - len(from_people), rng)
    shown = np.sort(np.concatenate([np.flatnonzero(is_new), from_people, others]))
    fold = np.full(len(shown), -1)
    new = np.flatnonzero(is_new[shown])
    if len(new):
        fold[new] = make_folds([lessons.products[row] for row in shown[new].tolist()], n_folds=N_FOLDS, seed=seed)
    return WarmPlan(shown, fold)


def some_of(rows: NDArray[np.int64], at_most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows drawn without replacement, in no order; all of them where there are no more."""
    return rng.permutation(rows)[:at_most]
