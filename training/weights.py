"""How much each class and each label counts in a loss: weights against imbalance, masks against what is unknown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_CLASS_WEIGHT = 10.0
MIN_LABELS = 5  # a class with fewer positives, or negatives, cannot be learned: it answers its prior


def class_weights(targets: NDArray[np.int8]) -> NDArray[np.float32]:
    """Weight of a positive per class: clip(sqrt(negatives / positives), 1, 10).

    A model trained with it overstates the odds by this factor; subtracting its logarithm from the logit undoes that.

    Parameters
    ----------
    targets : (n_products, n_classes), 1 yes, 0 no, -1 unknown
    """
    n_positives = np.maximum((targets == 1).sum(axis=0), 1)
    ratios = np.sqrt((targets == 0).sum(axis=0) / n_positives)
    return np.asarray(np.clip(ratios, 1.0, MAX_CLASS_WEIGHT), dtype=np.float32)


def priors(targets: NDArray[np.int8]) -> NDArray[np.float64]:
    """Positive rate per class among the known targets, with half a positive and half a negative added, in (0, 1)."""
    rates = ((targets == 1).sum(axis=0) + 0.5) / ((targets >= 0).sum(axis=0) + 1.0)
    return np.asarray(rates, dtype=np.float64)


def served_priors(targets: NDArray[np.int8]) -> NDArray[np.float64]:
    """What each class answers of a product of which nothing is known, in (0, 1): its positive rate.

    Of a class without enough known negatives no rate is known, as its labels may be the yeses that somebody thought of;
    such a class is taken to be as frequent as those that can be learned are in the mean.
    """
    rates, learned = priors(targets), trainable_classes(targets)
    too_few = (targets == 0).sum(axis=0) < MIN_LABELS
    return np.where(too_few, rates[learned].mean() if learned.any() else 0.5, rates)


def trainable_classes(targets: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Classes with enough known positives, and at least as many known negatives, to be learned, (n_classes,)."""
    enough_positives = (targets == 1).sum(axis=0) >= MIN_LABELS
    return np.asarray(enough_positives & ((targets == 0).sum(axis=0) >= MIN_LABELS), dtype=np.bool_)


def mask(targets: NDArray[np.int8]) -> NDArray[np.float32]:
    """1 where the target is known, 0 where it is not; same shape as the targets."""
    return (targets >= 0).astype(np.float32)
