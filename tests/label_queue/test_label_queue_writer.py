"""Cohorts reach the store in groups, survive its absence, and what is lost is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from service.label_queue.reading import Filters
from service.label_queue.rows import NewCohort
from service.label_queue.spill import SpillDirectory
from service.label_queue.store import LabelQueue, open_store
from service.label_queue.writer import QueueWriter, WriterCounts
from tests.label_queue.queue_postgres import PostgresServer
from tests.label_queue.queue_samples import LEASE_SECONDS, NOON, make_cohort, make_task

SECONDS = 30.0  # an upper bound that only a broken writer reaches


@pytest.fixture
def writers() -> Iterator[Callable[..., QueueWriter]]:
    opened: list[QueueWriter] = []

    def make(queue: LabelQueue, **settings: object) -> QueueWriter:
        writer = QueueWriter(queue, first_retry_seconds=0.01, now=lambda: NOON, **settings)  # type: ignore[arg-type]
        opened.append(writer)
        return writer

    yield make
    for writer in opened:
        writer.close(timeout_seconds=0.0)


@contextmanager
def stuck(queue: LabelQueue) -> Iterator[None]:
    """Keep the store busy, as another process that writes for long would."""
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        with queue.database.write() as connection:
            connection.exec_driver_sql("LOCK TABLE cohort" if queue.database.is_postgresql else "SELECT 1")
            held.set()
            release.wait(SECONDS)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        held.wait(SECONDS)
        try:
            yield
        finally:
            release.set()
            holding.result()


def test_an_offered_cohort_is_written(queue: LabelQueue, writers: Callable[..., QueueWriter]) -> None:
    writer = writers(queue)

    taken = writer.offer(make_cohort(make_task()))

    assert taken
    assert writer.wait_for(lambda counts: not counts.waiting_cohorts, timeout_seconds=SECONDS)
    assert writer.counts() == WriterCounts(written_cohorts=1, written_tasks=1)
    assert [task.id for task in queue.look(Filters(), limit=5, now=NOON).tasks] == ["f1"]


def test_what_waits_is_bounded_and_the_rest_is_dropped_and_counted(
    queue: LabelQueue, writers: Callable[..., QueueWriter]
) -> None:
    writer = writers(queue, capacity_tasks=3)

    with stuck(queue):
        taken = [writer.offer(make_cohort(make_task(f"{i}a"), make_task(f"{i}b"))) for i in range(3)]
        waiting = writer.counts()

    assert taken == [True, False, False]
    assert (waiting.waiting_cohorts, waiting.waiting_tasks, waiting.dropped_tasks) == (1, 2, 4)
    counts = writer.close(timeout_seconds=SECONDS)
    assert counts == WriterCounts(written_cohorts=1, written_tasks=2, dropped_cohorts=2, dropped_tasks=4)


def test_large_images_count_by_their_bytes(queue: LabelQueue, writers: Callable[..., QueueWriter]) -> None:
    writer = writers(queue, capacity_bytes=1_000_000)

    too_large = writer.offer(make_cohort(make_task(product={"image": "x" * 1_000_000})))

    assert not too_large
    assert writer.counts().dropped_tasks == 1


def test_cohorts_that_wait_are_written_together(queue: LabelQueue, writers: Callable[..., QueueWriter]) -> None:
    writer = writers(queue)

    with stuck(queue):
        for index in range(50):
            writer.offer(make_cohort(make_task(f"f{index}")))

    assert writer.close(timeout_seconds=SECONDS).written_cohorts == 50
    assert queue.stats(now=NOON).open == 50


def test_a_cohort_that_the_store_refuses_does_not_hold_up_the_others(
    queue: LabelQueue, writers: Callable[..., QueueWriter]
) -> None:
    writer = writers(queue)
    twice = make_task("bad")
    no_json = make_task("worse", product={"price": float("nan")})

    with stuck(queue):
        for cohort in (make_cohort(make_task("a")), make_cohort(twice, twice), make_cohort(make_task("b"))):
            writer.offer(cohort)
        writer.offer(make_cohort(no_json))

    counts = writer.close(timeout_seconds=SECONDS)
    assert (counts.written_cohorts, counts.refused_cohorts, counts.refused_tasks) == (2, 2, 3)
    assert {task.id for task in queue.look(Filters(), limit=5, now=NOON).tasks} == {"a", "b"}


def test_closing_writes_what_waits_and_takes_nothing_more(
    queue: LabelQueue, writers: Callable[..., QueueWriter]
) -> None:
    writer = writers(queue)
    writer.offer(make_cohort(make_task()))

    counts = writer.close(timeout_seconds=SECONDS)

    assert counts.written_tasks == 1
    assert not writer.offer(make_cohort(make_task("late")))
    assert writer.counts().dropped_cohorts == 1


def test_a_store_that_comes_back_gets_what_was_spilled(
    postgres_server: PostgresServer, new_url: Callable[[str], str], writers: Callable[..., QueueWriter]
) -> None:
    queue = open_store(new_url("postgresql"), lease_seconds=LEASE_SECONDS)
    writer = writers(queue)
    postgres_server.stop("immediate")

    try:
        taken = [writer.offer(make_cohort(make_task(f"f{index}"))) for index in range(20)]
        assert writer.wait_for(lambda counts: counts.failures > 0, timeout_seconds=SECONDS)
    finally:
        postgres_server.start()

    assert all(taken)
    assert writer.wait_for(lambda counts: not counts.waiting_cohorts, timeout_seconds=SECONDS)
    counts = writer.counts()
    assert counts.failures >= 1
    assert replace(counts, failures=0) == WriterCounts(written_cohorts=20, written_tasks=20)
    assert queue.stats(now=NOON).open == 20
    queue.close()


def test_a_store_that_stays_away_at_shutdown_costs_counted_cohorts_and_no_more_than_the_time_given(
    postgres_server: PostgresServer, new_url: Callable[[str], str], writers: Callable[..., QueueWriter]
) -> None:
    queue = open_store(new_url("postgresql"), lease_seconds=LEASE_SECONDS)
    writer = writers(queue)
    postgres_server.stop("immediate")

    try:
        writer.offer(make_cohort(make_task()))
        counts = writer.close(timeout_seconds=0.05)
    finally:
        postgres_server.start()

    assert (counts.written_tasks, counts.dropped_tasks, counts.waiting_tasks) == (0, 1, 0)
    queue.close()


def test_a_cohort_that_was_written_while_its_answer_was_lost_is_not_doubled(queue: LabelQueue) -> None:
    cohort: NewCohort = make_cohort(make_task())
    queue.enqueue([cohort], now=NOON)
    writer = QueueWriter(queue, now=lambda: NOON)

    writer.offer(cohort)

    assert writer.close(timeout_seconds=SECONDS).written_cohorts == 1
    assert queue.stats(now=NOON).questions == 2


class HeldClock:
    """Tells the time when it is let: until then the thread that asks stands between its group and the store."""

    def __init__(self) -> None:
        self.asked, self.let = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self) -> datetime:
        self.asked.release()
        self.let.acquire(timeout=SECONDS)
        return NOON


class SlowDisk(SpillDirectory):
    """A directory that keeps one of its cohorts only after something else has happened."""

    def __init__(self, directory: Path, slow: NewCohort, meanwhile: Callable[[], None]) -> None:
        super().__init__(directory, capacity_bytes=1_000_000)
        self._slow = slow
        self._meanwhile = meanwhile

    def put(self, cohort: NewCohort) -> bool:
        """Keep it."""
        if cohort is self._slow:
            self._meanwhile()
        return super().put(cohort)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((1, 2), WriterCounts(spilled_cohorts=2, spilled_tasks=3)),
        ((1, 1, 2), WriterCounts(spilled_cohorts=1, spilled_tasks=1, written_cohorts=2, written_tasks=3)),
    ],
    ids=["in a group of its own", "in a group with the last"],
)
def test_a_cohort_that_is_spilled_at_shutdown_and_written_after_all_costs_no_other_and_counts_once(
    queue: LabelQueue, tmp_path: Path, sizes: tuple[int, ...], expected: WriterCounts
) -> None:
    clock = HeldClock()
    cohorts = [
        make_cohort(*(make_task(f"{size}{n}") for n in range(size)), cohort_id=f"{i}") for i, size in enumerate(sizes)
    ]
    others = set(threading.enumerate())

    def let_the_thread_end() -> None:
        clock.let.release()
        thread.join(SECONDS)

    writer = QueueWriter(queue, spill=SlowDisk(tmp_path, cohorts[-1], let_the_thread_end), now=clock)
    (thread,) = set(threading.enumerate()) - others
    writer.offer(cohorts[0])
    clock.asked.acquire(timeout=SECONDS)
    for cohort in cohorts[1:]:
        writer.offer(cohort)
    if len(cohorts) > 2:  # the first is written, and those after it are a group
        clock.let.release()
        clock.asked.acquire(timeout=SECONDS)

    counts = writer.close(timeout_seconds=0.0)

    assert counts == expected
    assert not thread.is_alive()
    assert SpillDirectory(tmp_path, capacity_bytes=0).n_cohorts() == 2
