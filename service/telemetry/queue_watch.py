"""Looks at the label queue now and then, for the metrics; a store that is away is seen, and harms nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime

from service.bundles.bundle import Manifest
from service.errors import QueueUnavailable
from service.following import follow
from service.label_queue.store import LabelQueue
from service.label_queue.writer import QueueWriter, WriterCounts
from service.quality.annotator_error import annotator_errors
from service.quality.cohort_records import answered_cohorts, of_traffic
from service.quality.live_quality import live_quality
from service.telemetry.metrics import Metrics

LOOKS_AN_ESTIMATE = 8  # an estimate reads every answer there is


class QueueWatch:
    """One worker's view of the queue; what the store says is the same for all workers and replicas."""

    def __init__(
        self,
        queue: LabelQueue,
        writer: QueueWriter,
        metrics: Metrics,
        *,
        served: Callable[[], Manifest | None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._served = served
        self._writer = writer
        self._metrics = metrics
        self._before = WriterCounts()

    def look(self, *, now: datetime) -> None:
        """Ask the writer and the store, and tell the metrics."""
        counts = self._writer.counts()
        self._metrics.queue.writer(counts, self._before, n_spilled=self._writer.n_spilled())
        self._before = counts
        try:
            stats = self._queue.stats(now=now)
        except QueueUnavailable:
            self._metrics.queue.store(is_up=False)
            return
        self._metrics.queue.store(is_up=True)
        self._metrics.queue.label_queue(stats)

    def estimate(self) -> None:
        """Estimate how often annotators err, and live quality of the bundle that is served, from all its cohorts."""
        try:
            self._metrics.quality.annotators(annotator_errors(self._queue.agreements()))
        except QueueUnavailable:
            return  # `look` tells of it
        manifest = self._served()
        if manifest is None:
            return
        try:
            cohorts = of_traffic(self._queue.cohorts(manifest.version))
            answered = answered_cohorts(cohorts, self._queue.answered_questions(manifest.version))
        except QueueUnavailable:
            return  # `look` tells of it
        names = manifest.taxonomy.classes
        self._metrics.quality.live_quality(names, live_quality(answered, n_classes=len(names)))

    async def follow(self, *, every_seconds: float) -> None:
        """Look again and again until cancelled, and estimate every few looks."""
        is_estimated = itertools.cycle([True] + [False] * (LOOKS_AN_ESTIMATE - 1))

        def step() -> None:
            is_due = next(is_estimated)
            self.look(now=datetime.now(UTC))
            if is_due:
                self.estimate()

        await follow(lambda: asyncio.to_thread(step), every_seconds=every_seconds, complaint="label queue not measured")
