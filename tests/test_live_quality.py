"""Live quality: exact where everything was answered, honest where little was, and right on simulated traffic."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.recover_rates import rates
from benchmarks.simulated_traffic import Traffic, answer, arrange, make_batch, make_traffic, seal
from service.acquisition.cohort import SealedCohort
from service.label_queue.rows import NewQuestion, NewTask, SampledQuestion, SampledTask, StoredCohort, Verdict
from service.quality.answered_cohort import LEAST_PREFIX, Outcome, SelfCheck, importance_weights
from service.quality.cohort_records import answered_cohort, answered_cohorts, exported_questions, new_cohort
from service.quality.live_quality import live_quality

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return make_traffic(400, 6, rng=np.random.default_rng(0))


def everything(traffic: Traffic) -> SealedCohort:
    """A cohort that keeps every product and asks every question."""
    return seal(make_batch(traffic), salt=b"all", capacity=400, n_questions=6)


def some(traffic: Traffic, *, salt: bytes = b"some", capacity: int = 100) -> SealedCohort:
    return seal(make_batch(traffic), salt=salt, capacity=capacity, n_questions=2)


def test_when_every_question_is_answered_the_rates_are_exact(traffic: Traffic) -> None:
    quality = live_quality([answer(everything(traffic), traffic)], n_classes=6)

    for index, one in enumerate(quality.classes):
        assert one.true_positives == pytest.approx(traffic.true_positives[index])
        assert one.true_positives_variance == 0.0
        assert one.positives == pytest.approx(traffic.truth[:, index].sum())
        assert one.n_answers == 400
        assert one.effective_sample_size == pytest.approx(400)
        for estimate, truth in ((one.precision, traffic.precision), (one.recall, traffic.recall)):
            assert estimate.value == pytest.approx(truth[index])
            assert (estimate.lower, estimate.upper) == pytest.approx((truth[index], truth[index]), abs=1e-3)
            assert estimate.sufficient
    assert quality.macro_precision.value == pytest.approx(traffic.precision.mean())
    assert quality.macro_recall.value == pytest.approx(traffic.recall.mean())
    assert quality.self_check == SelfCheck(0.0, 0.0)


@given(st.integers(0, 2**32))
@settings(deadline=None)
def test_a_class_of_which_nobody_found_a_positive_has_no_recall(seed: int) -> None:
    """Every product was asked about: what was expected and what came cancel, but for rounding."""
    drawn = make_traffic(60, 3, rng=np.random.default_rng(seed))
    drawn.truth[:, 0], drawn.truth[0, 1:] = False, True

    quality = live_quality([answer(everything(drawn), drawn)], n_classes=3)

    assert quality.classes[0].recall.value is None
    assert quality.macro_recall.value == pytest.approx(drawn.recall[1:].mean())


def test_estimates_are_those_of_the_formulas(traffic: Traffic) -> None:
    """A slower version: one loop over the questions of a cohort that is completed in part."""
    sealed = some(traffic)
    quality = live_quality([answer(sealed, traffic, n_completed=60)], n_classes=6)

    threshold = sealed.products[60].priority
    true_positives, positives = sealed.totals.probability_of_positive.copy(), sealed.totals.probability.copy()
    for product in sealed.products[:60]:
        for question in product.questions:
            index = int(question.class_name)
            weight = max(1.0, threshold / product.weight) / question.inclusion_probability
            surprise = traffic.truth[product.record["id"], index] - question.probability
            true_positives[index] += weight * question.positive * surprise
            positives[index] += weight * surprise
    assert [one.true_positives for one in quality.classes] == pytest.approx(true_positives)
    assert [one.positives for one in quality.classes] == pytest.approx(positives)
    assert quality.n_answers == 120


def test_cohorts_that_are_hardly_begun_are_left_out(traffic: Traffic) -> None:
    done = answer(some(traffic), traffic)
    begun = answer(some(traffic, salt=b"begun"), traffic, n_completed=LEAST_PREFIX - 1)

    assert live_quality([done, begun], n_classes=6) == live_quality([done], n_classes=6)


def test_a_small_cohort_counts_when_all_of_it_is_completed(traffic: Traffic) -> None:
    sealed = seal(make_batch(make_traffic(3, 6, rng=np.random.default_rng(1))), salt=b"3", capacity=5, n_questions=6)

    assert live_quality([answer(sealed, traffic)], n_classes=6).n_products == 3
    assert live_quality([answer(sealed, traffic, n_completed=2)], n_classes=6).n_products == 0


def test_without_answers_nothing_is_claimed(traffic: Traffic) -> None:
    quality = live_quality([answer(some(traffic), traffic, n_completed=0)], n_classes=6)

    assert (quality.n_products, quality.n_answers) == (0, 0)
    for estimate in (quality.macro_precision, quality.macro_recall, quality.classes[0].precision):
        assert (estimate.value, estimate.lower, estimate.upper, estimate.sufficient) == (None, 0.0, 1.0, False)
    assert not quality.self_check.alarming


def test_few_answers_are_called_insufficient(traffic: Traffic) -> None:
    quality = live_quality([answer(some(traffic, capacity=12), traffic)], n_classes=6)

    assert not quality.classes[0].recall.sufficient
    assert quality.classes[0].recall.value is not None


def test_unsure_is_an_outcome_and_its_products_count_neither_way(traffic: Traffic) -> None:
    """Truth is known for even products only; the annotator says so, and rates are those of the even products."""
    known = np.arange(400) % 2 == 0

    def outcome(_rank: int, product_index: int, class_index: int) -> Outcome:
        if not known[product_index]:
            return Outcome.UNSURE
        return Outcome.YES if traffic.truth[product_index, class_index] else Outcome.NO

    quality = live_quality([arrange(everything(traffic), outcome)], n_classes=6)

    found = (traffic.positive & traffic.truth)[known].sum(axis=0)
    assert [one.precision.value for one in quality.classes] == pytest.approx(
        found / traffic.positive[known].sum(axis=0)
    )
    assert [one.recall.value for one in quality.classes] == pytest.approx(found / traffic.truth[known].sum(axis=0))
    assert {(one.n_answers, one.n_unsure) for one in quality.classes} == {(200, 200)}


def test_a_class_that_is_never_served_as_positive_has_no_precision(traffic: Traffic) -> None:
    cohort = answer(everything(traffic), traffic)
    cohort.asked.positive[:] = False
    silent = replace(cohort, positive=np.zeros(6), probability_of_positive=np.zeros(6))

    first = live_quality([silent], n_classes=6).classes[0]

    assert (first.precision.value, first.precision.sufficient) == (None, False)
    assert (first.recall.value, first.recall.lower) == (0.0, 0.0)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 40))
def test_every_rate_lies_in_its_interval_and_in_0_to_1(seed: int, n_completed: int) -> None:
    rng = np.random.default_rng(seed)
    traffic = make_traffic(80, 3, rng=rng)
    sealed = seal(make_batch(traffic), salt=b"any", capacity=40, n_questions=2)

    def outcome(rank: int, _product_index: int, _class_index: int) -> Outcome:
        return Outcome(int(rng.integers(0, 3))) if rank < n_completed else Outcome.OPEN

    quality = live_quality([arrange(sealed, outcome)], n_classes=3)

    estimates = [estimate for one in quality.classes for estimate in (one.precision, one.recall)]
    for estimate in [*estimates, quality.macro_precision, quality.macro_recall]:
        assert 0.0 <= estimate.lower <= estimate.upper <= 1.0
        assert estimate.value is None or estimate.lower <= estimate.value <= estimate.upper


def test_intervals_cover_the_truth_of_simulated_traffic() -> None:
    """A quick version of `python -m benchmarks.coverage`: 20 salts, 400 of 4,000 products with five questions each."""
    traffic = make_traffic(4_000, 20, rng=np.random.default_rng(0))
    batch = make_batch(traffic)
    hits: list[bool] = []
    errors: list[tuple[float, float]] = []
    for draw in range(20):
        sealed = seal(batch, salt=draw.to_bytes(4, "little"), capacity=400, n_questions=5)
        quality = live_quality([answer(sealed, traffic)], n_classes=20)
        for one, precision, recall in zip(quality.classes, traffic.precision, traffic.recall, strict=True):
            hits += [one.precision.lower <= precision <= one.precision.upper]
            hits += [one.recall.lower <= recall <= one.recall.upper]
        errors.append(
            (
                (quality.macro_precision.value or 0.0) - float(traffic.precision.mean()),
                (quality.macro_recall.value or 0.0) - float(traffic.recall.mean()),
            )
        )
    assert 0.92 <= np.mean(hits) <= 0.99
    assert np.abs(errors).mean(axis=0) == pytest.approx([0.0, 0.0], abs=0.03)


def _stored(
    sealed: SealedCohort, verdict: Callable[[NewTask, NewQuestion], Verdict | None], *, withdrawn: bool = False
) -> tuple[StoredCohort, list[SampledTask]]:
    """Turn a sealed cohort into what the store gives back."""
    row = new_cohort(sealed, worker="one")
    stored = StoredCohort(
        id=row.id,
        bundle_version=row.bundle_version,
        worker=row.worker,
        sealed_at=row.sealed_at,
        n_products=row.n_products,
        tau=row.tau,
        counters=row.counters,
    )
    tasks = [
        SampledTask(
            cohort_id=row.id,
            task_id=task.fingerprint,
            priority=task.priority,
            weight=task.weight,
            withdrawn=withdrawn,
            questions=tuple(
                SampledQuestion(
                    class_name=question.class_name,
                    probability=question.probability,
                    positive=question.positive,
                    weight=question.weight,
                    inclusion=question.inclusion,
                    verdict=verdict(task, question),
                    labelled_at=NOON,
                    n_yes=int(verdict(task, question) in {"yes", "conflict"}),
                    n_no=int(verdict(task, question) in {"no", "conflict"}),
                )
                for question in task.questions
            ),
        )
        for task in row.tasks
    ]
    return stored, tasks


def test_a_cohort_from_the_store_is_the_one_that_was_sealed(traffic: Traffic) -> None:
    sealed = some(traffic)

    from_store = answered_cohort(*_stored(sealed, lambda *_: "yes"))

    asked = arrange(sealed, lambda *_: Outcome.OPEN)
    assert (from_store.n_products, from_store.threshold) == (asked.n_products, asked.threshold)
    for name in ("probability", "positive", "probability_of_positive"):
        assert np.array_equal(getattr(from_store, name), getattr(asked, name))
    for name in ("priorities", "product_weights", "class_indices", "inclusion_probabilities", "probabilities"):
        assert np.array_equal(getattr(from_store.asked, name), getattr(asked.asked, name))
    assert from_store.asked.outcomes.tolist() == [Outcome.YES] * 200


@pytest.mark.parametrize(
    ("verdict", "withdrawn", "outcome"),
    [
        ("unsure", False, Outcome.UNSURE),
        ("conflict", False, Outcome.UNSURE),
        (None, False, Outcome.OPEN),
        (None, True, Outcome.UNSURE),
        ("yes", True, Outcome.YES),
    ],
)
def test_verdicts_become_outcomes(traffic: Traffic, verdict: Verdict | None, withdrawn: bool, outcome: Outcome) -> None:
    cohort = answered_cohort(*_stored(some(traffic), lambda *_: verdict, withdrawn=withdrawn))

    assert set(cohort.asked.outcomes.tolist()) == {outcome}


def test_tasks_find_their_cohorts(traffic: Traffic) -> None:
    pairs = [_stored(some(traffic, salt=salt), lambda *_: "no") for salt in (b"one", b"two")]
    mixed = [task for tasks in zip(*(tasks for _, tasks in pairs), strict=True) for task in tasks]

    together = answered_cohorts([stored for stored, _ in pairs], mixed)

    apart = [answered_cohort(stored, tasks) for stored, tasks in pairs]
    assert live_quality(together, n_classes=6) == live_quality(apart, n_classes=6)


def test_exported_questions_are_enough_to_recover_the_rates(traffic: Traffic) -> None:
    """Through JSON and back; part of the cohort still waits for answers."""
    sealed = some(traffic)
    truth = traffic.truth

    def verdict(task: NewTask, question: NewQuestion) -> Verdict | None:
        if task.priority <= sealed.products[70].priority:
            return None
        return "yes" if truth[int(task.product_id), int(question.class_name)] else "no"

    stored, tasks = _stored(sealed, verdict)
    lines = [json.loads(json.dumps(line)) for line in exported_questions([stored], tasks)]
    found = rates(lines)

    weights = importance_weights(answered_cohort(stored, tasks))
    yes = answered_cohort(stored, tasks).asked.outcomes == Outcome.YES
    index = answered_cohort(stored, tasks).asked.class_indices
    assert len(lines) == 200
    for name, (value, lower, upper) in found.items():
        assert value == pytest.approx(float((weights * yes)[index == int(name)].sum()) / 400)
        assert lower <= truth[:, int(name)].mean() <= upper


def test_a_withdrawn_tasks_questions_are_exported_as_unsure(traffic: Traffic) -> None:
    stored, tasks = _stored(some(traffic), lambda *_: None, withdrawn=True)

    assert {line["answer"] for line in exported_questions([stored], tasks)} == {"unsure"}
