"""Folds of cross-fitting: what stays together in them, and how evenly they are filled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contracts import FieldSpec
from training.folds import LEAST_SHARE, even_merchant_folds, make_folds, merchant_folds

FIELDS = FieldSpec.model_validate({"id": "sku", "text": ["title"]})
PRODUCTS = [FIELDS.product({"sku": str(row), "title": f"mug number {row}" if row % 10 else ""}) for row in range(120)]


def test_products_with_the_same_title_share_a_fold() -> None:
    products = PRODUCTS * 2

    folds = make_folds(products, n_folds=3, seed=0)

    titled = [row for row, product in enumerate(PRODUCTS) if product.texts[0]]
    assert all(folds[row] == folds[row + 120] for row in titled)
    assert set(folds) == {0, 1, 2}


def test_a_merchant_is_whole_in_a_fold_and_folds_are_of_like_size() -> None:
    merchants = [f"m{row % 12 if row % 2 else 0}" for row in range(len(PRODUCTS))]  # one of them sends half of all

    folds = merchant_folds(merchants, PRODUCTS, n_folds=3, seed=0)

    assert len(set(zip(merchants, folds.tolist(), strict=True))) == len(set(merchants))
    assert set(folds) == {0, 1, 2}


@pytest.mark.parametrize("merchants", [["m0", "m1"], ["–"], ["m0"] * 9 + ["m1", "m2", "m3"]])
def test_where_few_merchants_are_known_folds_are_drawn(merchants: list[str]) -> None:
    named = [merchants[row % len(merchants)] for row in range(len(PRODUCTS))]

    folds = merchant_folds(named, PRODUCTS, n_folds=3, seed=0)

    np.testing.assert_array_equal(folds, make_folds(PRODUCTS, n_folds=3, seed=0))


@given(st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_every_class_is_about_as_frequent_in_every_fold_of_whole_merchants(seed: int) -> None:
    rng = np.random.default_rng(seed)
    merchants = [f"m{row % 8}" for row in range(120)]
    targets = (rng.random((120, 4)) < [0.5, 0.5, 0.3, 0.3]).astype(np.int8)
    targets[np.isin(merchants, ["m0", "m1", "m2"]), 0] = 0  # five of eight merchants sell it
    targets[0, 3] = -1

    folds = even_merchant_folds(merchants, PRODUCTS, targets, n_folds=2, seed=seed)

    assert len(set(zip(merchants, folds.tolist(), strict=True))) == 8
    positives = np.stack([(targets[folds == fold] == 1).sum(axis=0) for fold in (0, 1)])
    assert (2 * positives / positives.sum(axis=0) >= LEAST_SHARE).all()


def test_a_class_that_one_merchant_alone_sells_is_not_taken_from_a_fold() -> None:
    merchants = [f"m{row % 8}" for row in range(120)]
    targets = np.zeros((120, 1), dtype=np.int8)
    targets[np.array(merchants) == "m3"] = 1

    folds = even_merchant_folds(merchants, PRODUCTS, targets, n_folds=2, seed=0)

    np.testing.assert_array_equal(folds, make_folds(PRODUCTS, n_folds=2, seed=0))


def test_a_class_that_cannot_be_learned_anyway_does_not_matter() -> None:
    merchants = [f"m{row % 8}" for row in range(120)]
    targets = np.zeros((120, 2), dtype=np.int8)
    targets[:, 0] = np.arange(120) % 3 == 0
    targets[3, 1] = 1  # once, and so in one fold only

    folds = even_merchant_folds(merchants, PRODUCTS, targets, n_folds=2, seed=0)

    assert len(set(zip(merchants, folds.tolist(), strict=True))) == 8
