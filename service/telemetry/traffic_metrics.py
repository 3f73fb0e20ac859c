"""What the bundle answers in numbers: yes and no per class, doubt, abstentions, and the drift of it all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from service.telemetry.registry import MetricRegistry

if TYPE_CHECKING:
    from service.telemetry.drift import Kind


Child = TypeVar("Child")
Made_co = TypeVar("Made_co", covariant=True)


class Labelled(Protocol[Made_co]):
    """A metric of prometheus_client."""

    def labels(self, *values: str) -> Made_co:
        """Its part of some labels."""
        ...


class _Children(dict[tuple[str, ...], Child]):
    """The parts of a metric by their labels, each looked up once: hundreds are written together, while others wait."""

    def __init__(self, metric: Labelled[Child]) -> None:
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> Child:
        """Make a part, which shows from then on."""
        self[labels] = child = self._metric.labels(*labels)
        return child


class TrafficMetrics:
    """What `service.telemetry.traffic` counts now and then, away from the answers."""

    def __init__(self, registry: MetricRegistry) -> None:
        self._positives = _Children(
            registry.counter("winnow_positives_total", "Products answered with yes", ("class",))
        )
        self._probabilities = _Children(
            registry.counter(
                "winnow_probabilities_total", "Products whose probability is at most the bound", ("class", "le")
            )
        )
        self._bits = {
            name: _Children(
                registry.counter(
                    f"winnow_{name}_total", f"Products whose highest {name}, in bits, is at most the bound", ("le",)
                )
            )
            for name in ("uncertainty", "disagreement")
        }
        self._abstentions = _Children(
            registry.counter("winnow_abstentions_total", "Products for which a member had nothing to read", ("member",))
        )
        self._drift = _Children(
            registry.gauge(
                "winnow_drift_index",
                "Population stability index against the bundle's reference",
                ("kind", "name"),
                together="livemax",
            )
        )

    def classes(self, n_positive: Mapping[str, int], cumulated: Mapping[str, Mapping[str, int]]) -> None:
        """Count answers per class: those with yes, and those at or below each bound of the probability."""
        for name, n_products in n_positive.items():
            self._positives[name,].inc(n_products)
        for name, counts in cumulated.items():
            for bound, n_products in counts.items():
                self._probabilities[name, bound].inc(n_products)

    def bits(self, name: str, cumulated: Mapping[str, int]) -> None:
        """Count products at or below each bound, in bits, of their "uncertainty" or "disagreement"."""
        for bound, n_products in cumulated.items():
            self._bits[name][bound,].inc(n_products)

    def abstained(self, n_products: Mapping[str, int]) -> None:
        """Count products for which each member abstained."""
        for member, n_abstained in n_products.items():
            self._abstentions[member,].inc(n_abstained)

    def drift(self, indices: Mapping[tuple[Kind, str], float]) -> None:
        """Say how far the traffic is from the reference."""
        for (kind, name), index in indices.items():
            self._drift[kind, name].set(index)
