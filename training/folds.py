"""Folds of cross-fitting: products with equal titles stay together, or the products of a merchant do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.contracts import Product
from service.features.text import words
from training.catalogues.catalogue import Labels
from training.weights import trainable_classes

MIN_GROUPS, MIN_GROUP_SHARE = 20, 0.05  # distinct texts, in all and as a share of the products
MERCHANTS_A_FOLD = 4  # at least, for a fold to show more than one shop's ways
N_DRAWS = 200
LEAST_SHARE = 0.4  # of the positives that each fold would have if they were spread evenly


def make_folds(products: Sequence[Product], *, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each product, (n_products,); products with the same first text share one, where texts mostly differ."""
    keys = [" ".join(words(product.texts[0])) if product.texts else "" for product in products]
    named = [key or f"\0{row}" for row, key in enumerate(keys)]  # a product without a title stands alone
    distinct, group = np.unique(named, return_inverse=True)
    if len(distinct) < MIN_GROUPS + len(products) * MIN_GROUP_SHARE:  # a text is then a kind, not a product
        group = np.arange(len(products))
    fold_of_group = np.random.default_rng(seed).permutation(int(group.max()) + 1) % n_folds
    return fold_of_group[group].astype(np.int64)


def merchant_folds(
    merchants: Sequence[str], products: Sequence[Product], *, n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Fold of each product, (n_products,), in which each merchant is whole; those of `make_folds` where few are known.

    A model that learned from a merchant repeats the mistakes that the merchant makes throughout, and then believes its
    other labels. One that did not learn from it sees them.

    Parameters
    ----------
    merchants : of each product
    """
    names, of_product, sizes = np.unique(np.asarray(merchants), return_inverse=True, return_counts=True)
    if len(names) < n_folds or sizes.max() > len(products) / 2:
        return make_folds(products, n_folds=n_folds, seed=seed)
    fold_of, filled = np.zeros(len(names), dtype=np.int64), np.zeros(n_folds, dtype=np.int64)
    for name in np.argsort(-sizes, kind="stable"):
        fold_of[name] = int(np.argmin(filled))
        filled[fold_of[name]] += sizes[name]
    return np.asarray(fold_of[of_product], dtype=np.int64)


def even_merchant_folds(
    merchants: Sequence[str], products: Sequence[Product], targets: Labels, *, n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Fold of each product, (n_products,), in which each merchant is whole and each class about as frequent.

    The most even of some draws. Where merchants are few, or one has nearly all positives of a class, so that without
    it the class cannot be learned, the folds of `make_folds`.

    Parameters
    ----------
    merchants : of each product
    targets : (n_products, n_classes), 1 yes, 0 no, -1 unknown
    """
    names, of_product = np.unique(np.asarray(merchants), return_inverse=True)
    if len(names) < n_folds * MERCHANTS_A_FOLD:
        return make_folds(products, n_folds=n_folds, seed=seed)
    counted = np.column_stack([np.ones(len(targets)), targets[:, trainable_classes(targets)] == 1])
    of_merchant = np.zeros((len(names), counted.shape[1]))
    np.add.at(of_merchant, of_product, counted)
    rng = np.random.default_rng(seed)
    draws = [rng.permutation(len(names)) % n_folds for _ in range(N_DRAWS)]
    evenness = [_evenness(of_merchant, draw, n_folds) for draw in draws]
    best = int(np.argmax(evenness))
    if evenness[best] < LEAST_SHARE:
        return make_folds(products, n_folds=n_folds, seed=seed)
    return draws[best][of_product].astype(np.int64)


def _evenness(of_merchant: NDArray[np.float64], fold_of: NDArray[np.int64], n_folds: int) -> float:
    """The least share of a class, or of the products, that a fold has, as a multiple of an even share."""
    shares = [of_merchant[fold_of == fold].sum(axis=0) for fold in range(n_folds)] / of_merchant.sum(axis=0)
    return float(n_folds * np.min(shares))
