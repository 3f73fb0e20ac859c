"""What sealed cohorts make of the queue, and what estimates read back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from service.label_queue.rows import Answer, NewTask
from service.label_queue.store import LabelQueue
from service.retention import Retention
from tests.label_queue.queue_samples import LEASE, NOON, answer, make_cohort, make_question, make_task, skip

BOTH: dict[str, Answer] = {"black": "yes", "kids": "no"}
SOON = NOON + timedelta(minutes=1)


def test_a_cohort_that_comes_twice_is_stored_once(queue: LabelQueue) -> None:
    cohort = make_cohort(make_task())
    first = queue.enqueue([cohort], now=NOON)

    again = queue.enqueue([cohort, make_cohort(make_task("f2"))], now=SOON)

    assert (first, again) == (1, 1)
    assert queue.stats(now=SOON).questions == 4
    assert len(queue.cohorts()) == 2


def test_a_cohort_comes_back_as_it_was_sealed(queue: LabelQueue) -> None:
    cohort = make_cohort(make_task(), cohort_id="c1", version="v7", tau=None)
    queue.enqueue([cohort], now=SOON)

    [stored] = queue.cohorts("v7")

    assert (stored.id, stored.bundle_version, stored.worker) == ("c1", "v7", "w1")
    assert (stored.sealed_at, stored.n_products, stored.tau) == (NOON, 100, None)
    assert stored.counters == cohort.counters
    assert queue.cohorts("v8") == []


def test_an_empty_cohort_counts_its_products(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort()], now=NOON)

    assert [cohort.n_products for cohort in queue.cohorts()] == [100]


def test_a_failing_cohort_leaves_nothing_of_its_transaction(queue: LabelQueue) -> None:
    twice = make_task()

    with pytest.raises(IntegrityError):
        queue.enqueue([make_cohort(make_task("f2"), cohort_id="a"), make_cohort(twice, twice, cohort_id="b")], now=NOON)

    assert queue.cohorts() == []
    assert queue.stats(now=NOON).open == 0


def test_a_product_that_comes_again_keeps_its_one_task_and_gets_the_new_questions(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task(classes=["black"], priority=5.0))], now=NOON)
    queue.enqueue([make_cohort(make_task(classes=["kids"], priority=3.0), version="v2")], now=SOON)

    [task] = queue.lease(annotator="ann", n_tasks=5, now=SOON).tasks

    assert {question.class_name for question in task.questions} == {"black", "kids"}
    assert (task.priority, task.model_version, task.opened_at) == (5.0, "v2", NOON)


def test_a_question_asked_twice_is_shown_once_with_its_newest_probability(queue: LabelQueue) -> None:
    old = make_task(classes=["black"])
    new = NewTask("f1", "p-f1", old.product, 1.0, 1.0, (make_question("black", probability=0.9, reason="audit"),))
    queue.enqueue([make_cohort(new, sealed_at=SOON)], now=SOON)
    queue.enqueue([make_cohort(old, sealed_at=NOON)], now=SOON)

    [task] = queue.lease(annotator="ann", n_tasks=5, now=SOON).tasks

    assert [(q.probability, q.reason) for q in task.questions] == [(0.9, "audit")]


def test_new_questions_open_a_completed_task_and_its_age_begins_anew(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task(priority=9.0))], now=NOON)
    queue.submit(answer("ann", "f1", BOTH), now=NOON)

    queue.enqueue([make_cohort(make_task(classes=["black", "formal"], priority=2.0))], now=SOON)

    [task] = queue.lease(annotator="ann", n_tasks=5, now=SOON).tasks
    assert [question.class_name for question in task.questions] == ["formal"]
    assert (task.priority, task.opened_at) == (2.0, SOON)


def test_answered_questions_are_not_asked_again_but_count_for_the_new_cohort(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    queue.submit(answer("ann", "f1", BOTH), now=NOON)

    queue.enqueue([make_cohort(make_task(), cohort_id="again", version="v2")], now=SOON)

    assert queue.lease(annotator="ben", n_tasks=5, now=SOON).tasks == ()
    [sampled] = queue.answered_questions("v2")
    assert [(q.class_name, q.verdict) for q in sampled.questions] == [("black", "yes"), ("kids", "no")]


def test_questions_come_back_with_what_they_were_drawn_with(queue: LabelQueue) -> None:
    asked = make_question("black", probability=0.1 + 0.2, positive=True, weight=1 / 3, inclusion=0.7)
    queue.enqueue([make_cohort(NewTask("f1", "p1", {}, 1e6 / 3, 2 / 3, (asked,)), cohort_id="c1")], now=NOON)

    [sampled] = queue.answered_questions()

    assert (sampled.cohort_id, sampled.task_id) == ("c1", "f1")
    assert (sampled.priority, sampled.weight) == (1e6 / 3, 2 / 3)
    [question] = sampled.questions
    assert (question.probability, question.positive) == (0.1 + 0.2, True)
    assert (question.weight, question.inclusion) == (1 / 3, 0.7)
    assert (question.verdict, sampled.withdrawn) == (None, False)


def test_sampled_tasks_of_a_cohort_come_by_falling_priority(queue: LabelQueue) -> None:
    tasks = [make_task(name, priority=priority) for name, priority in (("a", 1.0), ("b", 3.0), ("c", 2.0))]
    queue.enqueue([make_cohort(*tasks)], now=NOON)

    assert [task.task_id for task in queue.answered_questions()] == ["b", "c", "a"]


def test_unsure_is_a_verdict_and_a_skipped_task_comes_back_as_withdrawn(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task("a", priority=3.0), make_task("b", priority=2.0), make_task("c"))], now=NOON)
    queue.submit(answer("ann", "a", {"black": "unsure", "kids": "unsure"}), now=NOON)
    queue.submit(skip("ann", "b"), now=NOON)

    outcomes = {
        task.task_id: (task.withdrawn, [question.verdict for question in task.questions])
        for task in queue.answered_questions()
    }
    assert outcomes == {"a": (False, ["unsure"] * 2), "b": (True, [None] * 2), "c": (False, [None] * 2)}


def test_a_deleted_product_is_gone_and_its_open_tasks_are_withdrawn(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task("a", product_id="p/1"), make_task("b", product_id="p2"))], now=NOON)
    lease = queue.lease(annotator="ann", n_tasks=2, now=NOON)

    n_deleted = queue.delete_product("p/1")

    assert n_deleted == 1
    assert queue.delete_product("p/1") == 0
    stats = queue.stats(now=NOON)
    assert (stats.open, stats.leased, stats.withdrawn) == (0, 1, 1)
    assert [task.id for task in queue.extend(annotator="ann", lease_token=lease.token, now=NOON).tasks] == ["b"]


def test_a_deleted_product_that_is_posted_again_is_asked_again(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    queue.delete_product("p-f1")

    queue.enqueue([make_cohort(make_task())], now=SOON)

    assert [task.id for task in queue.lease(annotator="ann", n_tasks=1, now=SOON).tasks] == ["f1"]


def test_labels_outlive_their_product(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    queue.submit(answer("ann", "f1", BOTH), now=NOON)

    queue.delete_product("p-f1")

    assert [question.verdict for question in queue.answered_questions()[0].questions] == ["yes", "no"]
    assert list(queue.labels_for_training()) == []


def test_retention_forgets_products_stored_before_its_time(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task("old"))], now=NOON)
    queue.enqueue([make_cohort(make_task("new"))], now=SOON)

    n_purged = queue.purge(stored_before=SOON)

    assert n_purged == 1
    assert [task.id for task in queue.lease(annotator="ann", n_tasks=5, now=SOON + LEASE).tasks] == ["new"]
    assert queue.stats(now=SOON + LEASE).withdrawn == 1


def test_a_product_that_is_queued_again_is_kept_for_longer(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    queue.enqueue([make_cohort(make_task())], now=SOON)

    assert queue.purge(stored_before=SOON) == 0
    assert queue.purge(stored_before=SOON + timedelta(seconds=1)) == 1


def test_retention_counts_in_days(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    retention = Retention(queue, days=30)

    early = retention.purge(now=NOON + timedelta(days=30))
    late = retention.purge(now=NOON + timedelta(days=30, seconds=1))

    assert (early, late) == (0, 1)
