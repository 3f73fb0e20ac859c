"""The label-complexity study: how much a strategy learns from how many answers, on a catalogue whose truth is known.

Each run starts from the merchant labels, asks round after round, retrains warm, and is measured on the test part. What
is asked is left to `training.replay.questioner`, running many to `training.replay.replay_shelf`, what the results mean
to `training.replay.savings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.quality.weighed_answers import effective_sample_size
from training.catalogues.cells import UNKNOWN
from training.evaluate import score
from training.noise import label_trust
from training.replay.heads import Committee, Float, Lessons, fit_head, trained
from training.replay.questioner import THRESHOLD, Asked, Questioner, View
from training.replay.replay_pool import Pool
from training.replay.strategies import Strategy

Ask = Callable[[View], Asked]


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

    n_rounds: int = 10
    n_answers: int = 2_000
    n_products: int = 200
    error_rate: float = 0.02
    human_weight: float = 4.0


@dataclass(frozen=True)
class Point:
    """Where a run stands after a round; costs are sums since its beginning.

    Parameters
    ----------
    effective_answers : effective sample size of the answers by their importance weights, what estimates can use
    """

    answers: int
    products_opened: int
    effective_answers: float
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

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Run:
        """The run that `to_json` wrote."""
        return cls(stored["strategy"], stored["seed"], tuple(Point(**point) for point in stored["points"]))


@dataclass(frozen=True)
class Start:
    """What all runs of one seed begin with: a committee trained from merchant labels alone.

    Parameters
    ----------
    trust : (n_train, n_classes), how far each merchant label is believed
    """

    committee: Committee
    trust: Float
    seconds: float


def begin(pool: Pool, *, seed: int) -> Start:
    """Train from merchant labels, each believed as far as a head that never saw it gives it a chance."""
    began = process_time()
    features, answers = pool.features[: pool.n_train], (pool.claims == 1).astype(np.float32)
    trust = label_trust(pool.claims, _out_of_fold(pool, seed=seed))
    committee = trained(pool.views, Lessons(features, answers, trust))
    return Start(committee, trust, process_time() - began)


def _out_of_fold(pool: Pool, *, seed: int) -> Float:
    """Probabilities of the merchants' labels by a head trained on the other half of the products."""
    in_first = np.random.default_rng([seed, 0]).permutation(pool.n_train) < pool.n_train // 2
    said = np.zeros(pool.claims.shape, dtype=np.float32)
    everything = slice(0, pool.features.shape[1])
    for half in (in_first, ~in_first):
        other, own = np.flatnonzero(~half), np.flatnonzero(half)
        claims = pool.claims[other]
        known = (claims != UNKNOWN).astype(np.float32)
        head = fit_head(Lessons(pool.features[other], (claims == 1).astype(np.float32), known), everything)
        said[own] = Committee((everything,), (head,)).predict(pool.features[own])[:, 0]
    return said


def run(
    pool: Pool,
    strategy: Strategy,
    *,
    start: Start,
    seed: int,
    plan: Plan,
    ask: Ask | None = None,
    desk: Desk | None = None,
) -> Run:
    """Replay one strategy with one seed.

    Parameters
    ----------
    ask : draws the questions of a round, where it is not the strategy's own way
    desk : keeps the answers, for who wants them after the run
    """
    committee = start.committee
    desk = desk or Desk(pool, error_rate=plan.error_rate, seed=seed)
    ask = ask or questioner(pool, strategy, seed=seed, plan=plan).ask
    points = [_measure(pool, committee, desk, seconds=start.seconds)]
    for _ in range(plan.n_rounds):
        desk.answer(ask(_view(pool, committee, desk, strategy)))
        began = process_time()
        committee = committee.retrained(_lessons(pool, desk, strategy, plan, start.trust))
        points.append(_measure(pool, committee, desk, seconds=process_time() - began))
    return Run(strategy.name, seed, tuple(points))


def questioner(pool: Pool, strategy: Strategy, *, seed: int, plan: Plan) -> Questioner:
    """Who asks by a strategy in a run of a seed."""
    draw = int(np.random.default_rng([seed, 1]).integers(2**32))
    per_round = plan.n_products * len(pool.classes) if strategy.asks_whole_products else plan.n_answers
    return Questioner(strategy, classes=pool.classes, priors=_priors(pool), n_answers=per_round, seed=draw)


class Desk:
    """The simulated annotators: every question has one answer, right or wrong, and is counted once."""

    def __init__(self, pool: Pool, *, error_rate: float, seed: int) -> None:
        """Settle every answer beforehand, so that it does not depend on when a question is asked."""
        wrong = np.random.default_rng([seed, 2]).random(pool.truth.shape) < error_rate
        self.answers = np.where(wrong & (pool.truth >= 0), 1 - pool.truth, pool.truth)
        self.answered = np.zeros(pool.truth.shape, dtype=np.bool_)
        self.weights = np.zeros(pool.truth.shape)  # importance weights
        self.n_opened = 0

    def answer(self, asked: Asked) -> None:
        """Take in the questions of a round."""
        self.answered[asked.rows, asked.classes] = True
        self.weights[asked.rows, asked.classes] = asked.weights
        self.n_opened += asked.n_opened


def _view(pool: Pool, committee: Committee, desk: Desk, strategy: Strategy) -> View:
    first = pool.n_train if strategy.asked_of == "stream" else 0
    last = pool.n_train if strategy.asked_of == "catalogue" else pool.n_askable
    rows = np.arange(first, last)
    claims = np.full((len(rows), len(pool.classes)), np.nan)
    if first == 0:
        claims[: pool.n_train] = np.where(pool.claims >= 0, pool.claims, np.nan)
    return View(rows, committee.predict(pool.features[rows]), committee.shares, claims, desk.answered[rows])


def _lessons(pool: Pool, desk: Desk, strategy: Strategy, plan: Plan, trust: Float) -> Lessons:
    """Merchant labels, and over them the answers; "unsure" teaches nothing."""
    said = desk.answered & (desk.answers >= 0)
    rows = np.union1d(np.arange(pool.n_train), np.flatnonzero(said.any(axis=1)))
    answers = np.zeros(pool.truth.shape, dtype=np.float32)
    weights = np.zeros(pool.truth.shape, dtype=np.float32)
    answers[: pool.n_train] = pool.claims == 1
    weights[: pool.n_train] = trust
    answers[said] = desk.answers[said]
    if said.any():
        importance = desk.weights[said] ** strategy.importance_exponent
        human_weight = plan.human_weight if strategy.human_weight is None else strategy.human_weight
        weights[said] = human_weight * importance / importance.mean()
    return Lessons(pool.features[rows], answers[rows], weights[rows])


def _measure(pool: Pool, committee: Committee, desk: Desk, *, seconds: float) -> Point:
    said = committee.probabilities(pool.features[pool.n_askable :])
    scores = score(said.astype(np.float32), pool.test_truth, [THRESHOLD] * len(pool.classes))
    return Point(
        answers=int(desk.answered.sum()),
        products_opened=desk.n_opened,
        effective_answers=effective_sample_size(desk.weights),
        macro_ap=scores.macro_ap,
        rare_quarter_ap=scores.rare_quarter_ap,
        macro_f1=scores.macro_f1,
        train_seconds=seconds,
    )


def _priors(pool: Pool) -> NDArray[np.float64]:
    known = np.maximum(1, (pool.claims >= 0).sum(axis=0))
    return np.asarray((pool.claims == 1).sum(axis=0) / known, dtype=np.float64)
