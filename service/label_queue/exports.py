"""What training, live quality and the gate read from the label queue: settled labels, cohorts, sampled questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, and_, select

from service.label_queue import statements
from service.label_queue.rows import LabelledClass, LabelledProduct, SampledQuestion, SampledTask, StoredCohort, Verdict
from service.label_queue.schema import cohort, cohort_task, label_task, product, question

ROWS_AT_ONCE = 1_000  # all rows of a queue at once take three times the memory of what is made of them
Said = tuple[Verdict | None, datetime | None, int, int]  # verdict, time of its newest answer, who say yes, who say no
Verdicts = Mapping[tuple[str, str], Said]  # by task id and class
NOTHING_SAID: Said = (None, None, 0, 0)

N_PRODUCTS_AT_ONCE = 200  # records hold images: this bounds the memory


def labels_for_training(
    connection: Connection, *, since: datetime | None, until: datetime | None
) -> Iterator[LabelledProduct]:
    """Yield labelled products whose record is still stored; see `LabelQueue.labels_for_training`."""
    verdict = statements.verdicts()
    settled = select(verdict).where(verdict.c.verdict != "conflict")
    if since is not None:
        settled = settled.where(verdict.c.labelled_at >= since)
    if until is not None:
        settled = settled.where(verdict.c.labelled_at < until)
    rows = connection.execute(settled.order_by(verdict.c.task_id, verdict.c.class_name)).mappings().all()
    labels = {task_id: list(group) for task_id, group in groupby(rows, key=lambda row: str(row["task_id"]))}
    task_ids = list(labels)
    for start in range(0, len(task_ids), N_PRODUCTS_AT_ONCE):
        for record in _records(connection, task_ids[start : start + N_PRODUCTS_AT_ONCE]):
            yield LabelledProduct(
                task_id=record["id"],
                product_id=record["product_id"],
                product=record["record"],
                labels=tuple(_labelled_class(row) for row in labels[record["id"]]),
            )


def cohorts(connection: Connection, bundle_version: str | None) -> list[StoredCohort]:
    """Return cohorts, oldest first."""
    query = select(cohort).order_by(cohort.c.sealed_at, cohort.c.id)
    if bundle_version is not None:
        query = query.where(cohort.c.bundle_version == bundle_version)
    return [StoredCohort(**row) for row in connection.execute(query).mappings()]


def sampled_tasks(connection: Connection, bundle_version: str | None) -> list[SampledTask]:
    """Return the tasks of cohorts with their questions and verdicts, by cohort and falling q.

    Two statements rather than a join: PostgreSQL, as long as it knows little of young tables, computes all verdicts
    anew for every question, and 2,000 of them take longer than a statement may.
    """
    query = (
        select(
            cohort_task,
            label_task.c.state,
            *(column for column in question.c if column.name not in ("cohort_id", "task_id", "weight")),
            question.c.weight.label("question_weight"),
        )
        .select_from(cohort)
        .join(cohort_task, cohort_task.c.cohort_id == cohort.c.id)
        .join(label_task, label_task.c.id == cohort_task.c.task_id)
        .join(question, _same(question, cohort_task, "cohort_id", "task_id"))
        .order_by(cohort_task.c.cohort_id, cohort_task.c.priority.desc(), cohort_task.c.task_id, question.c.class_name)
    )
    if bundle_version is not None:
        query = query.where(cohort.c.bundle_version == bundle_version)
    found = _verdicts(connection)
    rows = connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}).mappings()
    by_task = groupby(rows, key=lambda row: (row["cohort_id"], row["task_id"]))
    return [_sampled_task(list(group), found) for _, group in by_task]


def _verdicts(connection: Connection) -> Verdicts:
    verdict = statements.verdicts()
    columns = ("task_id", "class_name", "verdict", "labelled_at", "n_yes", "n_no")
    rows = connection.execute(select(*(verdict.c[column] for column in columns)))
    return {(row.task_id, row.class_name): (row.verdict, row.labelled_at, row.n_yes, row.n_no) for row in rows}


def _records(connection: Connection, task_ids: list[str]) -> list[Any]:
    query = (
        select(label_task.c.id, label_task.c.product_id, product.c.record)
        .join_from(label_task, product)
        .where(label_task.c.id.in_(task_ids))
        .order_by(label_task.c.id)
    )
    return list(connection.execute(query).mappings())


def _labelled_class(row: Any) -> LabelledClass:
    return LabelledClass(row["class_name"], row["verdict"], row["labelled_at"], row["n_annotators"])


def _same(left: Any, right: Any, *columns: str) -> Any:
    return and_(*(left.c[column] == right.c[column] for column in columns))


def _sampled_task(rows: list[Any], verdicts: Verdicts) -> SampledTask:
    first = rows[0]
    settled = [verdicts.get((row["task_id"], row["class_name"]), NOTHING_SAID) for row in rows]
    return SampledTask(
        cohort_id=first["cohort_id"],
        task_id=first["task_id"],
        priority=first["priority"],
        weight=first["weight"],
        withdrawn=first["state"] == "withdrawn",
        questions=tuple(
            SampledQuestion(
                class_name=row["class_name"],
                probability=row["probability"],
                positive=row["positive"],
                weight=row["question_weight"],
                inclusion=row["inclusion"],
                verdict=verdict,
                labelled_at=labelled_at,
                n_yes=n_yes,
                n_no=n_no,
            )
            for row, (verdict, labelled_at, n_yes, n_no) in zip(rows, settled, strict=True)
        ),
    )
