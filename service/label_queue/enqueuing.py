"""Sealed cohorts into rows: the cohort, its tasks and products, and the questions with their sampling weights."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select

from service.label_queue import statements
from service.label_queue.rows import NewCohort, NewTask
from service.label_queue.schema import cohort, cohort_task, product, question


def enqueue(connection: Connection, cohorts: Sequence[NewCohort], *, now: datetime, is_postgresql: bool) -> int:
    """Insert the cohorts that are not there yet, and return how many they were."""
    n_new = 0
    for new in sorted(cohorts, key=lambda new: new.id):
        if _insert_cohort(connection, new, is_postgresql=is_postgresql):
            n_new += 1
            if new.tasks:
                _insert_tasks(connection, new, now=now, is_postgresql=is_postgresql)
    return n_new


def _insert_cohort(connection: Connection, new: NewCohort, *, is_postgresql: bool) -> bool:
    row = {
        "id": new.id,
        "bundle_version": new.bundle_version,
        "worker": new.worker,
        "sealed_at": new.sealed_at,
        "n_products": new.n_products,
        "tau": new.tau,
        "counters": dict(new.counters),
    }
    statement = statements.insert_or(cohort, is_postgresql=is_postgresql).values(**row)
    inserted = connection.execute(statement.on_conflict_do_nothing().returning(cohort.c.id))
    return inserted.first() is not None


def _insert_tasks(connection: Connection, new: NewCohort, *, now: datetime, is_postgresql: bool) -> None:
    tasks = sorted(new.tasks, key=lambda task: task.fingerprint)  # one order for all, so that no two wait in a circle
    connection.execute(
        statements.task_upsert(is_postgresql=is_postgresql), [_task_row(task, new, now=now) for task in tasks]
    )
    products = [{"task_id": task.fingerprint, "record": dict(task.product), "stored_at": now} for task in tasks]
    kept = statements.insert_or(product, is_postgresql=is_postgresql)
    kept_anew = kept.on_conflict_do_update(index_elements=["task_id"], set_={"stored_at": kept.excluded.stored_at})
    connection.execute(kept_anew, products)
    connection.execute(
        insert(cohort_task),
        [
            {"cohort_id": new.id, "task_id": task.fingerprint, "priority": task.priority, "weight": task.weight}
            for task in tasks
        ],
    )
    task_ids = [task.fingerprint for task in tasks]
    asked_before = _asked(connection, task_ids)
    questions = [row for task in tasks for row in _question_rows(task, new.id, asked_before)]
    if questions:
        connection.execute(insert(question), questions)
    connection.execute(statements.settling(task_ids, now=now, revive=("deleted", "expired")))


def _asked(connection: Connection, task_ids: Sequence[str]) -> set[tuple[str, str]]:
    """What has been asked so far about tasks, which are ours alone since they were upserted."""
    pairs = select(question.c.task_id, question.c.class_name).where(question.c.task_id.in_(task_ids))
    return {(task_id, class_name) for task_id, class_name in connection.execute(pairs)}


def _task_row(task: NewTask, new: NewCohort, *, now: datetime) -> dict[str, object]:
    return {
        "id": task.fingerprint,
        "product_id": task.product_id,
        "state": "completed",  # until it has unanswered questions: settling opens it
        "priority": task.priority,
        "bundle_version": new.bundle_version,
        "opened_at": now,
    }


def _question_rows(task: NewTask, cohort_id: str, asked_before: set[tuple[str, str]]) -> list[dict[str, object]]:
    return [
        {
            "cohort_id": cohort_id,
            "task_id": task.fingerprint,
            "class_name": asked.class_name,
            "probability": asked.probability,
            "positive": asked.positive,
            "reason": asked.reason,
            "weight": asked.weight,
            "inclusion": asked.inclusion,
            "is_new": (task.fingerprint, asked.class_name) not in asked_before,
        }
        for asked in task.questions
    ]
