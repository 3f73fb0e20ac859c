"""A cohort: a run of one worker's traffic under one bundle, from which products and questions are drawn for people.

It holds a bounded number of products however long the run. When to seal it is left to `service.acquisition.intake`,
keeping what was drawn to `service.label_queue`, estimating from the answers to `service.quality.live_quality`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from heapq import heappush, heappushpop
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.acquisition.sampling import draw_questions, inclusion_probabilities, uniforms
from service.acquisition.scores import N_QUESTIONS, QuestionWeights, Reason

Float = NDArray[np.float64]


class SealReason(StrEnum):
    """Why a cohort takes no more products."""

    COUNT = "count"
    AGE = "age"
    SWAP = "swap"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Batch:
    """A classified batch on its way into a cohort; all arrays (n_products, n_classes).

    Parameters
    ----------
    fingerprints : of `service.acquisition.sampling.fingerprint`
    records : the products as they were posted
    probabilities : in [0, 1], calibrated
    positive : the served yes/no
    doubt_cubed, prospects : in [0, 1], the two parts of the weights, for the running means
    """

    fingerprints: Sequence[bytes]
    records: Sequence[Mapping[str, Any]]
    probabilities: NDArray[np.floating[Any]]
    positive: NDArray[np.bool_]
    doubt_cubed: Float
    prospects: Float
    weights: QuestionWeights


@dataclass(frozen=True, slots=True)
class Question:
    """One product, one class, yes or no: with everything an unbiased estimate needs to know of its draw."""

    class_name: str
    weight: float  # w of the question, positive
    inclusion_probability: float  # that this question is asked if its product is opened, in (0, 1]
    probability: float  # the model's, calibrated
    positive: bool  # the served yes/no
    reason: Reason


@dataclass(frozen=True, slots=True)
class SampledProduct:
    """A product drawn for labelling, with the questions to ask about it."""

    fingerprint: bytes
    record: Mapping[str, Any]
    weight: float  # w, sum of the weights of all its questions
    priority: float  # q = w / u
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class CohortTotals:
    """Sums over all products of a cohort, drawn or not; arrays (n_classes,)."""

    n_products: int
    probability: Float
    positive: Float
    probability_of_positive: Float  # of the probabilities where the served answer is yes
    doubt_cubed: Float
    prospect: Float


@dataclass(frozen=True, slots=True)
class SealedCohort:
    """What a finished run of traffic leaves behind; its products come in order of falling priority.

    Parameters
    ----------
    id_field : the column of a record that holds the product's id
    threshold : the highest priority left out, 0 if none was; a product stands for max(1, threshold / weight) of them
    """

    salt: bytes
    bundle_version: str
    id_field: str
    classes: tuple[str, ...]
    opened_at: datetime
    sealed_at: datetime
    reason: SealReason
    threshold: float
    totals: CohortTotals
    products: tuple[SampledProduct, ...]

    @property
    def cohort_id(self) -> str:
        """The salt, which no two cohorts share, in hexadecimal."""
        return self.salt.hex()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A row of a batch, copied so that the batch can go."""

    fingerprint: bytes
    record: Mapping[str, Any]
    weight: float
    probabilities: Float
    positive: NDArray[np.bool_]
    question_weights: Float
    reasons: NDArray[np.uint8]


