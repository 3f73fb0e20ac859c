"""Cohorts on disk: complete or absent, within their bound, each written to the store by one worker at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.label_queue.spill import COHORT, SpillDirectory, directory_for
from service.label_queue.store import LabelQueue, open_store
from service.label_queue.writer import QueueWriter, WriterCounts
from tests.label_queue.queue_postgres import PostgresServer
from tests.label_queue.queue_samples import LEASE_SECONDS, NOON, make_cohort, make_task

SECONDS = 30.0  # an upper bound that only a broken writer reaches
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def spill(tmp_path: Path) -> SpillDirectory:
    return SpillDirectory(tmp_path / "home" / "spill", capacity_bytes=1_000_000)


@dataclass
class Outage:
    """A queue whose server is stopped."""

    queue: LabelQueue
    server: PostgresServer
    is_over: bool = False

    def end(self) -> None:
        if not self.is_over:
            self.server.start()
            self.is_over = True


@pytest.fixture
def outage(postgres_server: PostgresServer, new_url: Callable[[str], str]) -> Iterator[Outage]:
    queue = open_store(new_url("postgresql"), lease_seconds=LEASE_SECONDS)
    postgres_server.stop("immediate")
    outage = Outage(queue, postgres_server)
    yield outage
    outage.end()
    queue.close()


def new_writer(queue: LabelQueue, spill: SpillDirectory, **settings: int) -> QueueWriter:
    return QueueWriter(queue, spill=spill, first_retry_seconds=0.01, now=lambda: NOON, **settings)


@given(product=st.dictionaries(st.text(), json_values, max_size=4), priority=st.floats(1e-9, 1e300))
def test_a_cohort_is_read_from_disk_as_it_was(product: dict[str, object], priority: float) -> None:
    cohort = make_cohort(make_task("a", product=product or {"title": "x"}, priority=priority), tau=None)

    assert COHORT.validate_json(COHORT.dump_json(cohort)) == cohort


def test_cohorts_come_from_disk_oldest_first_and_stay_until_they_are_forgotten(spill: SpillDirectory) -> None:
    late = replace(make_cohort(make_task("late"), cohort_id="1"), sealed_at=NOON + timedelta(hours=1))
    early = make_cohort(make_task("early"), cohort_id="2")
    assert spill.n_cohorts() == 0

    assert [spill.put(late), spill.put(early), spill.put(early)] == [True, True, True]

    assert spill.n_cohorts() == 2
    for expected in (early, late):
        with spill.oldest() as found:
            assert found is not None
            assert found.read() == expected
            found.forget()
    with spill.oldest() as found:
        assert found is None


def test_two_threads_that_spill_the_same_cohort_both_succeed(spill: SpillDirectory) -> None:
    cohorts = [make_cohort(make_task(f"{number}")) for number in range(200)]
    in_step = Barrier(2, timeout=SECONDS)
    taken: list[bool] = []

    def put_all() -> None:
        for cohort in cohorts:
            in_step.wait()
            taken.append(spill.put(cohort))

    with ThreadPoolExecutor(2) as pool:
        spilling = [pool.submit(put_all) for _ in range(2)]
    for one in spilling:
        one.result()

    assert taken == [True] * 2 * len(cohorts)
    assert spill.n_cohorts() == len(cohorts)


def test_a_cohort_that_one_worker_is_writing_is_left_to_it(spill: SpillDirectory) -> None:
    spill.put(make_cohort(make_task("a"), cohort_id="1"))
    spill.put(make_cohort(make_task("b"), cohort_id="2"))

    with spill.oldest() as mine, spill.oldest() as others, spill.oldest() as nothing:
        assert mine is not None
        assert others is not None
        assert {mine.read().id, others.read().id} == {"1", "2"}
        assert nothing is None


def test_a_full_directory_takes_nothing_more_and_keeps_what_it_has(tmp_path: Path) -> None:
    small = make_cohort(make_task("a"))
    n_bytes = len(COHORT.dump_json(small))
    spill = SpillDirectory(tmp_path, capacity_bytes=2 * n_bytes - 1)

    taken = [spill.put(small), spill.put(make_cohort(make_task("b")))]

    assert taken == [True, False]
    assert spill.n_bytes() == n_bytes
    with spill.oldest() as found:
        assert found is not None
        assert found.read() == small


def test_a_directory_that_cannot_be_written_to_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")

    assert not SpillDirectory(tmp_path / "file", capacity_bytes=1_000_000).put(make_cohort(make_task()))


def test_each_database_has_a_directory_of_its_own_whoever_signs_in(tmp_path: Path) -> None:
    same = ["postgresql://ann:old@db:5432/winnow", "postgresql+psycopg://ben:new@db:5432/winnow?sslmode=require"]
    other = ["postgresql://db:5432/other", "postgresql://elsewhere:5432/winnow", "sqlite:////data/queue.sqlite3"]

    directories = [directory_for(tmp_path, url) for url in same + other]

    assert directories[0] == directories[1]
    assert len(set(directories)) == 4
    assert {directory.parent for directory in directories} == {tmp_path}
    assert "old" not in str(directories[0])


def test_only_the_owner_may_read_what_was_spilled(spill: SpillDirectory, tmp_path: Path) -> None:
    spill.put(make_cohort(make_task()))

    (file,) = (tmp_path / "home" / "spill").iterdir()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_waits_while_the_store_is_away_goes_to_disk_and_arrives_afterwards(
    outage: Outage, spill: SpillDirectory
) -> None:
    writer = new_writer(outage.queue, spill, capacity_tasks=4)  # without the disk, most would have to be dropped

    for index in range(20):
        assert writer.wait_for(lambda counts: not counts.waiting_cohorts, timeout_seconds=SECONDS)
        assert writer.offer(make_cohort(make_task(f"{index}a"), make_task(f"{index}b")))
    assert writer.wait_for(lambda counts: not counts.waiting_cohorts, timeout_seconds=SECONDS)
    assert (spill.n_cohorts(), writer.n_spilled()) == (20, 20)
    outage.end()

    assert writer.wait_for(lambda counts: counts.written_cohorts == 20, timeout_seconds=SECONDS)
    counts = replace(writer.close(timeout_seconds=SECONDS), failures=0)
    assert counts == WriterCounts(spilled_cohorts=20, spilled_tasks=40, written_cohorts=20, written_tasks=40)
    assert outage.queue.stats(now=NOON).open == 40
    assert spill.n_cohorts() == 0


def test_what_is_unwritten_at_the_end_arrives_after_a_restart(outage: Outage, spill: SpillDirectory) -> None:
    ended = new_writer(outage.queue, spill)
    ended.offer(make_cohort(make_task("a")))
    counts = ended.close(timeout_seconds=SECONDS)
    outage.end()

    writer = new_writer(outage.queue, spill)
    written = writer.wait_for(lambda counts: counts.written_cohorts == 1, timeout_seconds=SECONDS)

    writer.close()
    assert (counts.spilled_tasks, counts.dropped_tasks, counts.waiting_tasks) == (1, 0, 0)
    assert written
    assert outage.queue.stats(now=NOON).open == 1


def test_what_fits_neither_the_disk_nor_memory_is_dropped_and_counted(outage: Outage, tmp_path: Path) -> None:
    on_disk = make_cohort(make_task("on disk"))
    spill = SpillDirectory(tmp_path, capacity_bytes=len(COHORT.dump_json(on_disk)) + 10)
    writer = new_writer(outage.queue, spill, capacity_tasks=1)

    assert writer.offer(on_disk)
    assert writer.wait_for(lambda counts: counts.spilled_tasks == 1, timeout_seconds=SECONDS)
    assert writer.offer(make_cohort(make_task("in memory")))
    assert not writer.offer(make_cohort(make_task("nowhere")))

    counts = writer.close(timeout_seconds=0.0)
    assert (counts.spilled_tasks, counts.dropped_tasks, counts.waiting_tasks) == (1, 2, 0)


def test_a_damaged_file_is_given_up_and_does_not_hold_up_the_others(
    queue: LabelQueue, spill: SpillDirectory, tmp_path: Path
) -> None:
    spill.put(make_cohort(make_task("a"), cohort_id="1"))
    spill.put(make_cohort(make_task("b"), cohort_id="2"))
    damaged = min((tmp_path / "home" / "spill").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-10])

    writer = new_writer(queue, spill)
    assert writer.wait_for(lambda counts: counts.written_cohorts == 1, timeout_seconds=SECONDS)

    counts = writer.close()
    assert (counts.refused_cohorts, counts.written_tasks, spill.n_cohorts()) == (1, 1, 0)
    assert queue.stats(now=NOON).open == 1
