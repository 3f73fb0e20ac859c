"""What the bundle answers in numbers: yes and no per class, doubt, abstentions, and the drift of it all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from service.telemetry.registry import MetricRegistry

if TYPE_CHECKING:
    from service.telemetry.drift import Kind


class TrafficMetrics:
    """What `service.telemetry.traffic` counts now and then, away from the answers."""

    def __init__(self, registry: MetricRegistry) -> None:
        self._positives = registry.counter("winnow_positives_total", "Products answered with yes", ("class",))
        self._probabilities = registry.counter(
            "winnow_probabilities_total", "Products whose probability is at most the bound", ("class", "le")
        )
        self._bits = {
            name: registry.counter(
                f"winnow_{name}_total", f"Products whose highest {name}, in bits, is at most the bound", ("le",)
            )
            for name in ("uncertainty", "disagreement")
        }
        self._abstentions = registry.counter(
            "winnow_abstentions_total", "Products for which a member had nothing to read", ("member",)
        )
        self._drift = registry.gauge(
            "winnow_drift_index",
            "Population stability index against the bundle's reference",
            ("kind", "name"),
            together="livemax",
        )

    def classes(self, n_positive: Mapping[str, int], cumulated: Mapping[str, Mapping[str, int]]) -> None:
        """Count answers per class: those with yes, and those at or below each bound of the probability."""
        for name, n_products in n_positive.items():
            self._positives.labels(name).inc(n_products)
        for name, counts in cumulated.items():
            for bound, n_products in counts.items():
                self._probabilities.labels(name, bound).inc(n_products)

    def bits(self, name: str, cumulated: Mapping[str, int]) -> None:
        """Count products at or below each bound, in bits, of their "uncertainty" or "disagreement"."""
        for bound, n_products in cumulated.items():
            self._bits[name].labels(bound).inc(n_products)

    def abstained(self, n_products: Mapping[str, int]) -> None:
        """Count products for which each member abstained."""
        for member, n_abstained in n_products.items():
            self._abstentions.labels(member).inc(n_abstained)

    def drift(self, indices: Mapping[tuple[Kind, str], float]) -> None:
        """Say how far the traffic is from the reference."""
        for (kind, name), index in indices.items():
            self._drift.labels(kind, name).set(index)
