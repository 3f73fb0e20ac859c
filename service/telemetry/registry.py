"""Where metrics are made: the one file in which prometheus_client enters.

What they are called is left to the modules that count; serving `/metrics`, merged over all workers, to BentoML.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

ClientRegistry: TypeAlias = "CollectorRegistry"

# What workers say together: their sum, the highest of what they say, or what was said last.
Together = Literal["livesum", "livemax", "livemostrecent"]

SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MAX_CLASSES_APART = 100  # with more, classes share one series, so that there are never too many
ALL_CLASSES = "all"  # its label


class MetricRegistry:
    """Makes the metrics of one worker, in the process's own registry unless another is given."""

    def __init__(self, registry: ClientRegistry | None = None) -> None:
        # Imported here because it decides at import whether workers share their numbers, and BentoML sets that up late.
        import prometheus_client  # noqa: PLC0415

        self._client = prometheus_client
        self._registry = registry or prometheus_client.REGISTRY

    def counter(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
        """A number that only grows."""
        return self._client.Counter(name, documentation, labels, registry=self._registry)

    def histogram(
        self, name: str, documentation: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = SECONDS
    ) -> Histogram:
        """How many values were at or below each bound, how many there were, and their sum."""
        return self._client.Histogram(name, documentation, labels, buckets=buckets, registry=self._registry)

    def gauge(
        self, name: str, documentation: str, labels: Sequence[str] = (), *, together: Together = "livemostrecent"
    ) -> Gauge:
        """A number that rises and falls; by default one that means the same in all workers: the newest value counts."""
        return self._client.Gauge(name, documentation, labels, multiprocess_mode=together, registry=self._registry)


def begin_at_nought(counter: Counter, outcomes: Iterable[str]) -> None:
    """Show each outcome of a small closed set from the start, so that its first increase is seen as one."""
    for outcome in outcomes:
        counter.labels(outcome)
