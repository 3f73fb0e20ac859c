"""Who holds what, and for how long."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.errors import LeaseLost, UnknownTask
from service.label_queue.reading import Filters
from service.label_queue.rows import Submission, TaskLabels
from service.label_queue.store import LabelQueue
from tests.label_queue.queue_samples import LEASE, NOON, answer, make_cohort, make_task, skip

SOON = NOON + LEASE / 2
LATE = NOON + LEASE


def test_tasks_are_leased_by_falling_priority(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task("a", priority=1.0), make_task("b", priority=3.0), make_task("c"))], now=NOON)

    lease = queue.lease(annotator="ann", n_tasks=2, now=NOON)

    assert [task.id for task in lease.tasks] == ["b", "c"]
    assert lease.expires_at == NOON + LEASE


def test_a_leased_task_carries_the_product_as_posted_and_its_questions(queue: LabelQueue) -> None:
    record = {"product_id": "p1", "title": "Sandale \u0000 größer", "price": 12.5, "image": "aGk="}
    queue.enqueue([make_cohort(make_task(product_id="p1", product=record))], now=NOON)

    [task] = queue.lease(annotator="ann", n_tasks=5, now=NOON).tasks

    assert task.product == record
    assert [(q.class_name, q.probability, q.reason) for q in task.questions] == [
        ("black", 0.48, "doubt"),
        ("kids", 0.48, "doubt"),
    ]
    assert task.model_version == "v1"


def test_a_leased_task_is_not_leased_to_anybody_else(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    queue.lease(annotator="ann", n_tasks=1, now=NOON)

    second = queue.lease(annotator="ben", n_tasks=1, now=SOON)

    assert second.tasks == ()


def test_an_expired_lease_can_be_taken_by_another_annotator(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    first = queue.lease(annotator="ann", n_tasks=1, now=NOON)

    second = queue.lease(annotator="ben", n_tasks=1, now=LATE)

    assert [task.id for task in second.tasks] == [task.id for task in first.tasks]


def test_labels_of_a_lease_that_somebody_else_has_taken_over_are_refused_whole(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task("a"), make_task("b", priority=1.0))], now=NOON)
    first = queue.lease(annotator="ann", n_tasks=2, now=NOON)
    queue.lease(annotator="ben", n_tasks=1, now=LATE)
    late = (TaskLabels("a", {"black": "yes"}), TaskLabels("b", {"black": "yes"}))

    with pytest.raises(LeaseLost, match="somebody else holds 1 of the tasks") as caught:
        queue.submit(Submission("ann", late, lease_token=first.token), now=LATE)

    assert caught.value.task_ids == ("a",)
    assert queue.stats(now=LATE).answers == 0


def test_late_labels_are_kept_while_nobody_else_holds_the_task(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    lease = queue.lease(annotator="ann", n_tasks=1, now=NOON)

    stored = queue.submit(answer("ann", "f1", {"black": "yes", "kids": "no"}, token=lease.token), now=LATE)

    assert stored == (TaskLabels("f1", {"black": "yes", "kids": "no"}),)
    assert queue.stats(now=LATE).completed == 1


def test_a_held_task_is_not_labelled_without_its_token(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    queue.lease(annotator="ann", n_tasks=1, now=NOON)

    with pytest.raises(LeaseLost):
        queue.submit(answer("ann", "f1", {"black": "yes"}), now=SOON)


def test_a_task_that_nobody_holds_is_labelled_without_a_token(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)

    queue.submit(answer("ann", "f1", {"black": "yes", "kids": "no"}), now=NOON)

    assert queue.stats(now=NOON).completed == 1


@pytest.mark.parametrize("who", ["stranger", "unknown token"])
def test_a_token_of_somebody_else_is_worth_nothing(queue: LabelQueue, who: str) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    lease = queue.lease(annotator="ann", n_tasks=1, now=NOON)
    annotator, token = ("ben", lease.token) if who == "stranger" else ("ann", "made-up")

    with pytest.raises(LeaseLost):
        queue.submit(answer(annotator, "f1", {"black": "yes"}, token=token), now=NOON)
    with pytest.raises(LeaseLost):
        queue.extend(annotator=annotator, lease_token=token, now=NOON)
    with pytest.raises(LeaseLost):
        queue.release(annotator=annotator, lease_token=token)


def test_extending_starts_the_time_anew(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    lease = queue.lease(annotator="ann", n_tasks=1, now=NOON)

    extended = queue.extend(annotator="ann", lease_token=lease.token, now=SOON)

    assert extended.expires_at == SOON + LEASE
    assert [task.id for task in extended.tasks] == ["f1"]
    assert queue.lease(annotator="ben", n_tasks=1, now=LATE).tasks == ()


def test_a_lease_that_holds_nothing_any_more_cannot_be_extended(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    lease = queue.lease(annotator="ann", n_tasks=1, now=NOON)
    queue.lease(annotator="ben", n_tasks=1, now=LATE)

    with pytest.raises(LeaseLost, match="holds no task any more"):
        queue.extend(annotator="ann", lease_token=lease.token, now=LATE)


def test_released_tasks_are_open_at_once(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task("a"), make_task("b", priority=1.0))], now=NOON)
    lease = queue.lease(annotator="ann", n_tasks=2, now=NOON)

    n_released = queue.release(annotator="ann", lease_token=lease.token, task_ids=["b"])

    assert n_released == 1
    assert [task.id for task in queue.lease(annotator="ben", n_tasks=2, now=NOON).tasks] == ["b"]


def test_an_answered_task_leaves_the_lease_and_the_rest_stays(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task("a"), make_task("b", priority=1.0))], now=NOON)
    lease = queue.lease(annotator="ann", n_tasks=2, now=NOON)

    queue.submit(answer("ann", "a", {"black": "no", "kids": "unsure"}, token=lease.token), now=NOON)

    stats = queue.stats(now=NOON)
    assert (stats.open, stats.leased, stats.completed) == (0, 1, 1)


def test_a_partial_answer_keeps_the_lease_and_leaves_the_other_questions(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    lease = queue.lease(annotator="ann", n_tasks=1, now=NOON)

    queue.submit(answer("ann", "f1", {"black": "yes"}, token=lease.token), now=NOON)

    assert queue.stats(now=NOON).leased == 1
    [task] = queue.lease(annotator="ben", n_tasks=1, now=LATE).tasks
    assert [question.class_name for question in task.questions] == ["kids"]


def test_a_skipped_task_is_withdrawn_until_somebody_answers_it(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    lease = queue.lease(annotator="ann", n_tasks=1, now=NOON)

    queue.submit(skip("ann", "f1", token=lease.token), now=NOON)

    assert queue.stats(now=NOON).withdrawn == 1
    assert queue.lease(annotator="ben", n_tasks=1, now=LATE).tasks == ()
    queue.submit(answer("ann", "f1", {"black": "yes", "kids": "no"}), now=NOON)
    assert queue.stats(now=NOON).completed == 1


def test_labels_for_an_unknown_task_store_nothing_and_name_their_place(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    labels = (TaskLabels("f1", {"black": "yes"}), TaskLabels("f2", {"black": "yes"}))

    with pytest.raises(UnknownTask, match=r"labels\[1\]\.task_id"):
        queue.submit(Submission("ann", labels), now=NOON)

    assert queue.stats(now=NOON).answers == 0


def test_a_second_opinion_is_asked_of_another_annotator_only(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    queue.submit(answer("ann", "f1", {"black": "yes", "kids": "no"}), now=NOON)

    again = queue.lease(annotator="ann", n_tasks=1, now=NOON, overlap=2)
    other = queue.lease(annotator="ben", n_tasks=1, now=NOON, overlap=2)
    queue.submit(answer("ben", "f1", {"black": "yes", "kids": "no"}, token=other.token), now=NOON)
    third = queue.lease(annotator="cem", n_tasks=1, now=NOON, overlap=2)

    assert again.tasks == ()
    assert [question.class_name for question in other.tasks[0].questions] == ["black", "kids"]
    assert third.tasks == ()
    assert queue.stats(now=NOON).completed == 1


def test_who_skips_a_second_opinion_is_not_asked_again(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    queue.submit(answer("ann", "f1", {"black": "yes", "kids": "no"}), now=NOON)
    lease = queue.lease(annotator="ben", n_tasks=1, now=NOON, overlap=2)

    queue.submit(skip("ben", "f1", token=lease.token), now=NOON)

    assert queue.stats(now=NOON).completed == 1
    assert queue.lease(annotator="ben", n_tasks=1, now=NOON, overlap=2).tasks == ()


def test_looking_changes_nothing(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    before = queue.stats(now=NOON)

    queue.look(Filters(), limit=10, now=NOON)

    assert queue.stats(now=NOON) == before


@pytest.mark.parametrize("jump", [timedelta(days=1), -timedelta(days=1)])
def test_a_clock_that_jumps_costs_at_most_the_lease_and_never_an_answer(queue: LabelQueue, jump: timedelta) -> None:
    queue.enqueue([make_cohort(make_task("a"), make_task("b"))], now=NOON)
    first = queue.lease(annotator="ann", n_tasks=1, now=NOON)
    jumped = NOON + jump

    second = queue.lease(annotator="ben", n_tasks=2, now=jumped)
    queue.submit(answer("ben", "b", {"black": "yes", "kids": "no"}, token=second.token), now=jumped)
    if jump > timedelta(0):  # the lease has run out, and somebody else holds the task: told, and nothing overwritten
        with pytest.raises(LeaseLost):
            queue.submit(answer("ann", "a", {"black": "no", "kids": "no"}, token=first.token), now=NOON)
        queue.submit(answer("ben", "a", {"black": "yes", "kids": "yes"}, token=second.token), now=NOON)
    else:
        queue.submit(answer("ann", "a", {"black": "no", "kids": "no"}, token=first.token), now=jumped)

    said = {
        found.task_id: {one.class_name: one.answer for one in found.labels} for found in queue.labels_for_training()
    }
    expected = {"black": "yes", "kids": "yes"} if jump > timedelta(0) else {"black": "no", "kids": "no"}
    assert said == {"a": expected, "b": {"black": "yes", "kids": "no"}}
    assert queue.stats(now=jumped).oldest_open_seconds is None
