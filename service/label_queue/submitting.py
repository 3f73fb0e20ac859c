"""Labels into rows: who may label what, which answers are new, and what that makes of the tasks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from service.errors import KeyReused, LeaseLost, UnknownClass, UnknownTask
from service.label_queue import statements
from service.label_queue.rows import Answer, Submission, TaskLabels
from service.label_queue.schema import annotator, label, label_task, question, skip, submission
from service.label_queue.schema import lease as leases


def submit(connection: Connection, sent: Submission, *, now: datetime, is_postgresql: bool) -> tuple[TaskLabels, ...]:
    """Store a submission and return what of its answers is new; see `LabelQueue.submit`."""
    if sent.key is not None and not _is_first(connection, sent, now=now, is_postgresql=is_postgresql):
        return ()
    overlap = 1
    if sent.lease_token is not None:
        overlap = check_lease(connection, annotator=sent.annotator, lease_token=sent.lease_token)
    tasks = _locked_tasks(connection, sent)
    _check_holder(tasks, lease_token=sent.lease_token, now=now)
    _check_classes(connection, sent)
    new = _store_answers(connection, sent, tasks, now=now)
    _store_skips(connection, sent, now=now)
    _settle(connection, sent, overlap=overlap, now=now)
    return new


def check_lease(connection: Connection, *, annotator: str, lease_token: str) -> int:
    """Return the lease's overlap.

    Raises
    ------
    LeaseLost
        If the token was never granted, or to somebody else.
    """
    row = connection.execute(select(leases).where(leases.c.token == lease_token)).mappings().first()
    if row is None:
        raise LeaseLost("no lease has this token; lease again")
    if row["annotator"] != annotator:
        raise LeaseLost("this lease belongs to another annotator; lease again")
    return int(row["overlap"])


def remember_annotator(connection: Connection, name: str, *, now: datetime, is_postgresql: bool) -> None:
    """Add an annotator who comes for the first time."""
    known = connection.execute(select(annotator.c.name).where(annotator.c.name == name)).first()
    if known is None:
        statement = statements.insert_or(annotator, is_postgresql=is_postgresql)
        connection.execute(statement.values(name=name, first_seen_at=now).on_conflict_do_nothing())


def _is_first(connection: Connection, sent: Submission, *, now: datetime, is_postgresql: bool) -> bool:
    """Take the key, or find out that the same submission has it; one in flight is waited for."""
    content = asdict(sent) | {"known_classes": None}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    row = {"key": sent.key, "digest": digest, "n_accepted": len(sent.labels), "submitted_at": now}
    statement = statements.insert_or(submission, is_postgresql=is_postgresql).values(**row)
    taken = connection.execute(statement.on_conflict_do_nothing().returning(submission.c.key))
    if taken.first() is not None:
        return True
    earlier = connection.execute(select(submission.c.digest).where(submission.c.key == sent.key)).scalar_one()
    if earlier != digest:
        raise KeyReused("this idempotency key came with another content before; use a new key for each submission")
    return False


def _locked_tasks(connection: Connection, sent: Submission) -> Mapping[str, Any]:
    task_ids = sorted(labels.task_id for labels in sent.labels)
    found = select(label_task).where(label_task.c.id.in_(task_ids)).order_by(label_task.c.id).with_for_update()
    tasks = {row["id"]: row for row in connection.execute(found).mappings()}
    for index, labels in enumerate(sent.labels):
        if labels.task_id not in tasks:
            raise UnknownTask(f"labels[{index}].task_id is the id of no label task")
    return tasks


def _check_holder(tasks: Mapping[str, Any], *, lease_token: str | None, now: datetime) -> None:
    """Refuse what somebody else holds; late labels are welcome while nobody does."""
    lost = tuple(
        task["id"]
        for task in tasks.values()
        if task["lease_token"] not in (None, lease_token) and task["lease_expires_at"] > now
    )
    if lost:
        raise LeaseLost(f"somebody else holds {len(lost)} of the tasks; send the others again", task_ids=lost)


def _check_classes(connection: Connection, sent: Submission) -> None:
    task_ids = [labels.task_id for labels in sent.labels]
    rows = connection.execute(select(question.c.task_id, question.c.class_name).where(question.c.task_id.in_(task_ids)))
    asked = {(task_id, class_name) for task_id, class_name in rows}
    for index, labels in enumerate(sent.labels):
        for name in labels.answers:
            if name not in sent.known_classes and (labels.task_id, name) not in asked:
                raise UnknownClass(
                    f"labels[{index}].answers names a class that is neither asked about this task nor in the taxonomy"
                )


def _store_answers(
    connection: Connection, sent: Submission, tasks: Mapping[str, Any], *, now: datetime
) -> tuple[TaskLabels, ...]:
    """Store the answers that are not the annotator's standing ones already, and return them."""
    standing = _standing(connection, sent.annotator, list(tasks))
    new = tuple(_without(labels, standing) for labels in sent.labels)
    events = [
        {
            "task_id": labels.task_id,
            "class_name": class_name,
            "answer": answer,
            "annotator": sent.annotator,
            "labelled_at": now,
            "bundle_version": tasks[labels.task_id]["bundle_version"],
            "is_new": (labels.task_id, class_name) not in standing,
        }
        for labels in new
        for class_name, answer in labels.answers.items()
    ]
    if events:
        connection.execute(insert(label), events)
    return tuple(labels for labels in new if labels.answers)


