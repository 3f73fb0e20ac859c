"""All that an operator sees in numbers, one part for each idea; whoever counts is given the part that it needs."""

from __future__ import annotations

from service.telemetry.bundle_metrics import BundleMetrics
from service.telemetry.classify_metrics import ClassifyMetrics
from service.telemetry.quality_metrics import QualityMetrics
from service.telemetry.queue_metrics import QueueMetrics
from service.telemetry.registry import ClientRegistry, MetricRegistry
from service.telemetry.request_metrics import RequestMetrics
from service.telemetry.retraining_metrics import RetrainingMetrics
from service.telemetry.tally import Tally
from service.telemetry.traffic_metrics import TrafficMetrics


class Metrics:
    """All metrics of one worker; labels come from small closed sets only."""

    def __init__(self, registry: ClientRegistry | None = None) -> None:
        """Register the metrics, in the process's own registry unless another is given."""
        made = MetricRegistry(registry)
        self._tally = Tally()  # for what every request counts
        self.requests = RequestMetrics(made, self._tally)
        self.classify = ClassifyMetrics(made, self._tally)
        self.bundle = BundleMetrics(made)
        self.traffic = TrafficMetrics(made)
        self.queue = QueueMetrics(made)
        self.quality = QualityMetrics(made)
        self.retraining = RetrainingMetrics(made)

    def write(self) -> None:
        """Write what waits to be written; to be called before the numbers are read."""
        self._tally.write()
