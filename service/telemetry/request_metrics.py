"""Requests in numbers: how many there are, how they end and how long they take, whatever they ask for."""

from __future__ import annotations

from typing import Literal, get_args

from service.api.guards import REASONS, Reason
from service.telemetry.registry import MetricRegistry, begin_at_nought
from service.telemetry.tally import Histogram, Sum, Tally

Outcome = Literal["ok", "refused", "failed"]


class RequestMetrics:
    """What the border counts."""

    def __init__(self, registry: MetricRegistry, tally: Tally) -> None:
        self._tally = tally
        self._requests = registry.counter(
            "winnow_requests_total", "Requests by route and outcome", ("route", "outcome")
        )
        self._seconds = registry.histogram(
            "winnow_request_seconds", "From the request's first byte to the answer", ("route",)
        )
        self._in_flight = registry.gauge(
            "winnow_requests_in_flight", "Requests that are being answered", together="livesum"
        )
        self._refused = registry.counter(
            "winnow_refused_requests_total", "Requests turned away before their work began", ("reason",)
        )
        self._series: dict[tuple[str, Outcome], tuple[Sum, Histogram]] = {}
        begin_at_nought(self._refused, REASONS)
        for outcome in get_args(Outcome):
            self._requests.labels("/classify", outcome)

    def entered(self) -> None:
        """Count a request in."""
        self._tally.count(self._in_flight, +1)

    def left(self) -> None:
        """Count a request out."""
        self._tally.count(self._in_flight, -1)

    def answered(self, *, route: str, outcome: Outcome, seconds: float) -> None:
        """Count one answered request; `route` is a template, never a path as it came."""
        series = self._series.get((route, outcome))
        if series is None:  # looking it up by its labels costs as much as counting
            series = self._requests.labels(route, outcome), self._seconds.labels(route)
            self._series[route, outcome] = series
        self._tally.count(series[0])
        self._tally.observe(series[1], seconds)

    def refused(self, reason: Reason) -> None:
        """Count one request that the guards turned away, or whose client hung up before its body was complete."""
        self._refused.labels(reason).inc()
