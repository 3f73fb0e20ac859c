"""SQL expressions with a meaning of their own (free, unanswered, wanted, standing, verdict), which `store` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Insert, Select, Subquery, Update, and_, case, distinct, exists, func, or_, select
from sqlalchemy import update as sql_update
from sqlalchemy.dialects import postgresql, sqlite

from service.label_queue.schema import cohort, label, label_task, product, question, skip
from service.quality.second_opinion import SURPRISING


def is_free(now: datetime) -> ColumnElement[bool]:
    """Nobody holds the task; an expired lease counts as none."""
    return or_(label_task.c.lease_token.is_(None), label_task.c.lease_expires_at <= now)


def is_unanswered() -> ColumnElement[bool]:
    """No annotator has answered the question yet, in this or any other cohort."""
    return ~exists().where(label.c.task_id == question.c.task_id, label.c.class_name == question.c.class_name)


def is_doubted(*, by_other_than: str | None = None) -> ColumnElement[bool]:
    """One annotator alone has answered the question, and the answer surprises: the model gives it little chance."""
    answered = label.alias()
    same = and_(answered.c.task_id == question.c.task_id, answered.c.class_name == question.c.class_name)
    n_answered = select(func.count(distinct(answered.c.annotator))).where(same).correlate(question).scalar_subquery()
    newest = select(func.max(answered.c.id)).where(same).correlate(question).scalar_subquery()
    surprising = or_(
        and_(label.c.answer == "yes", question.c.probability < SURPRISING),
        and_(label.c.answer == "no", question.c.probability > 1.0 - SURPRISING),
    )
    says_so = exists().where(label.c.id == newest, surprising)
    if by_other_than is not None:
        says_so = exists().where(label.c.id == newest, surprising, label.c.annotator != by_other_than)
    return and_(n_answered == 1, says_so)


def is_wanted(*, annotator: str, overlap: int) -> ColumnElement[bool]:
    """Fewer than `overlap` annotators have answered the question, and this one is not among them.

    An answer that surprises wants a second opinion in any case.
    """
    if overlap == 1:
        return or_(is_unanswered(), is_doubted(by_other_than=annotator))
    same = and_(label.c.task_id == question.c.task_id, label.c.class_name == question.c.class_name)
    n_answered = select(func.count(distinct(label.c.annotator))).where(same).correlate(question).scalar_subquery()
    return and_(n_answered < overlap, ~exists().where(same, label.c.annotator == annotator))


def has_question(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The task has a question for which the condition holds."""
    return exists().where(question.c.task_id == label_task.c.id, condition)


def leasing_doubted(*, annotator: str, n_tasks: int, now: datetime, granted: Mapping[str, Any]) -> Any:
    """One statement that leases completed tasks with an answer of somebody else that surprised."""
    candidates = (
        select(label_task.c.id)
        .where(is_free(now), label_task.c.doubted, label_task.c.state == "completed")
        .where(*_another_opinion(annotator, is_doubted(by_other_than=annotator)))
    )
    return _leasing_best(candidates, n_tasks=n_tasks, granted=granted)


def leasing(*, annotator: str, n_tasks: int, overlap: int, now: datetime, granted: Mapping[str, Any]) -> Any:
    """One statement that leases the best free tasks: two annotators cannot both win, and nobody has to clean up."""
    candidates = select(label_task.c.id).where(is_free(now))
    if overlap == 1:
        candidates = candidates.where(label_task.c.state == "open")
    else:
        wanted = is_wanted(annotator=annotator, overlap=overlap)
        candidates = candidates.where(
            label_task.c.state.in_(("open", "completed")), *_another_opinion(annotator, wanted)
        )
    return _leasing_best(candidates, n_tasks=n_tasks, granted=granted)


def _another_opinion(annotator: str, wanted: ColumnElement[bool]) -> tuple[ColumnElement[bool], ...]:
    """The annotator can still say something: the product is kept, a question is wanted, and they did not pass it by."""
    return (
        has_question(wanted),
        exists().where(product.c.task_id == label_task.c.id),
        ~exists().where(skip.c.task_id == label_task.c.id, skip.c.annotator == annotator),
    )


def _leasing_best(candidates: Select[Any], *, n_tasks: int, granted: Mapping[str, Any]) -> Any:
    best = (
        candidates.order_by(label_task.c.priority.desc(), label_task.c.id)
        .limit(n_tasks)
        .with_for_update(skip_locked=True, of=label_task)
        .cte("best")
    )
    chosen = label_task.c.id.in_(select(best.c.id))
    return sql_update(label_task).where(chosen).values(**granted).returning(label_task.c.id)


