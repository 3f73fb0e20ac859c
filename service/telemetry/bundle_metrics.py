"""The bundle that a worker serves in numbers: which one, made when, and how it came to be served."""

from __future__ import annotations

from typing import Literal, get_args

from service.telemetry.registry import MetricRegistry, begin_at_nought

SwapOutcome = Literal["swapped", "refused", "fell_back"]


class BundleMetrics:
    """What is said of the bundle that one worker serves."""

    def __init__(self, registry: MetricRegistry) -> None:
        self._served: tuple[str, str] | None = None
        self._info = registry.gauge(
            "winnow_model_info", "1 for the bundle that is served", ("version", "taxonomy"), together="livemax"
        )
        self._created = registry.gauge(
            "winnow_model_created_timestamp_seconds", "When the bundle that is served was made"
        )
        self._swaps = registry.counter(
            "winnow_bundle_swaps_total", "Promoted bundles that a worker took over or refused", ("outcome",)
        )
        begin_at_nought(self._swaps, get_args(SwapOutcome))

    def serving(self, *, version: str, taxonomy: str, created_seconds: float) -> None:
        """Say which bundle is served from now on, and when it was made."""
        self._created.set(created_seconds)
        if self._served is not None:
            self._info.labels(*self._served).set(0)
        self._served = (version, taxonomy)
        self._info.labels(version, taxonomy).set(1)

    def swap(self, outcome: SwapOutcome) -> None:
        """Count one attempt to take over a promoted bundle, or that an older one serves in its place."""
        self._swaps.labels(outcome).inc()
