"""Following the pointer: each worker serves whatever bundle is promoted, without dropping a request.

A new bundle is read, verified and made to reproduce its golden batch in a thread while the old one answers; then one
assignment exchanges them, between batches. What "current" means is left to `service.bundles.bundle_store`, loading to
`service.classifier`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service.bundles.bundle_store import BundleStore
from service.bundles.promotions import history, served_before
from service.classifier import Classifier
from service.errors import BundleRefused, NoBundle
from service.following import follow
from service.telemetry.bundle_metrics import BundleMetrics

Outcome = Literal["unchanged", "swapped", "refused"]

RETRY_SECONDS = 60.0  # a bundle that was refused may be on a disk that was away for a moment

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Refusal:
    version: str
    at_seconds: float


class Swapper:
    """Brings one worker to the promoted bundle, forwards or back; on any refusal, what is served goes on."""

    def __init__(
        self,
        store: BundleStore,
        classifier: Classifier,
        metrics: BundleMetrics,
        *,
        on_loaded: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._classifier = classifier
        self._metrics = metrics
        self._on_loaded = on_loaded
        self._refusal: _Refusal | None = None

    def start(self, *, now_seconds: float) -> None:
        """Serve the promoted bundle, or else the newest that was served before it and is whole.

        Without any the worker starts all the same, stays not ready, and takes the next promotion.
        """
        promoted = self._store.current()
        if promoted is None:
            logger.warning("no bundle to serve", extra={"reason": "none is promoted"})
            return
        if self._loads(promoted, now_seconds):
            logger.info("bundle loaded", extra={"version": promoted})
            return
        for version in served_before(promoted, history(self._store.directory)):
            if self._loads(version, now_seconds):
                self._metrics.swap("fell_back")
                logger.error("bundle before it serves", extra={"version": version, "promoted": promoted})
                break
        self._refusal = _Refusal(promoted, now_seconds)

    def check(self, promoted: str | None, *, now_seconds: float) -> Outcome:
        """Serve the promoted version unless it is served already; blocks while it loads.

        A refused version is left alone until the pointer moves or a minute has passed, and counted each time.

        Parameters
        ----------
        promoted : what the store's pointer says
        now_seconds : of a clock that never goes back
        """
        if promoted is None or promoted == self._serving() or self._is_refused(promoted, now_seconds):
            return "unchanged"
        if not self._loads(promoted, now_seconds):
            return "refused"
        self._refusal = None
        self._metrics.swap("swapped")
        logger.info("bundle swapped", extra={"version": promoted})
        return "swapped"

    async def follow(self, *, every_seconds: float) -> None:
        """Check again and again until cancelled; the event loop goes on answering meanwhile."""
        loop = asyncio.get_running_loop()
        await follow(
            lambda: asyncio.to_thread(self._check_pointer, loop.time()),
            every_seconds=every_seconds,
            complaint="promoted bundle not looked at",
        )

    def _check_pointer(self, now_seconds: float) -> Outcome:
        return self.check(self._store.current(), now_seconds=now_seconds)

    def _loads(self, version: str, now_seconds: float) -> bool:
        try:
            self._classifier.load(self._store.load(version))
        except (BundleRefused, NoBundle) as error:
            self._refusal = _Refusal(version, now_seconds)
            self._metrics.swap("refused")
            logger.error("bundle refused", extra={"version": version, "reason": str(error), "serving": self._serving()})
            return False
        self._on_loaded()
        return True

    def _serving(self) -> str | None:
        return self._classifier.served.manifest.version if self._classifier.ready else None

    def _is_refused(self, version: str, now_seconds: float) -> bool:
        refusal = self._refusal
        return refusal is not None and refusal.version == version and now_seconds - refusal.at_seconds < RETRY_SECONDS
