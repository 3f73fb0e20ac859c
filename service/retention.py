"""Forgets products that were queued for labelling long ago; their labels stay."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from service.following import follow
from service.label_queue.store import LabelQueue

logger = logging.getLogger(__name__)


class Retention:
    """Keeps products for a number of days since they were queued last. Every worker may run it: twice is once."""

    def __init__(self, queue: LabelQueue, *, days: float) -> None:
        self._queue = queue
        self._kept_for = timedelta(days=days)

    def purge(self, *, now: datetime) -> int:
        """Forget what is too old, and return how many products that were."""
        n_purged = self._queue.purge(stored_before=now - self._kept_for)
        if n_purged:
            logger.info("old products forgotten", extra={"n_products": n_purged})
        return n_purged

    async def follow(self, *, every_seconds: float) -> None:
        """Purge again and again until cancelled; a store that is away is asked next time."""
        await follow(
            lambda: asyncio.to_thread(self.purge, now=datetime.now(UTC)),
            every_seconds=every_seconds,
            complaint="old products not forgotten yet",
        )
