"""How far to trust each merchant label: by the probability that models which never saw it give it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.weights import mask

MIN_CONFIDENCE = 0.02  # even a label that all models contradict keeps this weight


def label_confidence(targets: NDArray[np.int8], out_of_fold: NDArray[np.floating]) -> NDArray[np.float32]:
    """Weight of each label: its out-of-fold probability, which is p for a yes and 1 − p for a no.

    Parameters
    ----------
    targets : (n_products, n_classes), 1 yes, 0 no, -1 unknown
    out_of_fold : (n_products, n_classes), probabilities of models that were trained without the product

    Returns
    -------
    (n_products, n_classes), float32, in [0.02, 1]; 0 where the target is unknown

    Source: self-confidence of Northcutt, Jiang, Chuang 2021, arXiv:1911.00068, used as a weight, not to drop labels.
    """
    confidence = np.where(targets == 1, out_of_fold, 1.0 - out_of_fold)
    return (np.clip(confidence, MIN_CONFIDENCE, 1.0) * mask(targets)).astype(np.float32)
