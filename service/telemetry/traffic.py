"""What was classified, in numbers for an operator: kept as it comes, counted now and then, away from the answers.

All calls come from one thread. What the numbers are called is left to `service.telemetry.traffic_metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundles.bundle import Manifest
from service.telemetry.drift import DriftWatch
from service.telemetry.registry import MAX_CLASSES_APART
from service.telemetry.traffic_metrics import TrafficMetrics

PROBABILITY_BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
BIT_BOUNDS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MAX_PRODUCTS = 10_000  # kept between two counts; then they are counted at once
N_RECORDS = 4  # of each batch: enough for the fields' drift, and cheap


@dataclass(frozen=True, slots=True)
class Seen:
    """One classified batch; all arrays have one row a product."""

    probabilities: NDArray[np.float32]
    positive: NDArray[np.bool_]
    uncertainty: NDArray[np.float64]
    disagreement: NDArray[np.float64]
    present: NDArray[np.bool_]
    records: Sequence[Mapping[str, Any]]


class TrafficWatch:
    """The traffic of one bundle in one worker."""

    def __init__(self, manifest: Manifest, metrics: TrafficMetrics) -> None:
        self._metrics = metrics
        self._classes = manifest.taxonomy.classes
        self._members = [member.name for member in manifest.members]
        self._drift = DriftWatch(manifest.reference, fields=manifest.fields, classes=self._classes)
        self._kept: list[Seen] = []
        self._n_kept = 0

    def take(self, seen: Seen) -> None:
        """Keep a batch."""
        self._kept.append(seen)
        self._n_kept += len(seen.probabilities)
        if self._n_kept >= MAX_PRODUCTS:
            self.publish()

    def publish(self) -> None:
        """Count what was kept since the last time."""
        kept, self._kept, self._n_kept = self._kept, [], 0
        if not kept:
            return
        probabilities = np.concatenate([seen.probabilities for seen in kept])
        positive = np.concatenate([seen.positive for seen in kept])
        present = np.concatenate([seen.present for seen in kept])
        self._publish_classes(probabilities, positive)
        for name, values in (
            ("uncertainty", np.concatenate([seen.uncertainty for seen in kept])),
            ("disagreement", np.concatenate([seen.disagreement for seen in kept])),
        ):
            self._metrics.bits(name, dict(zip(bounds(BIT_BOUNDS), _cumulated(values, BIT_BOUNDS), strict=True)))
        self._metrics.abstained(dict(zip(self._members, (~present).sum(axis=0).tolist(), strict=True)))
        self._drift.take(probabilities, [record for seen in kept for record in seen.records])
        self._metrics.drift(self._drift.indices())

    def _publish_classes(self, probabilities: NDArray[np.float32], positive: NDArray[np.bool_]) -> None:
        n_positive = dict(zip(self._classes, positive.sum(axis=0).tolist(), strict=True))
        columns = {name: probabilities[:, index] for index, name in enumerate(self._classes)}
        if len(self._classes) > MAX_CLASSES_APART:
            n_positive, columns = {"all": int(positive.sum())}, {"all": probabilities.ravel()}
        counted = {name: _cumulated(column, PROBABILITY_BOUNDS) for name, column in columns.items()}
        names = bounds(PROBABILITY_BOUNDS)
        self._metrics.classes(
            n_positive, {name: dict(zip(names, counts, strict=True)) for name, counts in counted.items()}
        )


def bounds(upper: Sequence[float]) -> list[str]:
    """Upper bounds of bins as Prometheus writes them."""
    return [*(f"{bound:g}" for bound in upper), "+Inf"]


def _cumulated(values: NDArray[np.floating[Any]], upper: Sequence[float]) -> list[int]:
    """How many values are at or below each bound, and how many there are.

    Returns
    -------
    len(upper) + 1 counts, never falling
    """
    places = np.searchsorted(np.asarray(upper, dtype=values.dtype), values, side="left")
    counts: list[int] = np.bincount(places, minlength=len(upper) + 1).cumsum().tolist()
    return counts
