"""What an operator sees in numbers: the one file in which prometheus_client enters.

Serving `/metrics`, merged over all workers, is left to BentoML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from service.guards import Reason

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Outcome = Literal["ok", "refused", "failed"]

SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PRODUCTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All metrics of one worker; labels come from small closed sets only."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register the metrics, in the process's own registry unless another is given."""
        # Imported here because it decides at import whether workers share their numbers, and BentoML sets that up late.
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram  # noqa: PLC0415

        self.registry = registry or REGISTRY
        self._requests = Counter(
            "winnow_requests_total", "Requests by route and outcome", ["route", "outcome"], registry=self.registry
        )
        self._request_seconds = Histogram(
            "winnow_request_seconds", "From the request's first byte to the answer", ["route"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._request_products = Histogram(
            "winnow_request_products", "Products in one classify request", buckets=PRODUCTS, registry=self.registry
        )
        self._batch_products = Histogram(
            "winnow_batch_products", "Products that ran through the graph at once", buckets=PRODUCTS,
            registry=self.registry,
        )  # fmt: skip
        self._batch_seconds = Histogram(
            "winnow_batch_seconds", "Time of one batch in the graph", buckets=SECONDS, registry=self.registry
        )
        self._unreadable_images = Counter(
            "winnow_unreadable_images_total", "Images that could not be decoded", registry=self.registry
        )
        self._refused_requests = Counter(
            "winnow_refused_requests_total", "Requests turned away before their work began", ["reason"],
            registry=self.registry,
        )  # fmt: skip
        self._model_info = Gauge(
            "winnow_model_info", "1 for the bundle that is served", ["version", "taxonomy"],
            multiprocess_mode="livemax", registry=self.registry,
        )  # fmt: skip
        self._cohorts = Counter(
            "winnow_cohorts_total", "Cohorts by what became of them at sealing", ["outcome"], registry=self.registry
        )
        self._bundle_swaps = Counter(
            "winnow_bundle_swaps_total", "Promoted bundles that a worker took over or refused", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._served: tuple[str, str] | None = None

    def request(self, *, route: str, outcome: Outcome, seconds: float) -> None:
        """Count one answered request; `route` is a template, never a path as it came."""
        self._requests.labels(route, outcome).inc()
        self._request_seconds.labels(route).observe(seconds)

    def refused(self, reason: Reason) -> None:
        """Count one request that the guards turned away, or whose client hung up before its body was complete."""
        self._refused_requests.labels(reason).inc()

    def classified(self, n_products: int, n_unreadable_images: int) -> None:
        """Count the products of one classify request."""
        self._request_products.observe(n_products)
        if n_unreadable_images:
            self._unreadable_images.inc(n_unreadable_images)

    def batch(self, n_products: int, seconds: float) -> None:
        """Count one run of the graph."""
        self._batch_products.observe(n_products)
        self._batch_seconds.observe(seconds)

    def cohort(self, outcome: Literal["sealed", "dropped", "failed"]) -> None:
        """Count one cohort: handed to the writer, dropped for want of room, or a batch that could not be sampled."""
        self._cohorts.labels(outcome).inc()

    def serving(self, *, version: str, taxonomy: str) -> None:
        """Say which bundle is served from now on."""
        if self._served is not None:
            self._model_info.labels(*self._served).set(0)
        self._served = (version, taxonomy)
        self._model_info.labels(version, taxonomy).set(1)

    def swap(self, outcome: Literal["swapped", "refused"]) -> None:
        """Count one attempt to take over a promoted bundle."""
        self._bundle_swaps.labels(outcome).inc()
