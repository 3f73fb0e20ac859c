"""What a training learns from: the catalogue's products with their labels, and over them what people answered.

Pure arrangement of arrays; how far to trust a merchant's label is left to `training.noise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.contracts import Product
from training.catalogues.catalogue import Labels
from training.catalogues.cells import UNKNOWN
from training.retraining.human_labels import HumanLabels

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class HumanWeights:
    """How much people's answers count against a merchant label that is fully believed.

    Parameters
    ----------
    weight : of an answer in the loss, in the mean
    importance_exponent : e of the factor W**e, in the loss and in calibration
    in_calibration : weight of an answer in calibration and thresholds, in the mean
    """

    weight: float = 4.0
    importance_exponent: float = 0.0
    in_calibration: float = 16.0


@dataclass(frozen=True)
class Lessons:
    """Products and targets; arrays (n_products, n_classes).

    Parameters
    ----------
    targets : 1 yes, 0 no, -1 unknown; a person's answer stands over a merchant's
    human : weight of a person's answer in the loss, 0 where there is none
    in_calibration : its weight in calibration and thresholds
    """

    products: tuple[Product, ...]
    targets: Labels
    human: Weights
    in_calibration: Weights

    def loss_weights(self, trust: Weights) -> Weights:
        """People's weights over the trust in merchants' labels."""
        return np.where(self.human > 0, self.human, trust).astype(np.float32)

    def calibration_weights(self, trust: Weights) -> Weights:
        """The same for calibration and thresholds."""
        return np.where(self.human > 0, self.in_calibration, trust).astype(np.float32)


def without_people(products: Sequence[Product], targets: Labels) -> Lessons:
    """The catalogue's labels alone."""
    nobody = np.zeros(targets.shape, dtype=np.float32)
    return Lessons(tuple(products), targets, nobody, nobody)


def with_people(products: Sequence[Product], targets: Labels, people: HumanLabels, how: HumanWeights) -> Lessons:
    """The catalogue's labels and people's answers; a product known by its id gains answers, others are added."""
    row_of = {product.product_id: row for row, product in enumerate(products)}
    rows = np.empty(len(people.products), dtype=np.int64)
    everything = list(products)
    for index, product in enumerate(people.products):
        if product.product_id not in row_of:
            row_of[product.product_id] = len(everything)
            everything.append(product)
        rows[index] = row_of[product.product_id]
    merged = np.full((len(everything), targets.shape[1]), UNKNOWN, dtype=np.int8)
    merged[: len(targets)] = targets
    human = np.zeros(merged.shape, dtype=np.float32)
    said, class_index = np.nonzero(people.answers != UNKNOWN)
    at = (rows[said], class_index)
    merged[at] = people.answers[said, class_index]
    human[at] = _scaled(_tempered(people.importance[said, class_index], how.importance_exponent), how.weight)
    in_calibration = human * np.float32(how.in_calibration / how.weight)
    return Lessons(tuple(everything), merged, human, in_calibration)


def _tempered(importance: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """W**e; an answer that stands for no traffic counts like the least that does."""
    standing = importance[importance > 0]
    least = float(standing.min()) if len(standing) else 1.0
    return np.asarray(np.maximum(importance, least) ** exponent)


def _scaled(values: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    total = values.sum()
    return np.asarray(values * (mean * len(values) / total) if total > 0 else values)
