"""Killed processes: what was acknowledged is there, what was not is whole or absent, and the rest goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from service.label_queue.schema import label
from service.label_queue.store import LabelQueue
from tests.label_queue.queue_samples import LEASE, NOON, answer, make_cohort, make_task

ROOT = Path(__file__).parents[2]
N_TASKS = 400


def start(url: str, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.label_queue.annotator_process", url, name]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill_after(process: subprocess.Popen[str], n_tasks: int) -> list[str]:
    """Kill a process once it has labelled so many tasks, and return all that it was told were stored."""
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(n_tasks)]
    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate()
    return acknowledged + [line for line in rest.splitlines(keepends=False) if line]


@pytest.mark.parametrize("n_tasks", [1, 10, 30])
def test_nothing_acknowledged_is_lost_when_annotators_processes_are_killed(
    queue: LabelQueue, queue_url: str, n_tasks: int
) -> None:
    queue.enqueue([make_cohort(*(make_task(f"t{index:03}") for index in range(N_TASKS)))], now=NOON)

    processes = [start(queue_url, name) for name in ("ann", "ben")]
    acknowledged = [task_id for process in processes for task_id in kill_after(process, n_tasks)]

    with queue.database.read() as connection:
        stored = Counter(connection.execute(select(label.c.task_id)).scalars())
        if not queue.database.is_postgresql:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    assert Counter(acknowledged).most_common(1)[0][1] == 1
    assert set(acknowledged) <= set(stored)
    assert len(stored) <= len(acknowledged) + 2  # each may have died between the store's answer and its own line
    assert set(stored.values()) == {2}


def test_tasks_of_a_killed_annotator_are_labelled_by_the_next(queue: LabelQueue, queue_url: str) -> None:
    queue.enqueue([make_cohort(*(make_task(f"t{index:03}") for index in range(60)))], now=NOON)
    kill_after(start(queue_url, "ann"), 5)

    while (lease := queue.lease(annotator="ben", n_tasks=20, now=NOON + LEASE)).tasks:
        for task in lease.tasks:
            queue.submit(answer("ben", task.id, {"black": "yes", "kids": "no"}, token=lease.token), now=NOON + LEASE)

    stats = queue.stats(now=NOON + LEASE)
    assert (stats.completed, stats.answers, stats.conflicts) == (60, 120, 0)
