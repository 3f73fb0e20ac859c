"""Looking at the queue: filters, pages and counts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.label_queue.reading import Filters
from service.label_queue.store import LabelQueue
from tests.label_queue.queue_samples import NOON, answer, make_cohort, make_task

HOUR = timedelta(hours=1)


def ids(queue: LabelQueue, **filters: object) -> list[str]:
    found = queue.look(Filters(**filters), limit=100, now=NOON + HOUR)  # type: ignore[arg-type]
    return [task.id for task in found.tasks]


@pytest.fixture(autouse=True)
def _four_tasks(queue: LabelQueue) -> None:
    old = make_cohort(make_task("open", priority=4.0, weight=3.0), make_task("done", priority=3.0))
    queue.enqueue([old], now=NOON)
    new = make_cohort(make_task("held", priority=9.0), make_task("young", priority=1.0, classes=["formal"]))
    queue.enqueue([new], now=NOON + HOUR)
    queue.lease(annotator="ann", n_tasks=1, now=NOON + HOUR)
    queue.submit(answer("ann", "done", {"black": "yes", "kids": "no"}), now=NOON)


def test_a_look_shows_what_can_be_leased(queue: LabelQueue) -> None:
    assert ids(queue) == ["open", "young"]


def test_each_state_can_be_looked_at(queue: LabelQueue) -> None:
    assert ids(queue, state="leased") == ["held"]
    assert ids(queue, state="completed") == ["done"]
    assert ids(queue, state="withdrawn") == []


def test_filters_by_class_score_and_age_narrow_the_look(queue: LabelQueue) -> None:
    assert ids(queue, class_name="formal") == ["young"]
    assert ids(queue, min_score=2.0) == ["open"]
    assert ids(queue, min_age_seconds=3600.0) == ["open"]
    assert ids(queue, class_name="formal", min_score=2.0) == []


def test_the_newest_answer_is_dated_and_what_stores_none_is_not(queue: LabelQueue) -> None:
    queue.submit(answer("ann", "open", {"black": "yes"}), now=NOON + HOUR)
    queue.submit(answer("ann", "open", {"black": "yes"}), now=NOON + 2 * HOUR)

    assert queue.stats(now=NOON + 3 * HOUR).newest_answer_at == NOON + HOUR


def test_an_answered_question_is_no_reason_to_show_a_task(queue: LabelQueue) -> None:
    queue.submit(answer("ann", "open", {"black": "yes"}), now=NOON)

    assert ids(queue, class_name="black") == []
    assert ids(queue, class_name="kids") == ["open"]


def test_a_cursor_from_elsewhere_is_refused(queue: LabelQueue) -> None:
    for cursor in ("xyz", "W10=", "é"):
        with pytest.raises(InvalidRequest, match="begin without one"):
            queue.look(Filters(), limit=1, cursor=cursor, now=NOON)


def test_stats_count_tasks_questions_and_answers(queue: LabelQueue) -> None:
    stats = queue.stats(now=NOON + 2 * HOUR)

    assert (stats.open, stats.leased, stats.completed, stats.withdrawn) == (3, 0, 1, 0)
    assert (stats.questions, stats.answers, stats.oldest_open_seconds) == (7, 2, 7200.0)
    assert queue.stats(now=NOON + HOUR).leased == 1


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(priorities=st.lists(st.floats(0.1, 3.0) | st.sampled_from([1.0, 2.0]), max_size=12), limit=st.integers(1, 5))
def test_pages_together_are_the_whole_queue_once_in_order(
    queue: LabelQueue, priorities: list[float], limit: int
) -> None:
    names = [f"{abs(hash((tuple(priorities), limit)))}-{index}" for index in range(len(priorities))]
    tasks = [make_task(name, priority=priority) for name, priority in zip(names, priorities, strict=True)]
    queue.enqueue([make_cohort(*tasks)], now=NOON)
    whole = ids(queue)

    paged, cursor = [], None
    while True:
        page = queue.look(Filters(), limit=limit, cursor=cursor, now=NOON + HOUR)
        paged += [task.id for task in page.tasks]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert paged[:100] == whole
    assert len(paged) == len(set(paged))
    assert set(names) <= set(paged)
