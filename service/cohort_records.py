"""Sealed cohorts as the label queue keeps them, and, with their answers, as live quality reads them.

The one place that knows both sides: `service.acquisition` knows no store, `service.label_queue` no sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.acquisition.cohort import CohortTotals, Question, SampledProduct, SealedCohort
from service.label_queue.rows import NewCohort, NewQuestion, NewTask


def new_cohort(sealed: SealedCohort, *, worker: str, id_field: str) -> NewCohort:
    """Arrange a sealed cohort for the queue.

    Parameters
    ----------
    worker : who sealed it
    id_field : the column of a record that holds the product's id
    """
    return NewCohort(
        id=sealed.cohort_id,
        bundle_version=sealed.bundle_version,
        worker=worker,
        sealed_at=sealed.sealed_at,
        n_products=sealed.totals.n_products,
        tau=sealed.threshold or None,
        counters=_counters(sealed.classes, sealed.totals),
        tasks=tuple(_task(product, id_field) for product in sealed.products),
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
