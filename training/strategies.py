"""Which questions to ask next: the shipped sampling and what it is compared with, each as one `Strategy`.

The sampling itself is `service.acquisition`, the code that serves; nothing of it is repeated here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.acquisition.cohort import SealedCohort
from service.acquisition.intake import AcquisitionRule, Intake, SealPolicy, ServedBundle
from service.acquisition.scores import ETA, FLOOR, Scores, score
from service.errors import CatalogueError

Rule = Literal["whole products", "random questions", "shipped", "top questions"]
AskedOf = Literal["stream", "catalogue", "both"]

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
BATCH_SIZE = 2_000
THRESHOLD = 0.5


@dataclass(frozen=True)
class Strategy:
    """One way to spend answers.

    Parameters
    ----------
    rule : what is drawn
    n_questions : asked about each drawn product; all classes for whole products
    eta : share of disagreement in the doubt; NaN for whole products at random
    doubt : False leaves only likely positives and the floor in the shipped weights
    unequal_budgets : whether classes with more doubt get more of the answers
    importance_exponent : e of the weight W**e that an answer has in the loss
    """

    name: str
    rule: Rule = "shipped"
    n_questions: int = 5
    eta: float = ETA
    floor: float = FLOOR
    doubt: bool = True
    unequal_budgets: bool = False
    importance_exponent: float = 0.0
    asked_of: AskedOf = "stream"


SHIPPED = Strategy("shipped, 5 questions")
RANDOM_PRODUCTS = Strategy("random products", rule="whole products", eta=math.nan)
STRATEGIES: tuple[Strategy, ...] = (
    RANDOM_PRODUCTS,
    Strategy("uncertain products", rule="whole products", eta=0.0),
    Strategy("disputed products", rule="whole products", eta=1.0),
    Strategy("random questions", rule="random questions"),
    SHIPPED,
    replace(SHIPPED, name="shipped, 3 questions", n_questions=3),
    replace(SHIPPED, name="shipped, 10 questions", n_questions=10),
    replace(SHIPPED, name="uncertainty only", eta=0.0),
    replace(SHIPPED, name="disagreement only", eta=1.0),
    replace(SHIPPED, name="likely positives", doubt=False),
    Strategy("top questions", rule="top questions"),
    replace(SHIPPED, name="unequal budgets", unequal_budgets=True),
    replace(SHIPPED, name="loss weights W^0.5", importance_exponent=0.5),
    replace(SHIPPED, name="loss weights W", importance_exponent=1.0),
    replace(SHIPPED, name="doubtful merchant labels", asked_of="catalogue"),
    replace(SHIPPED, name="stream and catalogue", asked_of="both"),
)


def named(names: Sequence[str]) -> tuple[Strategy, ...]:
    """Strategies by their names, random products always among them; all of them where no name is given.

    Raises
    ------
    CatalogueError
        If there is no such strategy.
    """
    known = {strategy.name: strategy for strategy in STRATEGIES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CatalogueError(f"there is no strategy {unknown[0]!r}; there are {'; '.join(known)}")
    wanted = {RANDOM_PRODUCTS.name, *names} if names else set(known)
    return tuple(strategy for strategy in STRATEGIES if strategy.name in wanted)


@dataclass(frozen=True)
class View:
    """What the committee says of the products that may be asked about.

    Parameters
    ----------
    rows : (n,), their rows in the pool
    members : (n, n_members, n_classes), in [0, 1]
    claims : (n, n_classes), merchant labels: 1, 0 or NaN
    answered : (n, n_classes), True where the question has been asked before
    """

    rows: NDArray[np.int64]
    members: NDArray[np.float32]
    claims: NDArray[np.float64]
    answered: NDArray[np.bool_]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Mean of the members, (n, n_classes)."""
        return np.asarray(self.members.mean(axis=1, dtype=np.float64))


@dataclass(frozen=True)
class Asked:
    """Questions drawn, each once; all arrays (n_questions,). A product stands in `opened` once a visit."""

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
        per_product = strategy.n_questions if strategy.rule != "whole products" else len(classes)
        self._n_products = max(1, round(n_answers / per_product))
        self._n_answers = n_answers
        self._served = ServedBundle("replay", self._classes, np.full(len(classes), THRESHOLD), priors)
        self._intake: Intake | None = None

    def ask(self, view: View) -> Asked:
        """Draw the questions of one round; those asked before are not asked again."""
        match self._strategy.rule:
            case "whole products":
                return self._whole_products(view)
            case "random questions":
                return self._random_questions(view)
            case "top questions":
                return self._top_questions(view)
            case _:
                return self._shipped(view)

    def _whole_products(self, view: View) -> Asked:
        fresh = np.flatnonzero(~view.answered.any(axis=1))
        if math.isnan(self._strategy.eta):
            ranks = self._rng.random(len(fresh))
        else:
            ranks = -self._scores(view).doubt[fresh].mean(axis=1)
        drawn = fresh[np.argsort(ranks, kind="stable")[: self._n_products]]
        n_classes = len(self._classes)
        rows, classes = np.repeat(drawn, n_classes), np.tile(np.arange(n_classes), len(drawn))
        return _asked(view, rows, classes, np.ones(len(rows)))

    def _random_questions(self, view: View) -> Asked:
        drawn = self._rng.permutation(len(view.rows))[: self._n_products]
        keys = self._rng.random((len(drawn), len(self._classes)))
        classes = np.argsort(keys, axis=1)[:, : self._strategy.n_questions]
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
        cohort = self._run(self._intake, view, scores)
        rows, classes, weights = [], [], []
        row_of = {_product_id(row): index for index, row in enumerate(view.rows)}
        class_of = {name: index for index, name in enumerate(self._classes)}
        for product in cohort.products:
            stands_for = max(1.0, cohort.threshold / product.weight)
            for question in product.questions:
                rows.append(row_of[product.record["id"]])
                classes.append(class_of[question.class_name])
                weights.append(stands_for / question.inclusion_probability)
        return _asked(view, np.asarray(rows), np.asarray(classes), np.asarray(weights))

    def _new_intake(self, scores: Scores) -> Intake:
        strategy = self._strategy
        budgets = None
        if strategy.unequal_budgets:
            doubt = np.sqrt(scores.doubt.mean(axis=0))
            bounded = np.clip(doubt / doubt.mean(), 0.5, 2.0)
            budgets = tuple((bounded / bounded.mean()).tolist())
        return Intake(
            new_salt=lambda: self._rng.bytes(16),
            policy=SealPolicy(max_products=2**40, max_age=timedelta(days=1), capacity=self._n_products),
            rule=AcquisitionRule(
                eta=strategy.eta, floor=strategy.floor, n_questions=strategy.n_questions, budgets=budgets
            ),
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
        eta = self._strategy.eta
        return score(
            probabilities=view.probabilities,
            member_probabilities=view.members,
            present=np.ones((n_products, n_members), dtype=np.bool_),
            thresholds=self._served.thresholds,
            member_weights=np.full((n_members, n_classes), 1.0 / n_members),
            eta=ETA if math.isnan(eta) else eta,
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
