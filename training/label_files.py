"""The label queue in files: tasks out and labels in for Label Studio, questions with their weights out for analysts.

What the files hold is left to `service.label_studio` and `service.quality.cohort_records`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from service.contracts import FieldSpec
from service.errors import LeaseLost, UnknownTask
from service.label_queue.reading import Filters
from service.label_queue.store import LabelQueue
from service.label_studio import LABELLING_CONFIG, label_studio_task, submissions
from service.quality.cohort_records import exported_questions

TASKS = "tasks.json"
CONFIG = "labelling-config.xml"
QUESTIONS = "questions.jsonl"
PAGE_TASKS = 200


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the annotations of a file."""

    n_stored: int = 0
    n_held: int = 0  # of tasks that somebody has leased right now
    n_unknown: int = 0  # of tasks that this queue does not have


def export_tasks(
    queue: LabelQueue, directory: Path, *, fields: FieldSpec | None, filters: Filters, limit: int, now: datetime
) -> int:
    """Write open tasks by falling priority and the labelling interface to go with them; return how many tasks."""
    tasks: list[dict[str, object]] = []
    cursor: str | None = None
    while len(tasks) < limit:
        page = queue.look(filters, limit=min(PAGE_TASKS, limit - len(tasks)), cursor=cursor, now=now)
        tasks += [label_studio_task(task, fields) for task in page.tasks]
        cursor = page.next_cursor
        if cursor is None:
            break
    directory.mkdir(parents=True, exist_ok=True)
    (directory / TASKS).write_text(json.dumps(tasks))
    (directory / CONFIG).write_text(LABELLING_CONFIG)
    return len(tasks)


def export_questions(queue: LabelQueue, path: Path) -> int:
    """Write every question that was ever asked, with its answer and all that weighs it, a line each; return how many.

    `python -m benchmarks.recover_rates FILE` shows what can be told from such lines.
    """
    n_questions = 0
    with path.open("w") as lines:
        for question in exported_questions(queue.cohorts(), queue.answered_questions()):
            lines.write(json.dumps(question) + "\n")
            n_questions += 1
    return n_questions


def import_labels(queue: LabelQueue, path: Path, *, annotator: str, now: datetime) -> Imported:
    """Store the labels of a JSON export; one that is imported again stores nothing new.

    Raises
    ------
    InvalidRequest
        If it is no export of tasks that came from a label queue.
    """
    n_stored = n_held = n_unknown = 0
    for submission in submissions(path.read_bytes(), annotator=annotator):
        try:
            queue.submit(submission, now=now)
            n_stored += len(submission.labels)
        except LeaseLost:
            n_held += 1
        except UnknownTask:
            n_unknown += 1
    return Imported(n_stored, n_held, n_unknown)
