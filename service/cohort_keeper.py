"""The way from a classified batch to the label queue: into the open cohort and, when that is sealed, to the writer.

Nothing here waits for the store, and no failure of it reaches an answer. All calls come from one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from service.acquisition.cohort import SealedCohort
from service.acquisition.intake import Intake, ServedBundle
from service.acquisition.scores import Scores
from service.cohort_records import new_cohort
from service.contracts import Predictions
from service.label_queue.rows import NewCohort
from service.metrics import Metrics

logger = logging.getLogger(__name__)


class CohortSink(Protocol):
    """Whatever takes sealed cohorts over without waiting; `service.label_queue.writer` in service."""

    def offer(self, cohort: NewCohort) -> bool:
        """Take a cohort, or drop it and say so."""
        ...


class CohortKeeper:
    """Keeps the open cohort of one worker and hands over what is sealed.

    Parameters
    ----------
    worker : names this worker in the cohorts it seals
    id_field : the column that holds a product's id
    """

    def __init__(
        self,
        intake: Intake,
        sink: CohortSink,
        *,
        worker: str,
        metrics: Metrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._intake = intake
        self._sink = sink
        self._worker = worker
        self._metrics = metrics
        self._now = now
        self._id_field = ""

    def take(
        self,
        served: ServedBundle,
        *,
        id_field: str,
        records: Sequence[Mapping[str, Any]],
        predictions: Predictions,
        scores: Scores,
    ) -> None:
        """Add a classified batch, given as it was posted; hand over the cohort if that fills it."""
        before, self._id_field = self._id_field or id_field, id_field
        try:
            sealed = self._intake.take(
                served=served, records=records, probabilities=predictions.probabilities, scores=scores, now=self._now()
            )
            self._hand_over(sealed, id_field=before)
        except Exception as error:  # noqa: BLE001  the answer is ready; whatever is wrong here must not cost it
            logger.error("products not sampled", extra={"n_products": len(records), "kind": type(error).__name__})
            self._metrics.cohort("failed")

    def tick(self, bundle_version: str) -> None:
        """Seal the cohort if it has grown old or the bundle has changed; to be called now and then."""
        self._hand_over(self._intake.tick(now=self._now(), bundle_version=bundle_version), id_field=self._id_field)

    def close(self) -> None:
        """Seal whatever there is and hand it over."""
        self._hand_over(self._intake.close(now=self._now()), id_field=self._id_field)

    def _hand_over(self, sealed: Sequence[SealedCohort], *, id_field: str) -> None:
        for cohort in sealed:
            is_taken = self._sink.offer(new_cohort(cohort, worker=self._worker, id_field=id_field))
            self._metrics.cohort("sealed" if is_taken else "dropped")
            if not is_taken:
                logger.error("cohort dropped", extra={"n_products": cohort.totals.n_products})