class Cohort:
    """An open cohort. Not for several threads; products come from one event loop.

    Products: priority sampling, q = w / u with u a keyed hash; the `capacity` products of highest q are drawn and the
    next q is the threshold. Questions: a fixed number of each drawn product, at sealing.

    Source: Duffield, Lund, Thorup 2007, Priority sampling for estimation of arbitrary subset sums.

    Parameters
    ----------
    salt : 1 to 64 random bytes of this cohort's own; the same salt and traffic give the same draw
    id_field : the column of a record that holds the product's id
    capacity : how many products are drawn, at least 1
    """

    def __init__(
        self,
        *,
        salt: bytes,
        bundle_version: str,
        id_field: str,
        classes: Sequence[str],
        opened_at: datetime,
        capacity: int,
        n_questions: int = N_QUESTIONS,
    ) -> None:
        self.bundle_version = bundle_version
        self.id_field = id_field
        self.classes = tuple(classes)
        self.opened_at = opened_at
        self._salt = salt
        self._capacity = capacity
        self._n_questions = n_questions
        self._seen: set[bytes] = set()
        self._kept: list[tuple[float, bytes, _Kept]] = []  # a heap, lowest priority first
        self._sums = np.zeros((5, len(self.classes)))

    @property
    def n_products(self) -> int:
        """Distinct products so far."""
        return len(self._seen)

    def add(self, batch: Batch) -> None:
        """Take in a batch; products that this cohort has seen before are passed over."""
        fresh = [index for index, one in enumerate(batch.fingerprints) if self._is_new(one)]
        if not fresh:
            return
        rows = slice(None) if len(fresh) == len(batch.fingerprints) else fresh
        self._count(batch, rows)
        weights = batch.weights.weights[rows].sum(axis=1)
        priorities = weights / uniforms([batch.fingerprints[index] for index in fresh], salt=self._salt)
        for row in self._contenders(priorities):
            self._offer(batch, fresh[row], float(weights[row]), float(priorities[row]))

    def seal(self, *, now: datetime, reason: SealReason) -> SealedCohort:
        """Draw the questions and hand over; the cohort itself is left as it was."""
        ranked = sorted(self._kept, key=lambda entry: entry[:2], reverse=True)
        drawn = ranked[: self._capacity]
        return SealedCohort(
            salt=self._salt,
            bundle_version=self.bundle_version,
            id_field=self.id_field,
            classes=self.classes,
            opened_at=self.opened_at,
            sealed_at=now,
            reason=reason,
            threshold=ranked[self._capacity][0] if len(ranked) > self._capacity else 0.0,
            totals=CohortTotals(self.n_products, *self._sums.copy()),
            products=self._sample([(priority, kept) for priority, _, kept in drawn]),
        )

    def _is_new(self, fingerprint: bytes) -> bool:
        before = len(self._seen)
        self._seen.add(fingerprint)
        return len(self._seen) > before

    def _count(self, batch: Batch, rows: slice | list[int]) -> None:
        probabilities = batch.probabilities[rows].astype(np.float64)
        positive = batch.positive[rows]
        self._sums += (
            probabilities.sum(axis=0),
            positive.sum(axis=0),
            (probabilities * positive).sum(axis=0),
            batch.doubt_cubed[rows].sum(axis=0),
            batch.prospects[rows].sum(axis=0),
        )

    def _contenders(self, priorities: Float) -> list[int]:
        """Rows that may be drawn: once as many are kept as needed, hardly any, so the rest costs no step of Python."""
        if len(self._kept) <= self._capacity:
            return list(range(len(priorities)))
        rows: list[int] = np.flatnonzero(priorities >= self._kept[0][0]).tolist()
        return rows

    def _offer(self, batch: Batch, index: int, weight: float, priority: float) -> None:
        fingerprint = batch.fingerprints[index]
        is_full = len(self._kept) > self._capacity
        if is_full and priority < self._kept[0][0]:
            return
        kept = _Kept(
            fingerprint=fingerprint,
            record=batch.records[index],
            weight=weight,
            probabilities=batch.probabilities[index].astype(np.float64),
            positive=batch.positive[index].copy(),
            question_weights=batch.weights.weights[index].copy(),
            reasons=batch.weights.reasons[index].copy(),
        )
        (heappushpop if is_full else heappush)(self._kept, (priority, fingerprint, kept))

    def _sample(self, drawn: list[tuple[float, _Kept]]) -> tuple[SampledProduct, ...]:
        if not drawn:
            return ()
        weights = np.stack([kept.question_weights for _, kept in drawn])
        chances = inclusion_probabilities(weights, self._n_questions)
        asked = draw_questions(chances, [kept.fingerprint for _, kept in drawn], salt=self._salt)
        return tuple(
            SampledProduct(
                fingerprint=kept.fingerprint,
                record=kept.record,
                weight=kept.weight,
                priority=priority,
                questions=self._questions(kept, chances[row], np.flatnonzero(asked[row])),
            )
            for row, (priority, kept) in enumerate(drawn)
        )

    def _questions(self, kept: _Kept, chances: Float, asked: NDArray[np.intp]) -> tuple[Question, ...]:
        likeliest_first = sorted(asked.tolist(), key=lambda index: -kept.question_weights[index])
        return tuple(
            Question(
                class_name=self.classes[index],
                weight=float(kept.question_weights[index]),
                inclusion_probability=float(chances[index]),
                probability=float(kept.probabilities[index]),
                positive=bool(kept.positive[index]),
                reason=Reason(kept.reasons[index]),
            )
            for index in likeliest_first
        )
