"""Many annotators at once: every task is leased once at a time, every label stored once."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from service.label_queue.schema import label
from service.label_queue.store import LabelQueue, open_store
from tests.label_queue.queue_samples import LEASE_SECONDS, NOON, answer, make_cohort, make_task

N_TASKS = 120
N_ANNOTATORS = 8


def drain(queue: LabelQueue, annotator: str, start: threading.Barrier) -> list[str]:
    """Lease and answer until nothing is left, and return the ids of the tasks."""
    start.wait()
    done: list[str] = []
    while True:
        lease = queue.lease(annotator=annotator, n_tasks=5, now=NOON)
        if not lease.tasks:
            return done
        for task in lease.tasks:
            queue.submit(answer(annotator, task.id, {"black": "yes", "kids": "no"}, token=lease.token), now=NOON)
            done.append(task.id)


def test_annotators_at_once_label_every_task_once(queue: LabelQueue, queue_url: str) -> None:
    queue.enqueue([make_cohort(*(make_task(f"t{index:03}") for index in range(N_TASKS)))], now=NOON)
    queues = [queue, open_store(queue_url, lease_seconds=LEASE_SECONDS)]  # two workers' connections
    start = threading.Barrier(N_ANNOTATORS)

    with ThreadPoolExecutor(N_ANNOTATORS) as pool:
        runs = [pool.submit(drain, queues[index % 2], f"annotator-{index}", start) for index in range(N_ANNOTATORS)]
        done = [task_id for run in runs for task_id in run.result()]

    assert Counter(done) == Counter(f"t{index:03}" for index in range(N_TASKS))
    with queue.database.read() as connection:
        stored = Counter(tuple(row) for row in connection.execute(select(label.c.task_id, label.c.class_name)))
    assert stored == Counter({(task_id, name): 1 for task_id in done for name in ("black", "kids")})
    queues[1].close()


def test_cohorts_with_the_same_products_enqueued_at_once_make_one_task_each(queue: LabelQueue, queue_url: str) -> None:
    queues = [queue, open_store(queue_url, lease_seconds=LEASE_SECONDS)]
    start = threading.Barrier(4)

    def enqueue(index: int) -> int:
        names = [f"t{number}" for number in range(30)]
        tasks = [make_task(name, priority=float(index + 1)) for name in (names if index % 2 else reversed(names))]
        start.wait()
        return queues[index % 2].enqueue([make_cohort(*tasks)], now=NOON)

    with ThreadPoolExecutor(4) as pool:
        n_new = sum(pool.map(enqueue, range(4)))

    assert n_new == 4
    assert queue.stats(now=NOON).open == 30
    assert {task.priority for task in queue.lease(annotator="ann", n_tasks=100, now=NOON).tasks} == {4.0}
    queues[1].close()
