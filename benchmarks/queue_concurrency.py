"""Let 8 annotators drain 1,000 tasks at once, 20 times over, on SQLite and PostgreSQL, and time a queue of 100,000.

Run: python -m benchmarks.queue_concurrency [--rounds 20] [--tasks 1000] [--depth 100000]. PostgreSQL is a throwaway
server of Debian's binaries. Fails if a task was held twice at a time, or a label is missing or stored twice.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy import select

from benchmarks.claims import Claim, conclude
from service.label_queue.reading import Filters
from service.label_queue.rows import NewCohort, NewQuestion, NewTask, Submission, TaskLabels
from service.label_queue.schema import label
from service.label_queue.store import LabelQueue, open_store
from tests.label_queue.queue_postgres import NOBODY, PostgresServer, find_programs

N_ANNOTATORS = 8
N_AT_ONCE = 5
CLASSES = ("black", "kids", "formal", "sale", "womens")
LEASE_SECONDS = 900.0


@dataclass
class Round:
    """What went wrong and how long it took."""

    seconds: float = 0.0
    held_twice: int = 0
    labelled: Counter[str] = field(default_factory=Counter)
    stored: Counter[tuple[str, str]] = field(default_factory=Counter)

    def is_clean(self, n_tasks: int) -> bool:
        """Whether every task was held by one at a time, and every label stored once."""
        once = set(self.labelled.values()) == {1} and set(self.stored.values()) == {1}
        return once and not self.held_twice and len(self.labelled) == n_tasks and len(self.stored) == 5 * n_tasks


class Holders:
    """Who holds which task right now, kept beside the queue to catch it in a lie."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self.n_twice = 0

    def take(self, task_id: str) -> None:
        """Note a lease; somebody else's must have ended before."""
        with self._lock:
            self.n_twice += task_id in self._held
            self._held.add(task_id)

    def leave(self, task_id: str) -> None:
        """Note that the labels are about to be sent: from then on the task may be anybody's."""
        with self._lock:
            self._held.discard(task_id)


def cohort(number: int, n_tasks: int) -> NewCohort:
    """A cohort whose tasks ask all five classes."""
    questions = tuple(NewQuestion(name, 0.5, True, "doubt", 0.2, 0.5) for name in CLASSES)
    tasks = tuple(
        NewTask(f"{number}-{index}", f"p{number}-{index}", {"title": "x" * 200}, n_tasks - index + 0.5, 1.0, questions)
        for index in range(n_tasks)
    )
    return NewCohort(f"c{number}", "v1", "w1", datetime.now(UTC), n_tasks, None, {}, tasks)


def annotate(queue: LabelQueue, name: str, holders: Holders, start: threading.Barrier) -> Counter[str]:
    """Lease and answer until nothing is open; every third lease is given back first, to be leased again."""
    start.wait()
    done: Counter[str] = Counter()
    n_leases = 0
    while True:
        lease = queue.lease(annotator=name, n_tasks=N_AT_ONCE, now=datetime.now(UTC))
        if not lease.tasks:
            return done
        n_leases += 1
        for task in lease.tasks:
            holders.take(task.id)
        for task in lease.tasks:
            holders.leave(task.id)
        if n_leases % 3 == 0:
            queue.release(annotator=name, lease_token=lease.token)
            continue
        labels = tuple(TaskLabels(task.id, dict.fromkeys(CLASSES, "yes")) for task in lease.tasks)
        queue.submit(Submission(name, labels, lease_token=lease.token), now=datetime.now(UTC))
        done.update(task.id for task in lease.tasks)


