"""Cohorts, tasks and labels for the queue's tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from service.label_queue.rows import Answer, NewCohort, NewQuestion, NewTask, Submission, TaskLabels

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LEASE_SECONDS = 900.0
LEASE = timedelta(seconds=LEASE_SECONDS)

_numbers = count()


def make_question(class_name: str, **changes: Any) -> NewQuestion:
    usual = NewQuestion(class_name, probability=0.48, positive=False, reason="doubt", weight=0.5, inclusion=0.25)
    return replace(usual, **changes)


def make_task(
    fingerprint: str = "f1",
    *,
    priority: float = 2.0,
    weight: float = 1.5,
    classes: Sequence[str] = ("black", "kids"),
    product_id: str | None = None,
    product: dict[str, Any] | None = None,
) -> NewTask:
    product_id = product_id or f"p-{fingerprint}"
    return NewTask(
        fingerprint=fingerprint,
        product_id=product_id,
        product=product or {"product_id": product_id, "title": "Black shoe"},
        priority=priority,
        weight=weight,
        questions=tuple(make_question(name) for name in classes),
    )


def make_cohort(*tasks: NewTask, cohort_id: str | None = None, version: str = "v1", **changes: Any) -> NewCohort:
    values: dict[str, Any] = {
        "id": cohort_id or f"cohort-{next(_numbers)}",
        "bundle_version": version,
        "worker": "w1",
        "sealed_at": NOON,
        "n_products": 100,
        "tau": 1.25,
        "counters": {"black": {"p": 10.0, "y": 9, "py": 8.5}},
        "tasks": tasks,
    }
    return NewCohort(**(values | changes))


def answer(
    annotator: str, task_id: str, answers: dict[str, Answer], *, token: str | None = None, key: str | None = None
) -> Submission:
    return Submission(annotator, (TaskLabels(task_id, answers),), lease_token=token, key=key)


def skip(annotator: str, task_id: str, *, reason: str = "image missing", token: str | None = None) -> Submission:
    return Submission(annotator, (TaskLabels(task_id, skip=reason),), lease_token=token)
