"""What people answered, read from the label queue: as arrays, with the time and the importance weight of each answer.

Learning from it is left to `training.fit`, judging by it to `training.retraining.judgement`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.product_reader import decode_base64
from service.contracts import FieldSpec, Product
from service.label_queue.rows import SampledTask, StoredCohort
from service.label_queue.store import LabelQueue
from service.quality.answered_cohort import importance_weights
from service.quality.cohort_records import answered_cohort, of_traffic
from training.catalogues.cells import UNKNOWN

ANSWERS = {"yes": 1, "no": 0}


@dataclass(frozen=True)
class HumanLabels:
    """Products that people answered questions about; arrays (n_products, n_classes).

    Parameters
    ----------
    task_ids : fingerprints, one a product
    answers : 1 yes, 0 no, -1 not asked, unsure, or disputed
    times : seconds since 1970 of the newest answer, 0 where there is none
    importance : W, how many questions of the traffic each answer stands for; 0 where it stands for none. Before any
        answer about traffic, those of a catalogue that was drawn from
    """

    task_ids: tuple[str, ...]
    products: tuple[Product, ...]
    answers: NDArray[np.int8]
    times: NDArray[np.float64]
    importance: NDArray[np.float64]

    @property
    def n_answers(self) -> int:
        """Answers that are yes or no."""
        return int((self.answers != UNKNOWN).sum())

    def only(self, kept: NDArray[np.bool_]) -> HumanLabels:
        """The answers where `kept`, and the products that still have one.

        Parameters
        ----------
        kept : (n_products, n_classes)
        """
        answers = np.where(kept, self.answers, UNKNOWN).astype(np.int8)
        rows = np.flatnonzero((answers != UNKNOWN).any(axis=1))
        return HumanLabels(
            task_ids=tuple(self.task_ids[row] for row in rows),
            products=tuple(self.products[row] for row in rows),
            answers=answers[rows],
            times=self.times[rows],
            importance=np.where(kept, self.importance, 0.0)[rows],
        )


def read_human_labels(queue: LabelQueue, *, fields: FieldSpec, classes: Sequence[str]) -> HumanLabels:
    """Read all settled labels whose product is still stored; labels of other classes are passed over.

    Raises
    ------
    QueueUnavailable
        If the database does not answer.
    """
    column = {name: index for index, name in enumerate(classes)}
    task_ids, products, rows = [], [], []
    for labelled in queue.labels_for_training():
        said = {column[label.class_name]: label for label in labelled.labels if label.class_name in column}
        if said:
            task_ids.append(labelled.task_id)
            products.append(_product(labelled.product, fields))
            rows.append(said)
    answers = np.full((len(rows), len(classes)), UNKNOWN, dtype=np.int8)
    times = np.zeros(answers.shape)
    for row, said in enumerate(rows):
        for index, label in said.items():
            answers[row, index] = ANSWERS.get(label.answer, UNKNOWN)
            times[row, index] = label.labelled_at.timestamp()
    importance = _importance(queue, task_ids, column)
    return HumanLabels(tuple(task_ids), tuple(products), answers, times, importance)


def seconds(moment: datetime | None) -> float:
    """The moment as the times of `HumanLabels`; before everything where there is none."""
    return 0.0 if moment is None else moment.astimezone(UTC).timestamp()


def in_share(task_id: str, *, salt: str, share: float) -> bool:
    """Whether a keyed hash puts the task into a random share of all tasks; always the same for one salt."""
    digest = hashlib.blake2b(task_id.encode(), key=salt.encode()[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _product(record: Mapping[str, Any], fields: FieldSpec) -> Product:
    """The product as it was classified, but for an image that was too large to wait for labelling.

    One that is no base64 counts as missing, as it did then.
    """
    content = record.get(fields.image) if fields.image else None
    try:
        image = decode_base64(content) if isinstance(content, str) else None
    except ValueError:
        image = None
    return fields.product(record, image=image)


def _importance(queue: LabelQueue, task_ids: Sequence[str], column: Mapping[str, int]) -> NDArray[np.float64]:
    """W of every answer, summed over the cohorts of traffic that asked.

    What was drawn from a catalogue stands for that catalogue, whose thousands of products would drown the traffic: it
    weighs only as long as nothing about traffic was answered.
    """
    tasks_of: dict[str, list[SampledTask]] = {}
    for task in queue.answered_questions():
        tasks_of.setdefault(task.cohort_id, []).append(task)
    everything = queue.cohorts()
    of_all_traffic = _summed_weights(of_traffic(everything), tasks_of, task_ids, column)
    return of_all_traffic if of_all_traffic.any() else _summed_weights(everything, tasks_of, task_ids, column)


def _summed_weights(
    cohorts: Sequence[StoredCohort],
    tasks_of: Mapping[str, Sequence[SampledTask]],
    task_ids: Sequence[str],
    column: Mapping[str, int],
) -> NDArray[np.float64]:
    row_of = {task_id: row for row, task_id in enumerate(task_ids)}
    importance = np.zeros((len(task_ids), len(column)))
    for cohort in cohorts:
        tasks = tasks_of.get(cohort.id, [])
        asked = [(task.task_id, question.class_name) for task in tasks for question in task.questions]
        weights = importance_weights(answered_cohort(cohort, tasks))
        for (task_id, class_name), weight in zip(asked, weights, strict=True):
            if task_id in row_of and class_name in column:
                importance[row_of[task_id], column[class_name]] += weight
    return importance