def run_round(url: str, number: int, n_tasks: int) -> Round:
    """Enqueue, drain with all annotators at once over two queues, as two workers have them, and read back."""
    with (
        closing(open_store(url, lease_seconds=LEASE_SECONDS)) as one,
        closing(open_store(url, lease_seconds=LEASE_SECONDS)) as other,
    ):
        one.enqueue([cohort(number, n_tasks)], now=datetime.now(UTC))
        holders, start, result = Holders(), threading.Barrier(N_ANNOTATORS + 1), Round()
        with ThreadPoolExecutor(N_ANNOTATORS) as pool:
            runs = [
                pool.submit(annotate, (one, other)[index % 2], f"annotator-{index}", holders, start)
                for index in range(N_ANNOTATORS)
            ]
            start.wait()
            began = time.perf_counter()
            for run in runs:
                result.labelled.update(run.result())
            result.seconds = time.perf_counter() - began
        result.held_twice = holders.n_twice
        with one.database.read() as connection:
            mine = select(label.c.task_id, label.c.class_name).where(label.c.task_id.like(f"{number}-%"))
            result.stored.update((task_id, name) for task_id, name in connection.execute(mine))
    return result


def time_depth(url: str, depth: int) -> dict[str, float]:
    """Milliseconds of each call on a queue of so many open tasks."""
    with closing(open_store(url, lease_seconds=LEASE_SECONDS)) as queue:
        now = datetime.now(UTC)
        began = time.perf_counter()
        for number in range(depth // 1000):
            queue.enqueue([cohort(1_000_000 + number, 1000)], now=now)
        rows_per_second = depth * 8 / (time.perf_counter() - began)
        lease = queue.lease(annotator="ann", n_tasks=10, now=now)
        labels = tuple(TaskLabels(task.id, dict.fromkeys(CLASSES, "yes")) for task in lease.tasks)
        calls: dict[str, Callable[[], object]] = {
            "lease 10": lambda: queue.lease(annotator="ann", n_tasks=10, now=now),
            "submit 10 × 5 answers": lambda: queue.submit(Submission("ann", labels, lease.token), now=now),
            "lease 10, second opinion": lambda: queue.lease(annotator="ben", n_tasks=10, now=now, overlap=2),
            "look at 50": lambda: queue.look(Filters(), limit=50, now=now),
            "look at 50 of a class": lambda: queue.look(Filters(class_name="kids"), limit=50, now=now),
            "stats": lambda: queue.stats(now=now),
        }
        return {"enqueue, rows/s": rows_per_second, **{name: _milliseconds(call) for name, call in calls.items()}}


def _milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


@contextmanager
def stores() -> Iterator[dict[str, str]]:
    """Database URLs by name; PostgreSQL only where there is one."""
    directory = Path(tempfile.mkdtemp(prefix="winnow-queue-"))
    urls = {"SQLite": f"sqlite:///{directory}/queue.sqlite3"}
    programs = find_programs()
    server = None
    try:
        if programs:
            if os.geteuid() == 0:
                os.chown(directory, NOBODY, NOBODY)
            server = PostgresServer(programs, directory)
            server.create()
            server.start(fsync=True)
            server.execute("CREATE DATABASE winnow_queue")
            urls["PostgreSQL"] = server.url("winnow_queue")
        yield urls
    finally:
        if server:
            server.stop("immediate")
        shutil.rmtree(directory)


def main() -> int:
    """Run the rounds and the timings, print both, and return 1 if a promise was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option, value in (("--rounds", 20), ("--tasks", 1000), ("--depth", 100_000)):
        parser.add_argument(option, type=int, default=value)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or the server would outlive us
    claims = []
    with stores() as urls:
        for name, url in urls.items():
            rounds = [
                run_round(url, number, options.tasks) for number in track(range(options.rounds), f"{name}, rounds")
            ]
            n_clean = sum(found.is_clean(options.tasks) for found in rounds)
            rate = options.rounds * options.tasks / sum(found.seconds for found in rounds)
            claims.append(
                Claim(
                    f"{name}: each of {options.tasks} tasks held once at a time, each label stored once",
                    f"{n_clean} of {options.rounds} rounds clean; {rate:,.0f} tasks/s",
                    n_clean == options.rounds,
                )
            )
            if options.depth:
                _print_timings(f"{name}, {options.depth:,} tasks", time_depth(url, options.depth))
    return conclude("Annotators at once", claims)


def _print_timings(title: str, timings: dict[str, float]) -> None:
    table = Table("call", "ms", title=title)
    for name, value in timings.items():
        table.add_row(name, f"{value:,.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    sys.exit(main())
