"""Rows into tasks, pages and counts, for those who look at the label queue."""

from __future__ import annotations

import base64
import binascii
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, case, exists, func, not_, or_, select, true

from service.errors import InvalidRequest
from service.label_queue import statements
from service.label_queue.rows import Answer, Page, Question, Stats, Task
from service.label_queue.schema import cohort_task, label, label_task, product, question

LookState = Literal["open", "leased", "completed", "withdrawn", "conflict"]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which tasks to look at."""

    state: LookState = "open"
    class_name: str | None = None  # has a question about this class
    min_score: float | None = None  # sampling weight w of its product, in one of its cohorts
    min_age_seconds: float | None = None  # since the task was opened


def tasks(
    connection: Connection, condition: ColumnElement[bool], *, questions: ColumnElement[bool]
) -> tuple[Task, ...]:
    """Return tasks by falling priority with those of their questions that meet a condition."""
    query = _with_record().where(condition).order_by(label_task.c.priority.desc(), label_task.c.id)
    rows = connection.execute(query).mappings().all()
    asked: dict[str, dict[str, Question]] = defaultdict(dict)
    if rows:
        found = connection.execute(statements.questions_of([row["id"] for row in rows], questions)).mappings()
        for row in found:  # newest cohort last: its probability, answer and reason are shown
            name = row["class_name"]
            asked[row["task_id"]][name] = Question(name, row["probability"], row["positive"], row["reason"])
    return tuple(_task(row, tuple(asked[row["id"]].values())) for row in rows)


def look(connection: Connection, filters: Filters, *, limit: int, cursor: str | None, now: datetime) -> Page:
    """Return one page of tasks by falling priority."""
    conditions = [*_conditions(filters, now=now), *([_after(cursor)] if cursor else [])]
    ids = (
        select(label_task.c.id, label_task.c.priority)
        .where(*conditions)
        .order_by(label_task.c.priority.desc(), label_task.c.id)
        .limit(limit + 1)
    )
    rows = connection.execute(ids).all()
    shown = [row.id for row in rows[:limit]]
    found = tasks(connection, label_task.c.id.in_(shown), questions=_shown_questions(filters.state))
    if filters.state == "conflict":
        found = _with_answers(connection, found)
    more = len(rows) > limit
    return Page(tasks=found, next_cursor=_cursor(rows[limit - 1].priority, rows[limit - 1].id) if more else None)


def stats(connection: Connection, *, now: datetime) -> Stats:
    """Count tasks by state, questions, answers, conflicts and agreement."""
    agreed, tied, n_several = _agreement(connection)
    waiting = select(func.min(label_task.c.opened_at)).where(label_task.c.state == "open", statements.is_free(now))
    oldest = connection.execute(waiting).scalar()
    newest = select(label.c.labelled_at).order_by(label.c.id.desc()).limit(1)
    return Stats(
        **_counts_by_state(connection, now=now),
        lapsed=connection.execute(select(func.count()).where(_is_lapsed(now))).scalar_one(),
        questions=connection.execute(select(func.count()).where(question.c.is_new)).scalar_one(),
        answers=connection.execute(select(func.count()).where(label.c.is_new)).scalar_one(),
        conflicts=tied,
        agreement=agreed / n_several if n_several else None,
        oldest_open_seconds=None if oldest is None else max((now - oldest).total_seconds(), 0.0),
        newest_answer_at=connection.execute(newest).scalar(),
    )


def _is_lapsed(now: datetime) -> ColumnElement[bool]:
    return and_(label_task.c.state == "open", label_task.c.lease_expires_at <= now)


def _agreement(connection: Connection) -> tuple[int, int, int]:
    """Of the pairs that several know an answer to: those on which all agree and all, unless surprise led to asking
    again; and those that tie, of all."""
    tied = statements.verdicts(statements.second_opinions())
    n_tied = connection.execute(select(func.count()).where(tied.c.verdict == "conflict")).scalar_one()
    verdict = statements.verdicts(statements.asked_regardless())
    unanimous = or_(verdict.c.n_yes == 0, verdict.c.n_no == 0)
    sums = select(func.sum(case((unanimous, 1), else_=0)), func.count()).where(verdict.c.n_yes + verdict.c.n_no > 1)
    agreed, n_several = connection.execute(sums).one()
    return agreed or 0, n_tied, n_several


def _counts_by_state(connection: Connection, *, now: datetime) -> dict[str, int]:
    state = case((statements.is_free(now), label_task.c.state), else_="leased").label("state")
    rows = connection.execute(select(state, func.count().label("n")).group_by(state))
    counts = {row.state: row.n for row in rows}
    return {name: counts.get(name, 0) for name in ("open", "leased", "completed", "withdrawn")}


def _with_record() -> Select[Any]:
    return select(label_task, product.c.record).join_from(label_task, product, isouter=True)


def _task(row: Any, questions: tuple[Question, ...]) -> Task:
    return Task(
        id=row["id"],
        product_id=row["product_id"],
        product=row["record"] or {},
        questions=questions,
        model_version=row["bundle_version"],
        priority=row["priority"],
        opened_at=row["opened_at"],
    )


def _conditions(filters: Filters, *, now: datetime) -> list[ColumnElement[bool]]:
    free = statements.is_free(now)
    conditions = {
        "open": [label_task.c.state == "open", free],
        "leased": [not_(free)],
        "completed": [label_task.c.state == "completed", free],
        "withdrawn": [label_task.c.state == "withdrawn"],
        "conflict": [_has_conflict(None)],
    }[filters.state]
    if filters.class_name is not None:
        conditions.append(_has_class(filters))
    if filters.min_score is not None:
        heavy = and_(cohort_task.c.task_id == label_task.c.id, cohort_task.c.weight >= filters.min_score)
        conditions.append(exists().where(heavy))
    if filters.min_age_seconds is not None:
        conditions.append(label_task.c.opened_at <= now - timedelta(seconds=filters.min_age_seconds))
    return conditions


def _has_class(filters: Filters) -> ColumnElement[bool]:
    if filters.state == "conflict":
        return _has_conflict(filters.class_name)
    shown = _shown_questions(filters.state)
    return statements.has_question(and_(question.c.class_name == filters.class_name, shown))


def _shown_questions(state: LookState) -> ColumnElement[bool]:
    if state == "open":
        return statements.is_unanswered()
    return true()


def _has_conflict(class_name: str | None) -> ColumnElement[bool]:
    verdict = statements.verdicts(statements.second_opinions())
    tied = select(verdict.c.task_id).where(verdict.c.verdict == "conflict")
    if class_name is not None:
        tied = tied.where(verdict.c.class_name == class_name)
    return label_task.c.id.in_(tied)


def _with_answers(connection: Connection, found: tuple[Task, ...]) -> tuple[Task, ...]:
    """Show who said what about each class in conflict, asked or not."""
    task_ids = [task.id for task in found]
    pairs = statements.second_opinions()
    verdict, standing = statements.verdicts(pairs), statements.standing_answers(pairs)
    same = and_(standing.c.task_id == verdict.c.task_id, standing.c.class_name == verdict.c.class_name)
    tied = select(standing).join(verdict, same).where(verdict.c.verdict == "conflict", verdict.c.task_id.in_(task_ids))
    answers: dict[str, dict[str, dict[str, Answer]]] = defaultdict(lambda: defaultdict(dict))
    for row in connection.execute(tied.order_by(standing.c.class_name, standing.c.annotator)).mappings():
        answers[row["task_id"]][row["class_name"]][row["annotator"]] = row["answer"]
    return tuple(replace(task, questions=_tied_questions(task, answers[task.id])) for task in found)


def _tied_questions(task: Task, answers: Mapping[str, Mapping[str, Answer]]) -> tuple[Question, ...]:
    asked = {question.class_name: question for question in task.questions}
    return tuple(
        replace(asked.get(name, Question(name, None, positive=False, reason="conflict")), answers=said)
        for name, said in answers.items()
    )


def _cursor(priority: float, task_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([priority, task_id]).encode()).decode()


def _after(cursor: str) -> ColumnElement[bool]:
    try:
        priority, task_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        after = or_(
            label_task.c.priority < float(priority),
            and_(label_task.c.priority == float(priority), label_task.c.id > str(task_id)),
        )
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidRequest("cursor is none that this queue handed out; begin without one", field="cursor") from error
    return after