def settling(task_ids: Sequence[str], *, now: datetime, revive: Sequence[str]) -> Update:
    """One statement that puts tasks where their answers say: completed, or open while a question is unanswered.

    Withdrawn tasks stay so, unless their reason is among `revive`.
    """
    unanswered = select(question.c.task_id).where(question.c.task_id.in_(task_ids), is_unanswered())
    is_open = label_task.c.id.in_(unanswered)
    doubted = select(question.c.task_id).where(question.c.task_id.in_(task_ids), is_doubted())
    return (
        sql_update(label_task)
        .where(
            label_task.c.id.in_(task_ids),
            or_(label_task.c.state != "withdrawn", label_task.c.withdrawal.in_(revive)),
        )
        .values(
            state=case((is_open, "open"), else_="completed"),
            opened_at=case((and_(label_task.c.state != "open", is_open), now), else_=label_task.c.opened_at),
            withdrawal=None,
            doubted=label_task.c.id.in_(doubted),
        )
    )


def questions_of(task_ids: Sequence[str], condition: ColumnElement[bool]) -> Select[Any]:
    """The questions of some tasks, oldest cohort first: the newest probability, answer and reason come last."""
    return (
        select(question)
        .join(cohort, cohort.c.id == question.c.cohort_id)
        .where(question.c.task_id.in_(task_ids), condition)
        .order_by(question.c.task_id, cohort.c.sealed_at, cohort.c.id, question.c.weight.desc(), question.c.class_name)
    )


def standing_answers(pairs: Subquery | None = None) -> Subquery:
    """The newest answer of each annotator to each class of each task, of all or of some (task_id, class_name) pairs."""
    newest_first = func.row_number().over(
        partition_by=(label.c.task_id, label.c.class_name, label.c.annotator), order_by=label.c.id.desc()
    )
    numbered = select(label, newest_first.label("recency"))
    if pairs is not None:
        same = and_(label.c.task_id == pairs.c.task_id, label.c.class_name == pairs.c.class_name)
        numbered = numbered.join(pairs, same)
    rows = numbered.subquery("numbered")
    return select(rows).where(rows.c.recency == 1).subquery("standing")


def second_opinions() -> Subquery:
    """The (task_id, class_name) pairs that several annotators answered: few, and the only ones that can conflict."""
    pair = (label.c.task_id, label.c.class_name)
    return select(*pair).where(label.c.is_new).group_by(*pair).having(func.count() > 1).subquery("second_opinion")


def verdicts(pairs: Subquery | None = None) -> Subquery:
    """What the annotators say together: the majority of yes and no, a conflict on a tie, unsure where nobody knows."""
    answers = standing_answers(pairs)
    n_yes = func.sum(case((answers.c.answer == "yes", 1), else_=0))
    n_no = func.sum(case((answers.c.answer == "no", 1), else_=0))
    verdict = case((n_yes > n_no, "yes"), (n_no > n_yes, "no"), (n_yes > 0, "conflict"), else_="unsure")
    return (
        select(
            answers.c.task_id,
            answers.c.class_name,
            verdict.label("verdict"),
            n_yes.label("n_yes"),
            n_no.label("n_no"),
            func.count().label("n_annotators"),
            func.max(answers.c.labelled_at).label("labelled_at"),
        )
        .group_by(answers.c.task_id, answers.c.class_name)
        .subquery("verdict")
    )


def asked_regardless() -> Subquery:
    """The pairs that several annotators answered, but for plain questions: there a second opinion may have been asked
    because the first answer was likely wrong, so that contradictions say too much."""
    pairs = second_opinions()
    same = and_(question.c.task_id == pairs.c.task_id, question.c.class_name == pairs.c.class_name)
    plain = or_(question.c.probability < SURPRISING, question.c.probability > 1.0 - SURPRISING)
    return select(pairs).where(~exists().where(same, plain)).subquery("regardless")


def agreements() -> Select[Any]:
    """For every two annotators who know an answer to the same questions: how many, and to how many the same."""
    known = standing_answers(asked_regardless())
    first, second = known.alias("first"), known.alias("second")
    same_question = and_(first.c.task_id == second.c.task_id, first.c.class_name == second.c.class_name)
    pairs = first.join(second, and_(same_question, first.c.annotator < second.c.annotator))
    return (
        select(
            first.c.annotator.label("first"),
            second.c.annotator.label("second"),
            func.count().label("n_shared"),
            func.sum(case((first.c.answer == second.c.answer, 1), else_=0)).label("n_same"),
        )
        .select_from(pairs)
        .where(first.c.answer != "unsure", second.c.answer != "unsure")
        .group_by(first.c.annotator, second.c.annotator)
    )


def insert_or(table: Any, *, is_postgresql: bool) -> Any:
    """An INSERT that can say what to do on a conflict; both databases spell it alike."""
    insert: Any = postgresql.insert if is_postgresql else sqlite.insert
    return insert(table)


def task_upsert(*, is_postgresql: bool) -> Insert:
    """Add tasks; one that exists takes the newest bundle version, and the higher priority while it is open."""
    statement = insert_or(label_task, is_postgresql=is_postgresql)
    new = statement.excluded
    keeps_priority = and_(label_task.c.state == "open", label_task.c.priority > new.priority)
    changed: Insert = statement.on_conflict_do_update(
        index_elements=["id"],
        set_={
            "bundle_version": new.bundle_version,
            "priority": case((keeps_priority, label_task.c.priority), else_=new.priority),
        },
    )
    return changed
