"""How far what is served is from what the bundle was trained on: the population stability index, per class and field.

Gathering what is served is left to `service.telemetry.traffic`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.bundles.bundle import Reference
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
    return float(stability_indices(expected, actual, [0])[0])


def stability_indices(expected: ArrayLike, actual: ArrayLike, starts: Sequence[int]) -> NDArray[np.float64]:
    """`stability_index` of many pairs of histograms at once, which lie one after the other.

    Parameters
    ----------
    expected, actual : (n_bins of all,), counts
    starts : (n_histograms,), the first bin of each, rising from 0; no histogram is empty

    Returns
    -------
    (n_histograms,), each from 0
    """
    n_bins = np.diff([*starts, np.size(expected)])
    shares = []
    for counts in (expected, actual):
        smoothed = np.asarray(counts, dtype=np.float64) + PSEUDO_COUNT
        shares.append(smoothed / np.repeat(np.add.reduceat(smoothed, starts), n_bins))
    moved: NDArray[np.float64] = np.add.reduceat((shares[1] - shares[0]) * np.log(shares[1] / shares[0]), starts)
    return moved


class DriftWatch:
    """Histograms of what one bundle serves, over the bins of its reference.

    Parameters
    ----------
    classes : in the order of the probabilities
    """

    def __init__(self, reference: Reference, *, fields: FieldSpec, classes: Sequence[str]) -> None:
        self._classes = [(index, name, np.asarray(reference.classes[name].edges))
                         for index, name in enumerate(classes) if name in reference.classes]  # fmt: skip
        self._numerical = {column: np.asarray(histogram.edges) for column, histogram in reference.numerical.items()}
        self._categorical = [field.column for field in fields.categorical if field.column in reference.categorical]
        self._places = {
            column: {value: place for place, value in enumerate(reference.categorical[column])}
            for column in self._categorical
        }
        self._values = {field.column: field.values for field in fields.categorical}
        self._reference = reference
        self._n_products = 0.0
        keys: list[tuple[Kind, str]] = [
            *(("class", name) for _, name, _ in self._classes),
            *(("field", column) for column in (*self._numerical, *self._categorical)),
            *(("missing", column) for column in reference.missing),
        ]
        expected = [self._expected(*key) for key in keys]
        stops = np.cumsum([len(counts) for counts in expected], dtype=np.int64)
        self._starts: list[int] = [0, *stops.tolist()][:-1]
        self._all_expected = np.concatenate([*expected, np.zeros(0)])
        self._all_counts = np.zeros_like(self._all_expected)
        self._counts = dict(zip(keys, np.split(self._all_counts, stops)[:-1], strict=True))  # views of it

    def take(self, probabilities: NDArray[np.floating[Any]], records: Sequence[Mapping[str, Any]]) -> None:
        """Count some products.

        Parameters
        ----------
        probabilities : (n_products, n_classes)
        records : some of these products, as they were posted
        """
        self._fade()
        self._n_products += len(probabilities)
        for index, name, edges in self._classes:
            _count(self._counts["class", name], probabilities[:, index], edges)
        for column, edges in self._numerical.items():
            values = np.asarray([record.get(column) for record in records], dtype=np.float64)  # NaN where there is none
            _count(self._counts["field", column], values[~np.isnan(values)], edges)
        for column in self._categorical:
            self._take_categories(column, [record.get(column) for record in records])
        for column in self._reference.missing:
            n_missing = self._n_missing(column, [record.get(column) for record in records])
            self._counts["missing", column] += (n_missing, len(records) - n_missing)

    def indices(self) -> dict[tuple[Kind, str], float]:
        """The stability index of each class, field and share of missing values; empty until enough was served."""
        if self._n_products < N_ENOUGH or not self._starts:
            return {}
        indices = stability_indices(self._all_expected, self._all_counts, self._starts).tolist()
        enough = (np.add.reduceat(self._all_counts, self._starts) >= N_ENOUGH).tolist()
        return {key: index for key, index, is_known in zip(self._counts, indices, enough, strict=True) if is_known}

    def _fade(self) -> None:
        if self._n_products > N_REMEMBERED:
            self._n_products /= 2
            self._all_counts /= 2

    def _n_missing(self, column: str, cells: Sequence[object]) -> int:
        """As in training, where a cell of blanks holds no category, and 0 is a number."""
        if column not in self._values:
            return cells.count(None) + cells.count("")
        values = self._values[column]
        return sum(n_products for cell, n_products in _alike(cells).items() if not values(cell))

    def _take_categories(self, column: str, cells: Sequence[object]) -> None:
        values, places, counts = self._values[column], self._places[column], self._counts["field", column]
        for cell, n_products in _alike(cells).items():
            for value in values(cell):
                counts[places.get(value, -1)] += n_products  # the last place is for all other values

    def _expected(self, kind: Kind, name: str) -> NDArray[np.float64]:
        if kind == "missing":
            share = self._reference.missing[name]
            return np.asarray([share, 1 - share]) * max(self._reference.n_products, 1)
        if kind == "field" and name in self._categorical:
            counts = list(self._reference.categorical[name].values())
            return np.asarray([*counts, self._n_others(name, sum(counts))], dtype=np.float64)
        histogram = self._reference.classes[name] if kind == "class" else self._reference.numerical[name]
        return np.asarray(histogram.counts, dtype=np.float64)

    def _n_others(self, column: str, n_frequent: int) -> float:
        """Values beside the frequent ones; where the reference does not say, as if each product had one at most."""
        n_present = self._reference.n_products * (1 - self._reference.missing.get(column, 0.0))
        return self._reference.others.get(column, max(0.0, n_present - n_frequent))


def _alike(cells: Sequence[object]) -> Counter[object]:
    """How often each cell comes: a shop has few brands, and taking a cell apart costs more than counting it."""
    return Counter(tuple(cell) if isinstance(cell, list) else cell for cell in cells)


def _count(counts: NDArray[np.float64], values: NDArray[np.floating[Any]], edges: NDArray[np.float64]) -> None:
    """Add to a histogram in place."""
    counts += np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(counts))
