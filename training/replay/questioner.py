"""Which questions to ask next by a strategy, round after round.

The sampling itself is `service.acquisition`, the code that serves; nothing of it is repeated here. What the strategies
are is left to `training.replay.strategies`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from service.acquisition.cohort import SealedCohort
from service.acquisition.intake import AcquisitionRule, Intake, SealPolicy, ServedBundle
from service.acquisition.scores import Scores, score
from training.replay.strategies import Strategy

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
BATCH_SIZE = 2_000
THRESHOLD = 0.5
SPARE = 2  # products drawn for each that may be opened: some of their questions have been answered before


@dataclass(frozen=True)
class View:
    """What the committee says of the products that may be asked about.

    Parameters
    ----------
    rows : (n,), their rows in the pool
    members : (n, n_members, n_classes), in [0, 1]
    shares : (n_members,), weights of the members in the mean, adding up to 1
    claims : (n, n_classes), merchant labels: 1, 0 or NaN
    answered : (n, n_classes), True where the question has been asked before
    """

    rows: NDArray[np.int64]
    members: NDArray[np.float32]
    shares: NDArray[np.float64]
    claims: NDArray[np.float64]
    answered: NDArray[np.bool_]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Weighted mean of the members, (n, n_classes)."""
        return np.asarray(np.einsum("nmc,m->nc", self.members, self.shares))


@dataclass(frozen=True)
class Asked:
    """Questions drawn, each once; all arrays (n_questions,)."""

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    weights: NDArray[np.float64]  # importance weights W; 1 where the draw has no probabilities
    n_opened: int


class Questioner:
    """Draws questions by one strategy, round after round."""

    def __init__(
        self, strategy: Strategy, *, classes: Sequence[str], priors: NDArray[np.float64], n_answers: int, seed: int
    ) -> None:
        """Prepare to draw about `n_answers` questions a round."""
        self._strategy = strategy
        self._classes = tuple(classes)
        self._rng = np.random.default_rng(seed)
        self._n_each = min(strategy.n_questions or len(classes), len(classes))
        self._n_products = max(1, round(n_answers / self._n_each))
        self._n_answers = n_answers
        self._served = ServedBundle("replay", "id", self._classes, np.full(len(classes), THRESHOLD), priors)
        self._intake: Intake | None = None

    def ask(self, view: View) -> Asked:
        """Draw the questions of one round; those asked before are not asked again."""
        match self._strategy.rule, self._strategy.asks_whole_products:
            case "shipped", _:
                return self._shipped(view)
            case "top", False:
                return self._top_questions(view)
            case "top", True:
                return self._products(view, ranks=-self._scores(view).doubt.mean(axis=1))
            case _:
                return self._products(view, ranks=self._rng.random(len(view.rows)))

    def _products(self, view: View, *, ranks: NDArray[np.float64]) -> Asked:
        """The products of lowest rank that nobody has been asked about, each with as many random questions as due."""
        fresh = np.flatnonzero(~view.answered.any(axis=1))
        drawn = fresh[np.argsort(ranks[fresh], kind="stable")[: self._n_products]]
        keys = self._rng.random((len(drawn), len(self._classes)))
        classes = np.argsort(keys, axis=1)[:, : self._n_each]
        return _asked(view, np.repeat(drawn, classes.shape[1]), classes.ravel(), np.ones(classes.size))

    def _top_questions(self, view: View) -> Asked:
        """Of each class the questions of most doubt, equally many."""
        doubt = np.where(view.answered, -1.0, self._scores(view).doubt)
        n_each = max(1, self._n_answers // len(self._classes))
        rows = np.argsort(-doubt, axis=0, kind="stable")[:n_each]
        classes = np.broadcast_to(np.arange(len(self._classes)), rows.shape)
        return _asked(view, rows.ravel(), classes.ravel(), np.ones(rows.size))

    def _shipped(self, view: View) -> Asked:
        scores = self._scores(view)
        if self._intake is None:
            self._intake = self._new_intake(scores)
            self._run(self._intake, view, scores)  # earlier traffic: the running means are known by now
        return self._worked_through(view, self._run(self._intake, view, scores))

    def _worked_through(self, view: View, cohort: SealedCohort) -> Asked:
        """What annotators answer who take the highest priority first and stop when the round's answers are spent."""
        row_of = {_product_id(row): index for index, row in enumerate(view.rows)}
        class_of = {name: index for index, name in enumerate(self._classes)}
        asked: list[tuple[int, int, float, float]] = []
        threshold = cohort.threshold
        for product in cohort.products:
            if len(asked) >= self._n_answers:
                threshold = product.priority
                break
            row = row_of[product.record["id"]]
            for question in product.questions:
                class_index = class_of[question.class_name]
                if not view.answered[row, class_index]:
                    asked.append((row, class_index, product.weight, question.inclusion_probability))
        rows, classes, weights, chances = np.asarray(asked, dtype=np.float64).reshape(-1, 4).T
        stands_for = np.maximum(1.0, threshold / weights) / chances
        return _asked(view, rows.astype(np.int64), classes.astype(np.int64), stands_for)

    def _new_intake(self, scores: Scores) -> Intake:
        strategy = self._strategy
        budgets = None
        if strategy.unequal_budgets:
            doubt = np.sqrt(scores.doubt.mean(axis=0))
            bounded = np.clip(doubt / doubt.mean(), 0.5, 2.0)
            budgets = tuple((bounded / bounded.mean()).tolist())
        return Intake(
            new_salt=lambda: self._rng.bytes(16),
            policy=SealPolicy(max_products=2**40, max_age=timedelta(days=1), capacity=SPARE * self._n_products),
            rule=AcquisitionRule(eta=strategy.eta, floor=strategy.floor, n_questions=self._n_each, budgets=budgets),
        )

    def _run(self, intake: Intake, view: View, scores: Scores) -> SealedCohort:
        """One cohort of all products that may be asked about."""
        if not self._strategy.doubt:
            scores = replace(scores, doubt=np.zeros_like(scores.doubt))
        claims = None if np.isnan(view.claims).all() else view.claims
        probabilities = view.probabilities
        for start in range(0, len(view.rows), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            intake.take(
                served=self._served,
                records=[{"id": _product_id(row)} for row in view.rows[part]],
                probabilities=probabilities[part],
                scores=Scores(scores.uncertainty[part], scores.disagreement[part], scores.doubt[part]),
                now=BEGINNING,
                merchant_labels=None if claims is None else claims[part],
            )
        (sealed,) = intake.close(now=BEGINNING)
        return sealed

    def _scores(self, view: View) -> Scores:
        n_products, n_members, n_classes = view.members.shape
        return score(
            probabilities=view.probabilities,
            member_probabilities=view.members,
            present=np.ones((n_products, n_members), dtype=np.bool_),
            thresholds=self._served.thresholds,
            member_weights=np.repeat(view.shares[:, None], n_classes, axis=1),
            eta=self._strategy.eta,
        )


def _product_id(row: np.int64) -> str:
    return str(int(row))


def _asked(view: View, indices: NDArray[np.int64], classes: NDArray[np.int64], weights: NDArray[np.float64]) -> Asked:
    fresh = ~view.answered[indices, classes]
    return Asked(
        rows=view.rows[indices[fresh]],
        classes=classes[fresh],
        weights=weights[fresh],
        n_opened=len(np.unique(indices[fresh])),
    )
