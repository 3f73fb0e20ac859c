"""What the training data looked like: the distributions that drift is measured against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.bundles.bundle import Histogram, Reference
from service.contracts import Product
from training.catalogues.catalogue import Catalogue

PROBABILITY_EDGES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
N_QUANTILES = 10
N_VALUES = 50  # of a categorical column


def learn_reference(
    catalogue: Catalogue,
    products: Sequence[Product],
    has_image: NDArray[np.bool_],
    probabilities: NDArray[np.float64],
) -> Reference:
    """Histograms of held-out probabilities and numbers, counts of categories, and shares of missing values.

    Parameters
    ----------
    has_image : (n_products,), whether there is one that can be decoded
    probabilities : (n_products, n_classes), of the ensemble for products it had not seen
    """
    fields = catalogue.fields
    numbers = np.asarray([product.numbers for product in products], dtype=np.float64).reshape(len(products), -1)
    classes = {
        name: histogram(probabilities[:, i], PROBABILITY_EDGES) for i, name in enumerate(catalogue.taxonomy.classes)
    }
    missing = {name: _share([not p.texts[i] for p in products]) for i, name in enumerate(fields.text)}
    missing |= {f.column: _share([not p.categories[i] for p in products]) for i, f in enumerate(fields.categorical)}
    missing |= {name: float(np.isnan(numbers[:, i]).mean()) for i, name in enumerate(fields.numerical)}
    if fields.image:
        missing[fields.image] = float(1.0 - has_image.mean())
    values = {field.column: _counts(products, i) for i, field in enumerate(fields.categorical)}
    frequent = {column: dict(counts.most_common(N_VALUES)) for column, counts in values.items()}
    return Reference(
        n_products=len(products),
        classes=classes,
        numerical={name: _quantiles(numbers[:, i]) for i, name in enumerate(fields.numerical)},
        categorical=frequent,
        others={column: counts.total() - sum(frequent[column].values()) for column, counts in values.items()},
        missing=missing,
    )


def histogram(values: NDArray[np.float64], edges: Sequence[float]) -> Histogram:
    """Counts of values below the first edge, between edges (the lower one included), and from the last edge on."""
    bins = np.searchsorted(np.asarray(edges), values, side="right")
    return Histogram(edges=tuple(edges), counts=tuple(np.bincount(bins, minlength=len(edges) + 1).tolist()))


def _quantiles(values: NDArray[np.float64]) -> Histogram:
    known = values[~np.isnan(values)]
    if not len(known):
        return Histogram(edges=(), counts=(0,))
    edges = np.unique(np.quantile(known, np.arange(1, N_QUANTILES) / N_QUANTILES))
    return histogram(known, edges.tolist())


def _counts(products: Sequence[Product], field_index: int) -> Counter[str]:
    return Counter(value for product in products for value in product.categories[field_index])


def _share(flags: Sequence[bool]) -> float:
    return float(np.mean(flags))
