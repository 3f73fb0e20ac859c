"""What was classified, in numbers for an operator: counted some hundred products at a time, written now and then.

Requests that wait in the event loop wait for it, too, so what is done in one turn is kept short.

All calls come from one thread. What the numbers are called is left to `service.telemetry.traffic_metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundles.bundle import Manifest
from service.telemetry.drift import DriftWatch, Kind
from service.telemetry.registry import ALL_CLASSES, MAX_CLASSES_APART
from service.telemetry.traffic_metrics import TrafficMetrics

Whole = NDArray[np.int64]

PROBABILITY_BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
BIT_BOUNDS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
COUNTED_TOGETHER = 1_024  # products: arithmetic on a few rows costs hardly less than on many
COUNTED_BATCHES = 64  # small ones are counted sooner: they come where somebody would notice being held up
N_RECORDS = 4  # of each batch: enough for the fields' drift, and cheap
MAX_RECORDS = 64  # of those counted together: as many as of large batches


@dataclass(frozen=True, slots=True)
class Seen:
    """One classified batch; all arrays have one row a product."""

    probabilities: NDArray[np.float32]
    positive: NDArray[np.bool_]
    uncertainty: NDArray[np.float64]
    disagreement: NDArray[np.float64]
    present: NDArray[np.bool_]
    records: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Counts:
    """Products of a while.

    Parameters
    ----------
    positive : (n_classes,)
    probabilities : (n_classes, n_bins)
    bits : (2, n_bins), of uncertainty and disagreement
    abstained : (n_members,)
    """

    positive: Whole
    probabilities: Whole
    bits: Whole
    abstained: Whole

    def add(self, *, positive: Whole, probabilities: Whole, bits: Whole, abstained: Whole) -> None:
        """Count more products, in place."""
        for total, part in (
            (self.positive, positive),
            (self.probabilities, probabilities),
            (self.bits, bits),
            (self.abstained, abstained),
        ):
            np.add(total, part, out=total)


class TrafficWatch:
    """The traffic of one bundle in one worker."""

    def __init__(self, manifest: Manifest, metrics: TrafficMetrics) -> None:
        self._metrics = metrics
        self._classes = manifest.taxonomy.classes
        self._members = [member.name for member in manifest.members]
        self._drift = DriftWatch(manifest.reference, fields=manifest.fields, classes=self._classes)
        self._kept: list[Seen] = []
        self._n_kept = 0
        self._counts = self._no_counts()

    def take(self, seen: Seen) -> None:
        """Keep a batch, and count what is kept once it is enough."""
        self._kept.append(seen)
        self._n_kept += len(seen.probabilities)
        if self._n_kept >= COUNTED_TOGETHER or len(self._kept) >= COUNTED_BATCHES:
            self._count()

    def publish(self, *, tells_drift: bool = True) -> None:
        """Write what was classified since the last time.

        Parameters
        ----------
        tells_drift : False where another bundle is served by now
        """
        self._count()
        counts, self._counts = self._counts, self._no_counts()
        if not counts.bits.any():
            return
        self._publish_classes(counts)
        for name, cumulated in zip(("uncertainty", "disagreement"), counts.bits.cumsum(axis=1).tolist(), strict=True):
            self._metrics.bits(name, dict(zip(bounds(BIT_BOUNDS), cumulated, strict=True)))
        self._metrics.abstained(dict(zip(self._members, counts.abstained.tolist(), strict=True)))
        if tells_drift:
            self._metrics.drift(self._drift_indices())

    def _no_counts(self) -> _Counts:
        n_classes = len(self._classes)
        return _Counts(
            positive=np.zeros(n_classes, dtype=np.int64),
            probabilities=np.zeros((n_classes, len(PROBABILITY_BOUNDS) + 1), dtype=np.int64),
            bits=np.zeros((2, len(BIT_BOUNDS) + 1), dtype=np.int64),
            abstained=np.zeros(len(self._members), dtype=np.int64),
        )

    def _count(self) -> None:
        kept, self._kept, self._n_kept = self._kept, [], 0
        if not kept:
            return
        probabilities = np.concatenate([seen.probabilities for seen in kept])
        bits = [
            np.concatenate([seen.uncertainty for seen in kept]),
            np.concatenate([seen.disagreement for seen in kept]),
        ]
        self._counts.add(
            positive=np.concatenate([seen.positive for seen in kept]).sum(axis=0),
            probabilities=_binned(probabilities, PROBABILITY_BOUNDS),
            bits=_binned(np.stack(bits, axis=1), BIT_BOUNDS),
            abstained=(~np.concatenate([seen.present for seen in kept])).sum(axis=0),
        )
        records = [record for seen in kept for record in seen.records]
        self._drift.take(probabilities, records[:MAX_RECORDS])

    def _publish_classes(self, counts: _Counts) -> None:
        names, positive, probabilities = self._classes, counts.positive, counts.probabilities
        if len(names) > MAX_CLASSES_APART:
            names, positive, probabilities = (
                (ALL_CLASSES,),
                positive.sum(keepdims=True),
                probabilities.sum(axis=0, keepdims=True),
            )
        upper = bounds(PROBABILITY_BOUNDS)
        self._metrics.classes(
            dict(zip(names, positive.tolist(), strict=True)),
            {
                name: dict(zip(upper, cumulated, strict=True))
                for name, cumulated in zip(names, probabilities.cumsum(axis=1).tolist(), strict=True)
            },
        )

    def _drift_indices(self) -> dict[tuple[Kind, str], float]:
        """Of too many classes only the highest index, so that a drift of one still shows."""
        indices = self._drift.indices()
        of_classes = [index for (kind, _), index in indices.items() if kind == "class"]
        if len(self._classes) <= MAX_CLASSES_APART or not of_classes:
            return indices
        others = {key: index for key, index in indices.items() if key[0] != "class"}
        return {("class", ALL_CLASSES): max(of_classes), **others}


def bounds(upper: Sequence[float]) -> list[str]:
    """Upper bounds of bins as Prometheus writes them."""
    return [*(f"{bound:g}" for bound in upper), "+Inf"]


def _binned(values: NDArray[np.floating[Any]], upper: Sequence[float]) -> Whole:
    """How many values of each column lie above one bound and at or below the next.

    Parameters
    ----------
    values : (n_products, n_columns)

    Returns
    -------
    (n_columns, len(upper) + 1)
    """
    n_columns, n_bins = values.shape[1], len(upper) + 1
    places = np.searchsorted(np.asarray(upper, dtype=values.dtype), values, side="left") + n_bins * np.arange(n_columns)
    return np.bincount(places.ravel(), minlength=n_columns * n_bins).reshape(n_columns, n_bins)
