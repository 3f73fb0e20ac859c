"""Looks at the label queue now and then, for the metrics; a store that is away is seen, and harms nothing."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from service.errors import QueueUnavailable
from service.label_queue.store import LabelQueue
from service.label_queue.writer import QueueWriter, WriterCounts
from service.metrics import Metrics

logger = logging.getLogger(__name__)


class QueueWatch:
    """One worker's view of the queue; what the store says is the same for all workers and replicas."""

    def __init__(self, queue: LabelQueue, writer: QueueWriter, metrics: Metrics) -> None:
        self._queue = queue
        self._writer = writer
        self._metrics = metrics
        self._before = WriterCounts()

    def look(self, *, now: datetime) -> None:
        """Ask the writer and the store, and tell the metrics."""
        counts = self._writer.counts()
        self._metrics.writer(counts, self._before)
        self._before = counts
        try:
            stats = self._queue.stats(now=now)
        except QueueUnavailable:
            self._metrics.store(is_up=False)
            return
        self._metrics.store(is_up=True)
        self._metrics.label_queue(stats)

    async def follow(self, *, every_seconds: float) -> None:
        """Look again and again until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look, now=datetime.now(UTC))
            except Exception as error:  # noqa: BLE001 - numbers may stop for a while, the service may not
                logger.warning("label queue not measured", extra={"kind": type(error).__name__})
            await asyncio.sleep(every_seconds)