def _without(labels: TaskLabels, standing: Mapping[tuple[str, str], Answer]) -> TaskLabels:
    new = {name: said for name, said in labels.answers.items() if standing.get((labels.task_id, name)) != said}
    return TaskLabels(labels.task_id, new)


def _standing(connection: Connection, name: str, task_ids: Sequence[str]) -> dict[tuple[str, str], Answer]:
    mine = (
        select(label.c.task_id, label.c.class_name, label.c.answer)
        .where(label.c.task_id.in_(task_ids), label.c.annotator == name)
        .order_by(label.c.id)
    )
    return {(task_id, class_name): answer for task_id, class_name, answer in connection.execute(mine)}


def _store_skips(connection: Connection, sent: Submission, *, now: datetime) -> None:
    skipped = [labels for labels in sent.labels if labels.skip is not None]
    if not skipped:
        return
    said_before = _skips(connection, sent.annotator, [labels.task_id for labels in skipped])
    events = [
        {"task_id": labels.task_id, "annotator": sent.annotator, "reason": labels.skip, "skipped_at": now}
        for labels in skipped
        if (labels.task_id, labels.skip) not in said_before
    ]
    if events:
        connection.execute(insert(skip), events)
    task_ids = [labels.task_id for labels in skipped]
    withdrawn = {"state": "withdrawn", "withdrawal": "skipped"}
    connection.execute(
        update(label_task).where(label_task.c.id.in_(task_ids), label_task.c.state == "open").values(**withdrawn)
    )
    connection.execute(
        update(label_task).where(label_task.c.id.in_(task_ids)).values(lease_token=None, lease_expires_at=None)
    )


def _skips(connection: Connection, name: str, task_ids: Sequence[str]) -> set[tuple[str, str]]:
    mine = select(skip.c.task_id, skip.c.reason).where(skip.c.task_id.in_(task_ids), skip.c.annotator == name)
    return {(task_id, reason) for task_id, reason in connection.execute(mine)}


def _settle(connection: Connection, sent: Submission, *, overlap: int, now: datetime) -> None:
    """Complete what is answered, and end the lease of tasks that have nothing left for this annotator."""
    answered = [labels.task_id for labels in sent.labels if labels.answers]
    if not answered:
        return
    connection.execute(statements.settling(answered, now=now, revive=("skipped",)))
    wanted = statements.is_wanted(annotator=sent.annotator, overlap=overlap)
    connection.execute(
        update(label_task)
        .where(label_task.c.id.in_(answered), ~statements.has_question(wanted))
        .values(lease_token=None, lease_expires_at=None)
    )
