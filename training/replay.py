"""The label-complexity study: how much a strategy learns from how many answers, on a catalogue whose truth is known.

Each run starts from the merchant labels, asks round after round, retrains warm, and is measured on the test part.
What is asked is left to `training.strategies`, what the results mean to `training.savings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluate import score
from training.heads import Committee, Lessons
from training.replay_pool import Pool
from training.strategies import THRESHOLD, Asked, Questioner, Strategy, View

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """How long a run is and who answers.

    Parameters
    ----------
    n_rounds : retrainings of a run
    n_answers : asked for a round where questions are the unit
    n_products : opened a round where whole products are, so that both kinds of run cover a like range of accuracy
    error_rate : share of an annotator's answers that are wrong
    human_weight : of an answer in the loss, against 1 for a merchant label
    """

    n_rounds: int = 8
    n_answers: int = 2_500
    n_products: int = 250
    error_rate: float = 0.02
    human_weight: float = 4.0


@dataclass(frozen=True)
class Point:
    """Where a run stands after a round; costs are sums since its beginning."""

    answers: int
    products_opened: int
    macro_ap: float
    rare_quarter_ap: float
    macro_f1: float
    train_seconds: float  # processor time of this round's training


@dataclass(frozen=True)
class Run:
    """One strategy with one seed; the first point is before any answer."""

    strategy: str
    seed: int
    points: tuple[Point, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything by name."""
        return asdict(self)


@dataclass(frozen=True)
class Start:
    """What all runs of one seed begin with: a committee trained from merchant labels alone."""

    committee: Committee
    seconds: float


def replay(
    pool: Pool, strategies: Sequence[Strategy], *, seeds: Sequence[int], plan: Plan, progress: Progress
) -> Iterator[Run]:
    """Run every strategy with every seed, one after the other."""
    n_done, n_runs = 0, len(strategies) * len(seeds)
    for seed in seeds:
        start = begin(pool, seed=seed)
        for strategy in strategies:
            yield run(pool, strategy, start=start, seed=seed, plan=plan)
            n_done += 1
            progress("replay", n_done, n_runs)


def begin(pool: Pool, *, seed: int) -> Start:
    """Train from merchant labels, as they are: heads this small cannot tell a wrong label from a rare class."""
    began = process_time()
    committee = Committee(pool.views, len(pool.classes), seed=seed)
    claims = Lessons(
        features=pool.features[: pool.n_train],
        answers=(pool.claims == 1).astype(np.float32),
        weights=(pool.claims >= 0).astype(np.float32),
    )
    committee.train(claims)
    return Start(committee, process_time() - began)


def run(pool: Pool, strategy: Strategy, *, start: Start, seed: int, plan: Plan) -> Run:
    """Replay one strategy with one seed."""
    rng = np.random.default_rng([seed, 1])
    committee = start.committee.copy()
    desk = _Desk(pool, error_rate=plan.error_rate, seed=seed)
    per_round = plan.n_products * len(pool.classes) if strategy.rule == "whole products" else plan.n_answers
    questioner = Questioner(
        strategy, classes=pool.classes, priors=_priors(pool), n_answers=per_round, seed=int(rng.integers(2**32))
    )
    points = [_measure(pool, committee, desk, seconds=start.seconds)]
    for _ in range(plan.n_rounds):
        desk.answer(questioner.ask(_view(pool, committee, desk, strategy)))
        began = process_time()
        committee.train(_lessons(pool, desk, strategy, plan), warm=True)
        points.append(_measure(pool, committee, desk, seconds=process_time() - began))
    return Run(strategy.name, seed, tuple(points))


class _Desk:
    """The simulated annotators: every question has one answer, right or wrong, and is counted once."""

    def __init__(self, pool: Pool, *, error_rate: float, seed: int) -> None:
        wrong = np.random.default_rng([seed, 2]).random(pool.truth.shape) < error_rate
        self.answers = np.where(wrong & (pool.truth >= 0), 1 - pool.truth, pool.truth)
        self.answered = np.zeros(pool.truth.shape, dtype=np.bool_)
        self.weights = np.zeros(pool.truth.shape)  # importance weights
        self.n_opened = 0

    def answer(self, asked: Asked) -> None:
        self.answered[asked.rows, asked.classes] = True
        self.weights[asked.rows, asked.classes] = asked.weights
        self.n_opened += asked.n_opened


def _view(pool: Pool, committee: Committee, desk: _Desk, strategy: Strategy) -> View:
    first = pool.n_train if strategy.asked_of == "stream" else 0
    last = pool.n_train if strategy.asked_of == "catalogue" else pool.n_askable
    rows = np.arange(first, last)
    claims = np.full((len(rows), len(pool.classes)), np.nan)
    if first == 0:
        claims[: pool.n_train] = np.where(pool.claims >= 0, pool.claims, np.nan)
    return View(rows, committee.predict(pool.features[rows]), claims, desk.answered[rows])


def _lessons(pool: Pool, desk: _Desk, strategy: Strategy, plan: Plan) -> Lessons:
    """Merchant labels, and over them the answers; "unsure" teaches nothing."""
    said = desk.answered & (desk.answers >= 0)
    rows = np.union1d(np.arange(pool.n_train), np.flatnonzero(said.any(axis=1)))
    answers = np.zeros(pool.truth.shape, dtype=np.float32)
    weights = np.zeros(pool.truth.shape, dtype=np.float32)
    answers[: pool.n_train] = pool.claims == 1
    weights[: pool.n_train] = pool.claims >= 0
    answers[said] = desk.answers[said]
    if said.any():
        importance = desk.weights[said] ** strategy.importance_exponent
        weights[said] = plan.human_weight * importance / importance.mean()
    return Lessons(pool.features[rows], answers[rows], weights[rows])


def _measure(pool: Pool, committee: Committee, desk: _Desk, *, seconds: float) -> Point:
    said = committee.predict(pool.features[pool.n_askable :]).mean(axis=1)
    scores = score(said, pool.test_truth, [THRESHOLD] * len(pool.classes))
    return Point(
        answers=int(desk.answered.sum()),
        products_opened=desk.n_opened,
        macro_ap=scores.macro_ap,
        rare_quarter_ap=scores.rare_quarter_ap,
        macro_f1=scores.macro_f1,
        train_seconds=seconds,
    )


def _priors(pool: Pool) -> NDArray[np.float64]:
    known = np.maximum(1, (pool.claims >= 0).sum(axis=0))
    return np.asarray((pool.claims == 1).sum(axis=0) / known, dtype=np.float64)
