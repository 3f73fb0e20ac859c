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
from service.quality.second_opinion import SURPRISING

Question = tuple[str, str]  # task id, class
GivenLabel = tuple[str, str, str]  # task id, class, annotator


@dataclass(frozen=True)
class Contents:
    """One look at the database.

    Parameters
    ----------
    n_products : in the counters of all cohorts
    asked : all questions that cohorts put
    labels : how often each annotator's label on a question is there
    surprised : questions whose first answer was unlikely for the model, so that it is asked again
    product_ids : of the tasks; a task that shares another's product would show
    """

    n_cohorts: int
    n_products: int
    asked: frozenset[Question]
    labels: Counter[GivenLabel]
    surprised: frozenset[Question]
    product_ids: Counter[str]

    @property
    def task_ids(self) -> frozenset[str]:
        """All tasks that cohorts brought."""
        return frozenset(task_id for task_id, _ in self.asked)

    @property
    def answered(self) -> frozenset[Question]:
        """All questions with a label."""
        return frozenset((task_id, class_name) for task_id, class_name, _ in self.labels)

    @property
    def n_double_labels(self) -> int:
        """Labels of one annotator on one question beyond the first, and of others beyond the one that was wanted."""
        again = sum(times - 1 for times in self.labels.values())
        return again + self.n_second_opinions - len(self.asked_again)

    @property
    def n_second_opinions(self) -> int:
        """Labels on a question that another annotator had answered."""
        return len(self.labels) - len(self.answered)

    @property
    def asked_again(self) -> frozenset[Question]:
        """Questions whose first answer surprised and that somebody else answered too: no doubles."""
        times = Counter((task_id, class_name) for task_id, class_name, _ in self.labels)
        return frozenset(question for question in self.surprised if times[question] > 1)

    @property
    def n_double_tasks(self) -> int:
        """Tasks beyond the first one of a product."""
        return sum(times - 1 for times in self.product_ids.values())


def contents(url: str) -> Contents:
    """Read the database."""
    with closing(open_store(url, lease_seconds=1.0)) as queue:
        cohorts, tasks = queue.cohorts(), queue.answered_questions()
        with queue.database.read() as connection:
            labels = connection.execute(
                select(label.c.task_id, label.c.class_name, label.c.annotator, label.c.answer).order_by(label.c.id)
            ).all()
            products = connection.execute(
                select(label_task.c.product_id, func.count()).group_by(label_task.c.product_id)
            ).all()
    probabilities = {(task.task_id, asked.class_name): asked.probability for task in tasks for asked in task.questions}
    first = {(str(task_id), str(name)): str(answer) for task_id, name, _, answer in reversed(labels)}
    return Contents(
        n_cohorts=len(cohorts),
        n_products=sum(cohort.n_products for cohort in cohorts),
        asked=frozenset(probabilities),
        labels=Counter((str(task_id), str(name), str(annotator)) for task_id, name, annotator, _ in labels),
        surprised=frozenset(pair for pair, answer in first.items() if _surprises(answer, probabilities[pair])),
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


def _surprises(answer: str, probability: float) -> bool:
    return (answer == "yes" and probability < SURPRISING) or (answer == "no" and probability > 1.0 - SURPRISING)
