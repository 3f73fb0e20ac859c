"""What annotators say, alone and together."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import DBAPIError

from service.errors import KeyReused, UnknownClass
from service.label_queue.reading import Filters
from service.label_queue.rows import Answer, Submission, TaskLabels
from service.label_queue.schema import label
from service.label_queue.store import LabelQueue
from service.quality.annotator_error import Agreement
from tests.label_queue.queue_samples import NOON, answer, make_cohort, make_task

SOON = NOON + timedelta(minutes=1)


def settled(queue: LabelQueue) -> dict[str, str]:
    return {label.class_name: label.answer for found in queue.labels_for_training() for label in found.labels}


def n_events(queue: LabelQueue) -> int:
    with queue.database.read() as connection:
        return connection.execute(select(func.count()).select_from(label)).scalar_one()


@pytest.fixture(autouse=True)
def _one_task(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)


def test_training_gets_the_product_with_its_answers(queue: LabelQueue) -> None:
    queue.submit(answer("ann", "f1", {"black": "yes", "kids": "unsure"}), now=SOON)

    [found] = queue.labels_for_training()

    assert (found.task_id, found.product_id) == ("f1", "p-f1")
    assert found.product["title"] == "Black shoe"
    assert [(said.class_name, said.answer, said.labelled_at, said.n_annotators) for said in found.labels] == [
        ("black", "yes", SOON, 1),
        ("kids", "unsure", SOON, 1),
    ]


def test_training_can_ask_for_labels_of_a_time(queue: LabelQueue) -> None:
    queue.submit(answer("ann", "f1", {"black": "yes"}), now=NOON)
    queue.submit(answer("ann", "f1", {"kids": "no"}), now=SOON)

    [newer] = queue.labels_for_training(since=SOON)
    [older] = queue.labels_for_training(until=SOON)

    assert [said.class_name for said in newer.labels] == ["kids"]
    assert [said.class_name for said in older.labels] == ["black"]


def test_an_annotator_who_thinks_again_is_heard_once(queue: LabelQueue) -> None:
    for said in ("yes", "no", "yes"):
        queue.submit(answer("ann", "f1", {"black": said}), now=NOON)

    assert settled(queue) == {"black": "yes"}
    assert queue.stats(now=NOON).answers == 1
    assert n_events(queue) == 3


def test_the_same_answer_sent_again_stores_nothing(queue: LabelQueue) -> None:
    queue.submit(answer("ann", "f1", {"black": "yes"}), now=NOON)

    stored = queue.submit(answer("ann", "f1", {"black": "yes"}), now=SOON)

    assert stored == ()
    assert n_events(queue) == 1


def test_of_a_submission_only_the_answers_that_are_new_are_told(queue: LabelQueue) -> None:
    queue.submit(answer("ann", "f1", {"black": "yes"}), now=NOON)

    stored = queue.submit(answer("ann", "f1", {"black": "yes", "kids": "no"}), now=SOON)

    assert stored == (TaskLabels("f1", {"kids": "no"}),)


def test_a_submission_repeated_with_its_key_changes_nothing(queue: LabelQueue) -> None:
    sent = answer("ann", "f1", {"black": "yes"}, key="k1")
    queue.submit(sent, now=NOON)
    queue.submit(answer("ann", "f1", {"black": "no"}), now=NOON)

    stored = queue.submit(sent, now=SOON)

    assert stored == ()
    assert settled(queue) == {"black": "no"}


def test_a_key_with_another_content_is_refused(queue: LabelQueue) -> None:
    queue.submit(answer("ann", "f1", {"black": "yes"}, key="k1"), now=NOON)

    with pytest.raises(KeyReused):
        queue.submit(answer("ann", "f1", {"black": "no"}, key="k1"), now=NOON)


def test_a_refused_submission_does_not_use_up_its_key(queue: LabelQueue) -> None:
    with pytest.raises(UnknownClass):
        queue.submit(answer("ann", "f1", {"blak": "yes"}, key="k1"), now=NOON)

    queue.submit(answer("ann", "f1", {"black": "yes"}, key="k1"), now=NOON)

    assert settled(queue) == {"black": "yes"}


def test_answers_beyond_the_questions_are_welcome_when_the_class_is_known(queue: LabelQueue) -> None:
    labels = (TaskLabels("f1", {"formal": "yes"}),)
    queue.submit(Submission("ann", labels, known_classes=frozenset({"formal"})), now=NOON)

    assert settled(queue) == {"formal": "yes"}
    assert queue.stats(now=NOON).open == 1


def test_a_class_that_nobody_knows_is_refused_with_its_place(queue: LabelQueue) -> None:
    with pytest.raises(UnknownClass, match=r"labels\[0\]\.answers") as caught:
        queue.submit(answer("ann", "f1", {"blak": "yes"}), now=NOON)

    assert "blak" not in str(caught.value)


def test_annotators_who_disagree_are_a_conflict_that_training_does_not_see(queue: LabelQueue) -> None:
    queue.submit(answer("ann", "f1", {"black": "yes", "kids": "no"}), now=NOON)
    queue.submit(answer("ben", "f1", {"black": "no", "kids": "no"}), now=NOON)

    assert settled(queue) == {"kids": "no"}
    [task] = queue.look(Filters(state="conflict"), limit=10, now=NOON).tasks
    assert [(q.class_name, dict(q.answers)) for q in task.questions] == [("black", {"ann": "yes", "ben": "no"})]
    stats = queue.stats(now=NOON)
    assert (stats.conflicts, stats.agreement) == (1, 0.5)
    assert queue.look(Filters(state="conflict", class_name="kids"), limit=10, now=NOON).tasks == ()


@pytest.mark.parametrize("resolver", ["ben", "cem"])
def test_a_conflict_ends_with_a_majority(queue: LabelQueue, resolver: str) -> None:
    queue.submit(answer("ann", "f1", {"black": "yes"}), now=NOON)
    queue.submit(answer("ben", "f1", {"black": "no"}), now=NOON)

    queue.submit(answer(resolver, "f1", {"black": "yes"}), now=NOON)

    assert settled(queue) == {"black": "yes"}
    assert queue.look(Filters(state="conflict"), limit=10, now=NOON).tasks == ()


def test_a_conflict_about_a_class_that_was_not_asked_is_visible_too(queue: LabelQueue) -> None:
    opposite: dict[str, Answer] = {"ann": "yes", "ben": "no"}
    for name, said in opposite.items():
        labels = (TaskLabels("f1", {"formal": said}),)
        queue.submit(Submission(name, labels, known_classes=frozenset({"formal"})), now=NOON)

    [task] = queue.look(Filters(state="conflict"), limit=10, now=NOON).tasks

    assert [(q.class_name, q.probability, q.reason) for q in task.questions] == [("formal", None, "conflict")]


def test_unsure_is_outvoted_by_one_who_knows(queue: LabelQueue) -> None:
    queue.submit(answer("ann", "f1", {"black": "unsure"}), now=NOON)
    queue.submit(answer("ben", "f1", {"black": "no"}), now=NOON)

    assert settled(queue) == {"black": "no"}
    assert queue.stats(now=NOON).conflicts == 0


def test_every_label_tells_who_when_and_under_which_bundle(queue: LabelQueue) -> None:
    queue.submit(answer("ann", "f1", {"black": "yes"}), now=SOON)

    with queue.database.read() as connection:
        row = connection.execute(select(label)).mappings().one()

    assert (row["annotator"], row["labelled_at"], row["bundle_version"]) == ("ann", SOON, "v1")


@pytest.mark.parametrize("change", [update(label).values(answer="no"), delete(label)])
def test_the_database_itself_refuses_to_change_a_label(queue: LabelQueue, change: object) -> None:
    queue.submit(answer("ann", "f1", {"black": "yes"}), now=NOON)

    with pytest.raises(DBAPIError, match="append-only"), queue.database.write() as connection:
        connection.execute(change)  # type: ignore[call-overload]

    assert settled(queue) == {"black": "yes"}


def test_of_every_two_annotators_the_same_answers_are_counted(queue: LabelQueue) -> None:
    queue.submit(answer("ann", "f1", {"black": "yes", "kids": "no"}), now=NOON)
    queue.submit(answer("ben", "f1", {"black": "no", "kids": "no"}), now=NOON)
    queue.submit(answer("ben", "f1", {"black": "yes"}), now=SOON)  # thought again: the newest counts
    queue.submit(answer("cai", "f1", {"black": "no", "kids": "unsure"}), now=NOON)

    found = sorted(queue.agreements(), key=lambda pair: (pair.first, pair.second))

    assert found == [Agreement("ann", "ben", 2, 2), Agreement("ann", "cai", 1, 0), Agreement("ben", "cai", 1, 0)]
