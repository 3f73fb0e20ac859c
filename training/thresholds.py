"""The thresholds from which the served answer is yes: chosen per class, drawn towards the one for all classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.catalogues.catalogue import Labels
from training.catalogues.catalogue_file import ThresholdObjective, ThresholdSettings
from training.platt import Floats, logit, sigmoid
from training.weights import mask

POOLED_POSITIVES = 20.0  # how many positives the pooled threshold counts for
NEVER = 1.0  # the threshold of a class that was not trained: its prior, which lies below, tells no product apart


def fit_thresholds(
    probabilities: Floats,
    targets: Labels,
    weights: NDArray[np.floating],
    *,
    classes: Sequence[str],
    settings: ThresholdSettings,
    trained: NDArray[np.bool_] | None = None,
) -> tuple[float, ...]:
    """Each class's own threshold, drawn towards the one that suits all classes together.

    Of a precision floor only upwards: what reaches it is not given away for what other classes have in common.

    Parameters
    ----------
    probabilities, targets, weights : (n_products, n_classes)
    trained : (n_classes,), False where the probability is a constant, to which the answer is no; None if all are
    """
    counts, positive = mask(targets) * weights, targets == 1
    learned = np.ones(len(classes), dtype=np.bool_) if trained is None else trained
    together = np.s_[:, learned]
    pooled = choose_threshold(
        probabilities[together].ravel(), positive[together].ravel(), counts[together].ravel(), settings
    )
    chosen = []
    for index, name in enumerate(classes):
        column = np.s_[:, index]
        objective = settings.of(name)
        own = choose_threshold(probabilities[column], positive[column], counts[column], objective)
        drawn = shrunk_threshold(own, pooled, float(positive[column].sum()))
        chosen.append(max(own, drawn) if objective.objective == "precision-floor" else drawn)
    return tuple(np.where(learned, chosen, NEVER).tolist())


def choose_threshold(
    probabilities: Floats, positive: NDArray[np.bool_], weights: NDArray[np.floating], objective: ThresholdObjective
) -> float:
    """The probability from which yes is answered, between two seen ones; 1 if none reaches the precision or is seen."""
    if not len(probabilities):
        return 1.0
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    # in single precision a sum of millions stands still
    true_positives = np.cumsum((weights * positive)[order], dtype=np.float64)
    said_yes = np.cumsum(weights[order], dtype=np.float64)
    last_of_ties = np.append(ranked[1:] < ranked[:-1], True)
    if objective.objective == "precision-floor":
        reaches = last_of_ties & (true_positives >= objective.precision * np.maximum(said_yes, 1e-12))
        if not reaches.any():
            return 1.0
        best = int(np.flatnonzero(reaches)[-1])
    else:
        squared = objective.beta**2
        n_positives = true_positives[-1]
        f_beta = (1 + squared) * true_positives / np.maximum(said_yes + squared * n_positives, 1e-12)
        best = int(np.argmax(np.where(last_of_ties, f_beta, -1.0)))
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def shrunk_threshold(own: float, pooled: float, n_positives: float) -> float:
    """Own threshold drawn towards the pooled one in log odds, the more the fewer positives it was chosen on."""
    trust = n_positives / (n_positives + POOLED_POSITIVES)
    return float(sigmoid(trust * logit(np.asarray(own)) + (1 - trust) * logit(np.asarray(pooled))))
