"""What a cohort promises: a bounded, repeatable draw that no batch boundary, order or repetition changes."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.acquisition.cohort import Batch, Cohort, SealedCohort, SealReason
from service.acquisition.sampling import fingerprint, inclusion_probabilities, uniforms
from service.acquisition.scores import QuestionWeights, Reason
from service.quality.cohort_records import new_cohort

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLASSES = ("black", "kids", "formal", "shoes")


def make_traffic(n_products: int, *, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    shape = (n_products, len(CLASSES))
    records = [{"id": f"{seed}-{index}", "title": "shirt"} for index in range(n_products)]
    probabilities = rng.random(shape).astype(np.float32)
    return Batch(
        fingerprints=[fingerprint(record) for record in records],
        records=records,
        probabilities=probabilities,
        positive=probabilities >= 0.5,
        doubt_cubed=rng.random(shape),
        prospects=rng.random(shape),
        weights=QuestionWeights(np.exp(rng.normal(size=shape)), rng.integers(0, 5, shape).astype(np.uint8)),
    )


def pick(batch: Batch, rows: list[int]) -> Batch:
    return Batch(
        fingerprints=[batch.fingerprints[row] for row in rows],
        records=[batch.records[row] for row in rows],
        probabilities=batch.probabilities[rows],
        positive=batch.positive[rows],
        doubt_cubed=batch.doubt_cubed[rows],
        prospects=batch.prospects[rows],
        weights=QuestionWeights(batch.weights.weights[rows], batch.weights.reasons[rows]),
    )


def seal(*batches: Batch, capacity: int = 5, n_questions: int = 2, salt: bytes = b"salt") -> SealedCohort:
    cohort = Cohort(
        salt=salt,
        bundle_version="first",
        id_field="id",
        classes=CLASSES,
        opened_at=NOON,
        capacity=capacity,
        n_questions=n_questions,
    )
    for batch in batches:
        cohort.add(batch)
    return cohort.seal(now=NOON, reason=SealReason.COUNT)


def essence(sealed: SealedCohort) -> dict[str, Any]:
    return {
        "threshold": sealed.threshold,
        "n_products": sealed.totals.n_products,
        "products": sealed.products,
    }


def test_the_products_of_highest_priority_are_kept_and_the_next_one_is_the_threshold() -> None:
    traffic = make_traffic(40)
    product_weights = traffic.weights.weights.sum(axis=1)
    u = uniforms(traffic.fingerprints, salt=b"salt")
    order = np.argsort(-product_weights / u)

    sealed = seal(traffic)

    assert [product.record for product in sealed.products] == [traffic.records[row] for row in order[:5]]
    assert [product.priority for product in sealed.products] == pytest.approx((product_weights / u)[order[:5]])
    assert sealed.threshold == pytest.approx((product_weights / u)[order[5]])


def test_questions_carry_all_that_an_estimate_needs() -> None:
    traffic = make_traffic(40)

    product = seal(traffic).products[0]

    row = traffic.records.index(product.record)
    chances = inclusion_probabilities(traffic.weights.weights[[row]], 2)[0]
    assert len(product.questions) == 2
    assert product.weight == pytest.approx(traffic.weights.weights[row].sum())
    for question in product.questions:
        column = CLASSES.index(question.class_name)
        assert question.weight == traffic.weights.weights[row, column]
        assert question.inclusion_probability == pytest.approx(chances[column])
        assert question.probability == pytest.approx(traffic.probabilities[row, column])
        assert question.positive == traffic.positive[row, column]
        assert question.reason is Reason(traffic.weights.reasons[row, column])


@settings(deadline=None)
@given(st.permutations(range(30)), st.lists(st.integers(1, 29), max_size=5))
def test_neither_order_nor_batches_nor_repetition_change_the_draw(order: list[int], cuts: list[int]) -> None:
    traffic = make_traffic(30)
    bounds = [0, *sorted(cuts), 30]
    parts = [pick(traffic, order[start:stop]) for start, stop in pairwise(bounds)]

    sealed = seal(*parts, traffic, pick(traffic, order[:7]))

    assert essence(sealed) == essence(seal(traffic))
    assert sealed.totals.probability == pytest.approx(traffic.probabilities.sum(axis=0), rel=1e-5)


def test_a_product_repeated_in_one_batch_counts_once() -> None:
    traffic = make_traffic(3)

    sealed = seal(pick(traffic, [0, 1, 1, 2, 0]))

    assert sealed.totals.n_products == 3
    assert len(sealed.products) == 3
    assert sealed.totals.positive == pytest.approx(traffic.positive.sum(axis=0))


def test_totals_are_sums_over_all_products_drawn_or_not() -> None:
    traffic = make_traffic(200)

    totals = seal(traffic).totals

    assert totals.n_products == 200
    assert totals.probability == pytest.approx(traffic.probabilities.astype(np.float64).sum(axis=0))
    assert totals.positive == pytest.approx(traffic.positive.sum(axis=0))
    assert totals.probability_of_positive == pytest.approx(
        (traffic.probabilities.astype(np.float64) * traffic.positive).sum(axis=0)
    )
    assert totals.doubt_cubed == pytest.approx(traffic.doubt_cubed.sum(axis=0))
    assert totals.prospect == pytest.approx(traffic.prospects.sum(axis=0))


def test_a_cohort_smaller_than_its_capacity_keeps_everything_and_has_no_threshold() -> None:
    sealed = seal(make_traffic(5), capacity=5)

    assert len(sealed.products) == 5
    assert sealed.threshold == 0.0


def test_the_same_traffic_under_another_salt_is_another_draw() -> None:
    traffic = make_traffic(200)

    assert essence(seal(traffic, salt=b"one")) == essence(seal(traffic, salt=b"one"))
    assert essence(seal(traffic, salt=b"one")) != essence(seal(traffic, salt=b"two"))


def test_an_empty_cohort_seals_to_nothing() -> None:
    sealed = seal()

    assert sealed.products == ()
    assert sealed.totals.n_products == 0


def test_a_batch_can_be_overwritten_after_it_was_added() -> None:
    traffic = make_traffic(10)
    cohort = Cohort(
        salt=b"salt", bundle_version="first", id_field="id", classes=CLASSES, opened_at=NOON, capacity=5, n_questions=2
    )
    cohort.add(traffic)
    before = cohort.seal(now=NOON, reason=SealReason.AGE)

    for array in (traffic.probabilities, traffic.positive, traffic.weights.weights, traffic.weights.reasons):
        array[:] = 0

    assert cohort.seal(now=NOON, reason=SealReason.AGE).products == before.products


def test_a_sealed_cohort_becomes_the_queues_rows() -> None:
    sealed = seal(make_traffic(40))

    row = new_cohort(sealed, worker="one")

    assert (row.id, row.bundle_version, row.worker, row.sealed_at) == (b"salt".hex(), "first", "one", NOON)
    assert (row.n_products, row.tau) == (40, sealed.threshold)
    assert row.counters["classes"] == list(CLASSES)
    assert row.counters["positive"] == sealed.totals.positive.tolist()
    first, sampled = row.tasks[0], sealed.products[0]
    assert (first.fingerprint, first.product_id) == (sampled.fingerprint.hex(), sampled.record["id"])
    assert (first.priority, first.weight) == (sampled.priority, sampled.weight)
    assert [q.reason for q in first.questions] == [q.reason.words for q in sampled.questions]
    assert [q.inclusion for q in first.questions] == [q.inclusion_probability for q in sampled.questions]


def test_a_cohort_that_kept_everything_becomes_a_row_without_a_threshold() -> None:
    assert new_cohort(seal(make_traffic(3)), worker="one").tau is None
