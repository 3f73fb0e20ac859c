"""An answer that surprises is asked again: who gets it, what comes first, and what the two answers become."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.label_queue.rows import Answer, NewTask
from service.label_queue.store import LabelQueue
from service.quality.annotator_error import Agreement
from tests.label_queue.queue_samples import LEASE, NOON, answer, make_cohort, make_question, make_task, skip


def plain_task(fingerprint: str = "plain", *, probability: float = 0.01, priority: float = 2.0) -> NewTask:
    """One question whose answer the model takes for granted, and one in doubt."""
    task = make_task(fingerprint, priority=priority)
    return replace(task, questions=(make_question("black", probability=probability), make_question("kids")))


@pytest.fixture
def asked(queue: LabelQueue) -> LabelQueue:
    queue.enqueue([make_cohort(plain_task(), make_task("other", priority=9.0))], now=NOON)
    return queue


def leased(queue: LabelQueue, annotator: str, *, n_tasks: int = 10) -> dict[str, list[str]]:
    lease = queue.lease(annotator=annotator, n_tasks=n_tasks, now=NOON)
    if lease.tasks:
        queue.release(annotator=annotator, lease_token=lease.token)
    return {task.id: [question.class_name for question in task.questions] for task in lease.tasks}


@pytest.mark.parametrize(("probability", "said", "surprises"), [
    (0.01, "yes", True), (0.01, "no", False), (0.01, "unsure", False),
    (0.99, "no", True), (0.99, "yes", False), (0.2, "yes", False), (0.8, "no", False),
])  # fmt: skip
def test_what_the_model_gives_little_chance_is_asked_again(
    queue: LabelQueue, probability: float, said: Answer, *, surprises: bool
) -> None:
    queue.enqueue([make_cohort(plain_task(probability=probability))], now=NOON)
    queue.submit(answer("ann", "plain", {"black": said, "kids": "yes"}), now=NOON)

    assert leased(queue, "ben") == ({"plain": ["black"]} if surprises else {})


def test_it_comes_before_everything_else_and_never_to_who_gave_the_answer(asked: LabelQueue) -> None:
    asked.submit(answer("ann", "plain", {"black": "yes", "kids": "no"}), now=NOON)

    assert leased(asked, "ben", n_tasks=1) == {"plain": ["black"]}
    assert leased(asked, "ann") == {"other": ["black", "kids"]}


def test_a_task_that_waits_for_a_second_opinion_is_completed_all_the_same(asked: LabelQueue) -> None:
    """Where there is one annotator nothing waits for ever."""
    asked.submit(answer("ann", "plain", {"black": "yes", "kids": "no"}), now=NOON)

    stats = asked.stats(now=NOON)

    assert (stats.open, stats.completed) == (1, 1)
    (task,) = (task for task in asked.answered_questions() if task.task_id == "plain")
    assert {one.class_name: (one.verdict, one.n_yes, one.n_no) for one in task.questions} == {
        "black": ("yes", 1, 0), "kids": ("no", 0, 1),
    }  # fmt: skip


@pytest.mark.parametrize(("second", "verdict"), [("yes", "yes"), ("no", "conflict"), ("unsure", "yes")])
def test_one_second_opinion_is_enough(asked: LabelQueue, second: Answer, verdict: str) -> None:
    asked.submit(answer("ann", "plain", {"black": "yes", "kids": "no"}), now=NOON)
    lease = asked.lease(annotator="ben", n_tasks=1, now=NOON)

    asked.submit(answer("ben", "plain", {"black": second}, token=lease.token), now=NOON)

    (task,) = (task for task in asked.answered_questions() if task.task_id == "plain")
    assert [one.verdict for one in task.questions if one.class_name == "black"] == [verdict]
    assert "plain" not in leased(asked, "cai")


def test_who_thinks_again_ends_the_doubt(asked: LabelQueue) -> None:
    asked.submit(answer("ann", "plain", {"black": "yes", "kids": "no"}), now=NOON)
    asked.submit(answer("ann", "plain", {"black": "no"}), now=NOON)

    assert "plain" not in leased(asked, "ben")


def test_a_second_annotator_may_pass_it_by(asked: LabelQueue) -> None:
    asked.submit(answer("ann", "plain", {"black": "yes", "kids": "no"}), now=NOON)
    asked.submit(skip("ben", "plain"), now=NOON)

    assert "plain" not in leased(asked, "ben")
    assert "plain" in leased(asked, "cai")


def test_two_do_not_get_the_same_second_opinion_to_give(asked: LabelQueue) -> None:
    asked.submit(answer("ann", "plain", {"black": "yes", "kids": "no"}), now=NOON)
    asked.lease(annotator="ben", n_tasks=1, now=NOON)

    assert "plain" not in leased(asked, "cai")
    later = asked.lease(annotator="cai", n_tasks=1, now=NOON + LEASE)
    assert [task.id for task in later.tasks] == ["plain"]


def test_a_product_that_is_gone_is_not_asked_again(asked: LabelQueue) -> None:
    asked.submit(answer("ann", "plain", {"black": "yes", "kids": "no"}), now=NOON)
    asked.delete_product("p-plain")

    assert "plain" not in leased(asked, "ben")


def test_second_opinions_do_not_count_in_how_far_annotators_agree(asked: LabelQueue) -> None:
    """They are asked because the first answer is likely wrong."""
    for name in ("ann", "ben"):
        black: Answer = "yes" if name == "ann" else "no"
        asked.submit(answer(name, "plain", {"black": black, "kids": "no"}), now=NOON)

    assert asked.agreements() == (Agreement("ann", "ben", 1, 1),)
    assert (asked.stats(now=NOON).agreement, asked.stats(now=NOON).conflicts) == (1.0, 1)
