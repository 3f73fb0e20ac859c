"""What a label queue's database holds, read past the service: the judge of what was promised over HTTP."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import func, select

from service.label_queue.schema import label, label_task
from service.label_queue.store import open_store

Question = tuple[str, str]  # task id, class


@dataclass(frozen=True)
class Contents:
    """One look at the database.

    Parameters
    ----------
    n_products : in the counters of all cohorts
    asked : all questions that cohorts put
    labels : how many labels each question has
    product_ids : of the tasks; a task that shares another's product would show
    """

    n_cohorts: int
    n_products: int
    asked: frozenset[Question]
    labels: Counter[Question]
    product_ids: Counter[str]

    @property
    def task_ids(self) -> frozenset[str]:
        """All tasks that cohorts brought."""
        return frozenset(task_id for task_id, _ in self.asked)

    @property
    def n_double_labels(self) -> int:
        """Labels beyond the first one of a question; the benchmarks ask for one each."""
        return sum(times - 1 for times in self.labels.values())

    @property
    def n_double_tasks(self) -> int:
        """Tasks beyond the first one of a product."""
        return sum(times - 1 for times in self.product_ids.values())


def contents(url: str) -> Contents:
    """Read the database."""
    with closing(open_store(url, lease_seconds=1.0)) as queue:
        cohorts, tasks = queue.cohorts(), queue.answered_questions()
        with queue.database.read() as connection:
            labels = connection.execute(select(label.c.task_id, label.c.class_name)).all()
            products = connection.execute(
                select(label_task.c.product_id, func.count()).group_by(label_task.c.product_id)
            ).all()
    return Contents(
        n_cohorts=len(cohorts),
        n_products=sum(cohort.n_products for cohort in cohorts),
        asked=frozenset((task.task_id, asked.class_name) for task in tasks for asked in task.questions),
        labels=Counter((str(task_id), str(class_name)) for task_id, class_name in labels),
        product_ids=Counter({str(product_id): int(times) for product_id, times in products}),
    )


def wait_for(url: str, reached: Callable[[Contents], bool], *, timeout_seconds: float) -> Contents:
    """Read the database until it is as wished, or the time is over; return the last look either way."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        found = contents(url)
        if reached(found) or time.monotonic() > deadline:
            return found
        time.sleep(0.25)
