"""Sealed cohorts as the label queue keeps them, and, with their answers, as live quality reads them.

The one place that knows both sides: `service.acquisition` knows no store, `service.label_queue` no sampling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from service.acquisition.cohort import CohortTotals, Question, SampledProduct, SealedCohort
from service.label_queue.rows import NewCohort, NewQuestion, NewTask, SampledQuestion, SampledTask, StoredCohort
from service.quality.answered_cohort import AnsweredCohort, AskedQuestions, Outcome

POOL = "pool"  # the worker that seals what was drawn from a catalogue instead of from traffic

_OUTCOMES = {"yes": Outcome.YES, "no": Outcome.NO, "unsure": Outcome.UNSURE, "conflict": Outcome.UNSURE}


def new_cohort(sealed: SealedCohort, *, worker: str) -> NewCohort:
    """Arrange a sealed cohort for the queue.

    Parameters
    ----------
    worker : who sealed it
    """
    return NewCohort(
        id=sealed.cohort_id,
        bundle_version=sealed.bundle_version,
        worker=worker,
        sealed_at=sealed.sealed_at,
        n_products=sealed.totals.n_products,
        tau=sealed.threshold or None,
        counters=_counters(sealed.classes, sealed.totals),
        tasks=tuple(_task(product, sealed.id_field) for product in sealed.products),
    )


def _counters(classes: Sequence[str], totals: CohortTotals) -> dict[str, Any]:
    return {
        "classes": list(classes),
        "probability": totals.probability.tolist(),
        "positive": totals.positive.tolist(),
        "probability_of_positive": totals.probability_of_positive.tolist(),
    }


def _task(product: SampledProduct, id_field: str) -> NewTask:
    return NewTask(
        fingerprint=product.fingerprint.hex(),
        product_id=_product_id(product.record, id_field),
        product=product.record,
        priority=product.priority,
        weight=product.weight,
        questions=tuple(_question(question) for question in product.questions),
    )


def _product_id(record: Mapping[str, Any], id_field: str) -> str:
    return str(record[id_field])


def _question(question: Question) -> NewQuestion:
    return NewQuestion(
        class_name=question.class_name,
        probability=question.probability,
        positive=question.positive,
        reason=question.reason.words,
        weight=question.weight,
        inclusion=question.inclusion_probability,
    )


def of_traffic(cohorts: Iterable[StoredCohort]) -> list[StoredCohort]:
    """Cohorts of traffic alone: what was drawn from a catalogue says nothing of how good the service's answers are."""
    return [stored for stored in cohorts if stored.worker != POOL]


def answered_cohort(stored: StoredCohort, tasks: Sequence[SampledTask]) -> AnsweredCohort:
    """Arrange a stored cohort with the verdicts so far for `service.quality.live_quality`.

    Nothing more is awaited of a withdrawn task: its unanswered questions count as unsure, as conflicts do.

    Parameters
    ----------
    tasks : all that the cohort kept
    """
    counters = stored.counters
    return AnsweredCohort(
        n_products=stored.n_products,
        threshold=stored.tau or 0.0,
        probability=np.array(counters["probability"], dtype=np.float64),
        positive=np.array(counters["positive"], dtype=np.float64),
        probability_of_positive=np.array(counters["probability_of_positive"], dtype=np.float64),
        asked=_asked(tasks, counters["classes"]),
    )


def answered_cohorts(cohorts: Sequence[StoredCohort], tasks: Iterable[SampledTask]) -> list[AnsweredCohort]:
    """Arrange all cohorts of a bundle with their tasks, which may come in any order."""
    return [answered_cohort(stored, own) for stored, own in _with_tasks(cohorts, tasks)]


def exported_questions(cohorts: Sequence[StoredCohort], tasks: Iterable[SampledTask]) -> Iterator[dict[str, Any]]:
    """Yield every question with its answer, if any, and all that an analyst needs to weigh it; one JSON line each.

    `python -m benchmarks.recover_rates FILE` shows what can be told from such lines alone.
    """
    for stored, own in _with_tasks(cohorts, tasks):
        for task in own:
            for question in task.questions:
                yield {
                    "cohort": stored.id,
                    "bundle_version": stored.bundle_version,
                    "n_products": stored.n_products,
                    "threshold": stored.tau or 0.0,
                    "task_id": task.task_id,
                    "product_weight": task.weight,
                    "priority": task.priority,
                    "class": question.class_name,
                    "weight": question.weight,
                    "inclusion_probability": question.inclusion,
                    "probability": question.probability,
                    "positive": question.positive,
                    "answer": question.verdict or ("unsure" if task.withdrawn else None),
                    "n_yes": question.n_yes,
                    "n_no": question.n_no,
                }


def _with_tasks(
    cohorts: Sequence[StoredCohort], tasks: Iterable[SampledTask]
) -> list[tuple[StoredCohort, list[SampledTask]]]:
    """Each cohort with its tasks; tasks of other cohorts are passed over."""
    own: dict[str, list[SampledTask]] = {stored.id: [] for stored in cohorts}
    for task in tasks:
        if task.cohort_id in own:
            own[task.cohort_id].append(task)
    return [(stored, own[stored.id]) for stored in cohorts]


def _asked(tasks: Sequence[SampledTask], classes: Sequence[str]) -> AskedQuestions:
    index = {name: position for position, name in enumerate(classes)}
    rows = [(task, question) for task in tasks for question in task.questions]
    return AskedQuestions(
        priorities=np.array([task.priority for task, _ in rows], dtype=np.float64),
        product_weights=np.array([task.weight for task, _ in rows], dtype=np.float64),
        class_indices=np.array([index[question.class_name] for _, question in rows], dtype=np.int64),
        inclusion_probabilities=np.array([question.inclusion for _, question in rows], dtype=np.float64),
        probabilities=np.array([question.probability for _, question in rows], dtype=np.float64),
        positive=np.array([question.positive for _, question in rows], dtype=np.bool_),
        outcomes=np.array([_outcome(task, question) for task, question in rows], dtype=np.int64),
        n_yes=np.array([question.n_yes for _, question in rows], dtype=np.int64),
        n_no=np.array([question.n_no for _, question in rows], dtype=np.int64),
    )


def _outcome(task: SampledTask, question: SampledQuestion) -> Outcome:
    if question.verdict is not None:
        return _OUTCOMES[question.verdict]
    return Outcome.UNSURE if task.withdrawn else Outcome.OPEN
