"""The work of answering `/classify` in numbers: products, images, batches, and the time that each stage takes."""

from __future__ import annotations

from typing import Literal, get_args

from service.image_fetch import OUTCOMES as FETCH_OUTCOMES
from service.image_fetch import Outcome as FetchOutcome
from service.telemetry.registry import MetricRegistry, begin_at_nought
from service.telemetry.tally import Tally

BatchStage = Literal["decode", "wait", "encode", "infer", "score"]

PRODUCTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ClassifyMetrics:
    """What the classifier counts, from any thread."""

    def __init__(self, registry: MetricRegistry, tally: Tally) -> None:
        self._tally = tally
        self._request_products = registry.histogram(
            "winnow_request_products", "Products in one classify request", buckets=PRODUCTS
        )
        self._unreadable_images = registry.counter("winnow_unreadable_images_total", "Images that could not be decoded")
        self._image_fetches = registry.counter(
            "winnow_image_fetches_total", "Images fetched by URL, by outcome", ("outcome",)
        )
        self._batch_products = registry.histogram(
            "winnow_batch_products", "Products that ran through the graph at once", buckets=PRODUCTS
        )
        self._batch_seconds = registry.histogram("winnow_batch_seconds", "Time of one batch in the graph")
        self._stage_seconds = registry.histogram(
            "winnow_stage_seconds",
            "Time of a batch in one stage: decode its images, wait, encode, infer, score",
            ("stage",),
        )
        self._stages = {stage: self._stage_seconds.labels(stage) for stage in get_args(BatchStage)}
        begin_at_nought(self._image_fetches, FETCH_OUTCOMES)

    def classified(self, n_products: int, n_unreadable_images: int) -> None:
        """Count the products of one classify request."""
        self._tally.observe(self._request_products, n_products)
        if n_unreadable_images:
            self._unreadable_images.inc(n_unreadable_images)

    def image_fetched(self, outcome: FetchOutcome) -> None:
        """Count one image that was to be fetched."""
        self._image_fetches.labels(outcome).inc()

    def batch_stage(self, stage: BatchStage, seconds: float) -> None:
        """Count the time of one stage of a batch."""
        self._tally.observe(self._stages[stage], seconds)

    def batch(self, n_products: int, seconds: float) -> None:
        """Count one run of the graph."""
        self._tally.observe(self._batch_products, n_products)
        self._tally.observe(self._batch_seconds, seconds)
