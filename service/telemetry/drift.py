"""How far what is served is from what the bundle was trained on: the population stability index, per class and field.

Gathering what is served is left to `service.telemetry.traffic`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.bundles.bundle import Histogram, Reference
from service.contracts import FieldSpec

Kind = Literal["class", "field", "missing"]

N_ENOUGH = 500  # products; below, an index would mostly be chance
N_REMEMBERED = 20_000  # products; then the past counts half, so that the index follows the traffic
PSEUDO_COUNT = 0.5  # in every bin, so that an empty one is rare and not impossible


def stability_index(expected: ArrayLike, actual: ArrayLike) -> float:
    """Population stability index of two histograms over the same bins: the symmetric Kullback–Leibler divergence.

    Parameters
    ----------
    expected, actual : (n_bins,), counts

    Returns
    -------
    From 0; by convention below 0.1 is no shift, above 0.25 a great one.

    Source: Yurdakul & Naranjo 2020, "Statistical properties of the population stability index", Journal of Risk Model
    Validation.
    """
    shares = []
    for counts in (expected, actual):
        smoothed = np.asarray(counts, dtype=np.float64) + PSEUDO_COUNT
        shares.append(smoothed / smoothed.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


class DriftWatch:
    """Histograms of what one bundle serves, over the bins of its reference.

    Parameters
    ----------
    classes : in the order of the probabilities
    """

    def __init__(self, reference: Reference, *, fields: FieldSpec, classes: Sequence[str]) -> None:
        self._classes = [(index, name, reference.classes[name]) for index, name in enumerate(classes)
                         if name in reference.classes]  # fmt: skip
        self._numerical = dict(reference.numerical)
        self._categorical = {
            field.column: field for field in fields.categorical if field.column in reference.categorical
        }
        self._values = {field.column: field.values for field in fields.categorical}
        self._reference = reference
        self._n_products = 0.0
        self._counts: dict[tuple[Kind, str], NDArray[np.float64]] = {
            **{("class", name): _empty(histogram) for _, name, histogram in self._classes},
            **{("field", column): _empty(histogram) for column, histogram in self._numerical.items()},
            **{("field", column): np.zeros(len(reference.categorical[column]) + 1) for column in self._categorical},
            **{("missing", column): np.zeros(2) for column in reference.missing},
        }

    def take(self, probabilities: NDArray[np.floating[Any]], records: Sequence[Mapping[str, Any]]) -> None:
        """Count some products.

        Parameters
        ----------
        probabilities : (n_products, n_classes)
        records : some of these products, as they were posted
        """
        self._fade()
        self._n_products += len(probabilities)
        for index, name, histogram in self._classes:
            self._counts["class", name] += _binned(probabilities[:, index], histogram)
        for column, histogram in self._numerical.items():
            values = [record[column] for record in records if record.get(column) is not None]
            self._counts["field", column] += _binned(np.asarray(values, dtype=np.float64), histogram)
        for column in self._categorical:
            self._take_categories(column, records)
        for column in self._reference.missing:
            n_missing = sum(self._is_missing(column, record.get(column)) for record in records)
            self._counts["missing", column] += (n_missing, len(records) - n_missing)

    def indices(self) -> dict[tuple[Kind, str], float]:
        """The stability index of each class, field and share of missing values; empty until enough was served."""
        if self._n_products < N_ENOUGH:
            return {}
        known = {key: counts for key, counts in self._counts.items() if counts.sum() >= N_ENOUGH}
        return {key: stability_index(self._expected(*key), counts) for key, counts in known.items()}

    def _fade(self) -> None:
        if self._n_products > N_REMEMBERED:
            self._n_products /= 2
            self._counts = {key: counts / 2 for key, counts in self._counts.items()}

    def _is_missing(self, column: str, cell: object) -> bool:
        """As in training, where a cell of blanks holds no category, and 0 is a number."""
        return not self._values[column](cell) if column in self._values else cell is None or cell == ""

    def _take_categories(self, column: str, records: Sequence[Mapping[str, Any]]) -> None:
        places = {value: place for place, value in enumerate(self._reference.categorical[column])}
        counts = self._counts["field", column]
        for record in records:
            for value in self._categorical[column].values(record.get(column)):
                counts[places.get(value, -1)] += 1  # the last place is for all other values

    def _expected(self, kind: Kind, name: str) -> NDArray[np.float64]:
        if kind == "missing":
            share = self._reference.missing[name]
            return np.asarray([share, 1 - share]) * max(self._reference.n_products, 1)
        if kind == "field" and name in self._categorical:
            counts = list(self._reference.categorical[name].values())
            return np.asarray([*counts, self._n_others(name, sum(counts))], dtype=np.float64)
        histogram = self._reference.classes[name] if kind == "class" else self._numerical[name]
        return np.asarray(histogram.counts, dtype=np.float64)

    def _n_others(self, column: str, n_frequent: int) -> float:
        """Values beside the frequent ones; where the reference does not say, as if each product had one at most."""
        n_present = self._reference.n_products * (1 - self._reference.missing.get(column, 0.0))
        return self._reference.others.get(column, max(0.0, n_present - n_frequent))


def _empty(histogram: Histogram) -> NDArray[np.float64]:
    return np.zeros(len(histogram.counts))


def _binned(values: NDArray[np.floating[Any]], histogram: Histogram) -> NDArray[np.intp]:
    return np.bincount(np.searchsorted(histogram.edges, values, side="right"), minlength=len(histogram.counts))
