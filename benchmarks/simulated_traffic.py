"""Traffic whose truth is known: products, a committee's calibrated probabilities, and an annotator to ask.

For simulations only; cohorts, weights and estimates are the service's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.acquisition.cohort import Batch, Cohort, SealedCohort, SealReason
from service.acquisition.sampling import fingerprint
from service.acquisition.scores import QuestionWeights, ScoreMeans, Scores, cubed, prospect, question_weights, score
from service.quality.answered_cohort import AnsweredCohort, AskedQuestions, Outcome
from service.quality.second_opinion import SURPRISING

Float = NDArray[np.float64]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
THRESHOLD = 0.4
SHARPNESS = 6.0  # spread of the log odds: most questions are plain, as on a real catalogue


@dataclass(frozen=True)
class Traffic:
    """Products with what the model says and what is true; arrays (n_products, n_classes)."""

    records: list[dict[str, Any]]
    fingerprints: list[bytes]
    probabilities: Float
    scores: Scores
    truth: NDArray[np.bool_]
    thresholds: float | Float = THRESHOLD

    @property
    def positive(self) -> NDArray[np.bool_]:
        """The served yes/no."""
        return self.probabilities >= self.thresholds

    @property
    def true_positives(self) -> Float:
        """Per class."""
        found: Float = (self.positive & self.truth).sum(axis=0, dtype=np.float64)
        return found

    @property
    def precision(self) -> Float:
        """Per class; NaN where nothing is served as positive."""
        return _rates(self.true_positives, self.positive)

    @property
    def recall(self) -> Float:
        """Per class; NaN where nothing is positive."""
        return _rates(self.true_positives, self.truth)


def _rates(parts: Float, whole: NDArray[np.bool_]) -> Float:
    with np.errstate(invalid="ignore"):
        rates: Float = parts / np.count_nonzero(whole, axis=0)
    return rates


def make_traffic(
    n_products: int, n_classes: int, *, rng: np.random.Generator, n_members: int = 5, honesty: float = 1.0
) -> Traffic:
    """Draw products: rates from 1 % to 35 %, a committee that disagrees in detail.

    Parameters
    ----------
    honesty : true log odds for each of the model's; 1 is calibrated, less is overconfident
    """
    rates = np.geomspace(0.01, 0.35, n_classes)
    evidence = SHARPNESS * (rng.normal(size=(n_products, n_classes)) + [NormalDist().inv_cdf(rate) for rate in rates])
    probabilities = 1.0 / (1.0 + np.exp(-evidence))
    dissent = rng.normal(scale=0.7, size=(n_products, n_members, n_classes))
    members = 1.0 / (1.0 + np.exp(-(evidence[:, None, :] + dissent)))
    records: list[dict[str, Any]] = [{"id": index} for index in range(n_products)]
    return Traffic(
        records=records,
        fingerprints=[fingerprint(record) for record in records],
        probabilities=probabilities,
        scores=score(
            probabilities=probabilities,
            member_probabilities=members,
            present=np.ones((n_products, n_members), dtype=bool),
            thresholds=np.full(n_classes, THRESHOLD),
            member_weights=np.full((n_members, n_classes), 1.0 / n_members),
        ),
        truth=rng.random(probabilities.shape) < 1.0 / (1.0 + np.exp(-honesty * evidence)),
    )


def make_batch(traffic: Traffic) -> Batch:
    """All products at once, weighed with the means that an earlier cohort of the same traffic would leave."""
    prospects = prospect(traffic.probabilities)
    doubt_cubed = cubed(traffic.scores.doubt)
    means = ScoreMeans(doubt_cubed.mean(axis=0), prospects.mean(axis=0), len(prospects))
    return Batch(
        fingerprints=traffic.fingerprints,
        records=traffic.records,
        probabilities=traffic.probabilities,
        positive=traffic.positive,
        doubt_cubed=doubt_cubed,
        prospects=prospects,
        weights=question_weights(traffic.scores, prospects, means=means),
    )


def part(batch: Batch, rows: slice, *, weights: Float | None = None) -> Batch:
    """Some of the products.

    Parameters
    ----------
    weights : (n_products, n_classes), of the questions about the whole batch in place of its own
    """
    weights = batch.weights.weights if weights is None else weights
    return Batch(
        fingerprints=batch.fingerprints[rows],
        records=batch.records[rows],
        probabilities=batch.probabilities[rows],
        positive=batch.positive[rows],
        doubt_cubed=batch.doubt_cubed[rows],
        prospects=batch.prospects[rows],
        weights=QuestionWeights(weights[rows], batch.weights.reasons[rows]),
    )


def seal(batch: Batch, *, salt: bytes, capacity: int, n_questions: int) -> SealedCohort:
    """One cohort of it all."""
    cohort = Cohort(
        salt=salt,
        bundle_version="simulated",
        id_field="id",
        classes=[str(index) for index in range(batch.probabilities.shape[1])],
        opened_at=NOON,
        capacity=capacity,
        n_questions=n_questions,
    )
    cohort.add(batch)
    return cohort.seal(now=NOON, reason=SealReason.COUNT)


def answer(sealed: SealedCohort, traffic: Traffic, *, n_completed: int | None = None) -> AnsweredCohort:
    """Let a flawless annotator complete the first products, by falling priority; all where None."""
    truth = traffic.truth

    def outcome(rank: int, product_index: int, class_index: int) -> Outcome:
        if n_completed is not None and rank >= n_completed:
            return Outcome.OPEN
        return Outcome.YES if truth[product_index, class_index] else Outcome.NO

    return arrange(sealed, outcome)


def answer_by_people(
    sealed: SealedCohort, traffic: Traffic, *, wrong: float, rng: np.random.Generator, second_opinions: bool = True
) -> AnsweredCohort:
    """Let annotators answer all of it who err on their own in a share of their answers, and ask surprising ones again.

    Parameters
    ----------
    wrong : share of their answers that are
    """
    flawless = answer(sealed, traffic)
    asked = flawless.asked
    truth = asked.outcomes == Outcome.YES
    first, second = truth ^ (rng.random((2, len(truth))) < wrong)
    surprising = np.where(first, asked.probabilities, 1.0 - asked.probabilities) < SURPRISING
    again = surprising & second_opinions
    n_yes = first.astype(np.int64) + (again & second)
    n_no = 1 + again.astype(np.int64) - n_yes
    outcomes = np.where(n_yes > n_no, Outcome.YES, np.where(n_no > n_yes, Outcome.NO, Outcome.UNSURE))
    counted = {"outcomes": outcomes, "n_yes": n_yes, "n_no": n_no}
    columns = {name: column.astype(np.int64) for name, column in counted.items()}
    return replace(flawless, asked=replace(asked, **columns))


def arrange(sealed: SealedCohort, outcome: Callable[[int, int, int], Outcome]) -> AnsweredCohort:
    """Columns of a cohort's questions, with an outcome for each (rank, product index, class index)."""
    rows = [(rank, product, question) for rank, product in enumerate(sealed.products) for question in product.questions]
    totals = sealed.totals
    outcomes = np.array(
        [outcome(rank, product.record["id"], int(question.class_name)) for rank, product, question in rows],
        dtype=np.int64,
    )
    return AnsweredCohort(
        n_products=totals.n_products,
        threshold=sealed.threshold,
        probability=totals.probability,
        positive=totals.positive,
        probability_of_positive=totals.probability_of_positive,
        asked=AskedQuestions(
            priorities=np.array([product.priority for _, product, _ in rows]),
            product_weights=np.array([product.weight for _, product, _ in rows]),
            class_indices=np.array([int(question.class_name) for _, _, question in rows]),
            inclusion_probabilities=np.array([question.inclusion_probability for _, _, question in rows]),
            probabilities=np.array([question.probability for _, _, question in rows]),
            positive=np.array([question.positive for _, _, question in rows]),
            outcomes=outcomes,
            n_yes=(outcomes == Outcome.YES).astype(np.int64),
            n_no=(outcomes == Outcome.NO).astype(np.int64),
        ),
    )
