"""The way from a classified batch to the label queue: into the open cohort and, when that is sealed, to the writer.

Nothing here waits for the store, and no failure of it reaches an answer. All calls come from one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.acquisition.cohort import SealedCohort
from service.acquisition.intake import Intake, ServedBundle
from service.acquisition.scores import Scores, joined
from service.contracts import Predictions
from service.label_queue.rows import NewCohort
from service.quality.cohort_records import new_cohort
from service.telemetry.queue_metrics import QueueMetrics

logger = logging.getLogger(__name__)

HELD_PRODUCTS = 256  # weighed together: arithmetic on a few rows costs hardly less than on many
HELD_BATCHES = 32  # small ones are weighed sooner: they come where a millisecond's delay would be noticed


class CohortSink(Protocol):
    """Whatever takes sealed cohorts over without waiting; `service.label_queue.writer` in service."""

    def offer(self, cohort: NewCohort) -> bool:
        """Take a cohort, or drop it and say so."""
        ...


@dataclass(frozen=True, slots=True)
class _Held:
    """A classified batch that waits for others; arrays (n_products, n_classes)."""

    served: ServedBundle
    records: Sequence[Mapping[str, Any]]
    probabilities: NDArray[np.floating[Any]]
    scores: Scores


class CohortKeeper:
    """Keeps the open cohort of one worker and hands over what is sealed.

    Parameters
    ----------
    worker : names this worker in the cohorts it seals
    """

    def __init__(
        self,
        intake: Intake,
        sink: CohortSink,
        *,
        worker: str,
        metrics: QueueMetrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._intake = intake
        self._sink = sink
        self._worker = worker
        self._metrics = metrics
        self._now = now
        self._held: list[_Held] = []
        self._n_held = 0

    def take(
        self,
        served: ServedBundle,
        *,
        records: Sequence[Mapping[str, Any]],
        predictions: Predictions,
        scores: Scores,
    ) -> None:
        """Add a classified batch, given as it was posted; hand over the cohort if that fills it.

        Small batches are held and weighed together, which is several times cheaper; at the latest at the next tick.
        """
        try:
            held = _Held(served, records, predictions.probabilities, scores)
            if self._held and self._held[-1].served is not served:
                self._add_held()
            self._held.append(held)
            self._n_held += len(records)
            is_enough = self._n_held >= min(HELD_PRODUCTS, self._intake.n_until_full)
            if is_enough or len(self._held) >= HELD_BATCHES:
                self._add_held()
        except Exception as error:  # noqa: BLE001  the answer is ready; whatever is wrong here must not cost it
            self._count_failed(len(records), error)

    def tick(self, bundle_version: str) -> None:
        """Seal the cohort if it has grown old or the bundle has changed; to be called now and then."""
        self._seal(lambda: self._intake.tick(now=self._now(), bundle_version=bundle_version))

    def close(self) -> None:
        """Seal whatever there is and hand it over."""
        self._seal(lambda: self._intake.close(now=self._now()))

    def _seal(self, seal: Callable[[], list[SealedCohort]]) -> None:
        self._add_held()
        n_open = self._intake.n_open
        try:
            self._hand_over(seal())
        except Exception as error:  # noqa: BLE001  the next cohort may be sealed, and at the end the writer closed
            self._count_failed(n_open, error)

    def _add_held(self) -> None:
        held, n_products = self._held, self._n_held
        self._held, self._n_held = [], 0
        if not held:
            return
        try:
            sealed = self._intake.take(
                served=held[0].served,
                records=[record for batch in held for record in batch.records],
                probabilities=np.concatenate([batch.probabilities for batch in held]),
                scores=joined([batch.scores for batch in held]),
                now=self._now(),
            )
            self._hand_over(sealed)
        except Exception as error:  # noqa: BLE001  the answers are given; whatever is wrong here must not cost others
            self._count_failed(n_products, error)

    def _count_failed(self, n_products: int, error: Exception) -> None:
        logger.error("products not sampled", extra={"n_products": n_products, "kind": type(error).__name__})
        self._metrics.cohort("failed")

    def _hand_over(self, sealed: Sequence[SealedCohort]) -> None:
        for cohort in sealed:
            is_taken = self._sink.offer(new_cohort(cohort, worker=self._worker))
            self._metrics.cohort("sealed" if is_taken else "dropped")
            if not is_taken:
                logger.error("cohort dropped", extra={"n_products": cohort.totals.n_products})
