"""What one worker process is made of, and what it does beside answering: following the pointer, the queue, the clock.

Which route leads where is left to `service.app`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from service.acquisition.intake import AcquisitionRule, Intake, SealPolicy
from service.acquisition.sampling import SALT_BYTES
from service.bundles.bundle import Manifest
from service.bundles.bundle_store import BundleStore
from service.bundles.retrainings import RetrainingWatch
from service.bundles.swap import Swapper
from service.classifier import Classifier
from service.cohort_keeper import CohortKeeper
from service.following import follow
from service.image_fetch import ImageFetcher
from service.image_urls import ImageUrls
from service.label_queue.replica import replica_name
from service.label_queue.spill import SpillDirectory, directory_for
from service.label_queue.store import LabelQueue, open_store
from service.label_queue.writer import QueueWriter
from service.retention import Retention
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.queue_watch import QueueWatch

QUEUE_SECONDS = 15.0  # between two looks at the label queue, for the metrics
RETENTION_SECONDS = 3600.0  # between two looks for products that are too old to be kept
TICK_SECONDS = 1.0  # between two looks at the age of the open cohort


@dataclass(frozen=True, slots=True)
class Worker:
    """What one worker process is made of; all of it lives as long as the process serves."""

    fetcher: ImageFetcher
    images: ImageUrls
    queue: LabelQueue
    writer: QueueWriter
    classifier: Classifier

    def manifest(self) -> Manifest | None:
        """Of the bundle that is served now, if there is one."""
        return self.classifier.manifest

    def close(self) -> None:
        """End all of them, each before what it hands its work to."""
        self.fetcher.close()
        self.classifier.close()
        self.writer.close()
        self.queue.close()


def make_worker(settings: Settings, metrics: Metrics, *, fetcher: ImageFetcher) -> Worker:
    """Open the label queue and make what needs it; nothing is served until `running` has loaded a bundle."""
    queue = open_store(
        settings.database_url.get_secret_value(), lease_seconds=settings.lease_seconds, replica=replica_name()
    )
    writer = QueueWriter(queue, spill=_spill(settings))
    classifier = Classifier(
        batch_size=settings.batch_size,
        device=settings.device,
        n_decoders=_n_decoders(),
        metrics=metrics,
        keeper=_keeper(settings, writer, metrics) if settings.queue else None,
    )
    images = ImageUrls(fetcher, on_fetch=metrics.classify.image_fetched)
    return Worker(fetcher, images, queue, writer, classifier)


@asynccontextmanager
async def running(
    worker: Worker, settings: Settings, metrics: Metrics, *, on_loaded: Callable[[], None]
) -> AsyncIterator[None]:
    """Load the current bundle, follow what goes on outside, and at the end close it all.

    Parameters
    ----------
    on_loaded : called when a bundle has been loaded
    """
    store = BundleStore(settings.home, settings.model)
    swapper = Swapper(store, worker.classifier, metrics.bundle, on_loaded=on_loaded)
    swapper.start(now_seconds=asyncio.get_running_loop().time())
    following = (
        swapper.follow(every_seconds=settings.swap_seconds),
        *_watching(worker, settings, metrics, store=store),
    )
    tasks = [asyncio.create_task(routine) for routine in following]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        worker.close()


def _watching(
    worker: Worker, settings: Settings, metrics: Metrics, *, store: BundleStore
) -> list[Coroutine[Any, Any, None]]:
    queue = QueueWatch(worker.queue, worker.writer, metrics, served=worker.manifest)
    retrainings = RetrainingWatch(store.directory, metrics.retraining.ended)
    retention = Retention(worker.queue, days=settings.retention_days)
    return [
        queue.follow(every_seconds=QUEUE_SECONDS),
        retrainings.follow(every_seconds=QUEUE_SECONDS),
        retention.follow(every_seconds=RETENTION_SECONDS),
        _ticking(worker.classifier),
    ]


async def _ticking(classifier: Classifier) -> None:
    async def tick() -> None:  # in the event loop, as all that adds to the cohort
        classifier.tick()

    await follow(tick, every_seconds=TICK_SECONDS, complaint="open cohort not looked at")


def _spill(settings: Settings) -> SpillDirectory:
    directory = directory_for(Path(settings.spill_directory), settings.database_url.get_secret_value())
    return SpillDirectory(directory, capacity_bytes=settings.spill_bytes)


def _keeper(settings: Settings, writer: QueueWriter, metrics: Metrics) -> CohortKeeper:
    policy = SealPolicy(
        max_products=settings.cohort_products,
        max_age=timedelta(seconds=settings.cohort_seconds),
        capacity=settings.cohort_tasks,
    )
    rule = AcquisitionRule(n_questions=settings.questions)
    intake = Intake(new_salt=lambda: secrets.token_bytes(SALT_BYTES), policy=policy, rule=rule)
    return CohortKeeper(intake, writer, worker=f"{socket.gethostname()}:{os.getpid()}", metrics=metrics.queue)


def _n_decoders() -> int:
    return max(2, min(8, os.cpu_count() or 1))
