"""Calibration: a straight line on each member's logits, stacking weights per class, and the served thresholds.

All of it is fitted on predictions for products that the models had not seen; which those are is left to `training.fit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.catalogues.catalogue import Labels
from training.catalogues.catalogue_file import ThresholdObjective, ThresholdSettings
from training.weights import class_weights, mask, priors, trainable_classes

Floats = NDArray[np.float64]
N_NEWTON_STEPS = 25
PLATT_PENALTY = 0.5  # pull of the slope towards 1, in products
N_STACKING_STEPS = 40
POOLED_PRODUCTS = 40.0  # how many products the pooled stacking weights count for
POOLED_POSITIVES = 20.0  # how many positives the pooled threshold counts for
MERCHANTS_SHARE, MERCHANTS_LEAST = (
    3.0,
    200.0,
)  # weight of a class's merchant labels in stacking: times answers, and more
EDGE = 1e-6  # probabilities are kept this far from 0 and 1
MAX_SLOPE = 5.0
CONVERGED = 1e-4  # log odds


@dataclass(frozen=True)
class Platt:
    """Probability = σ(slope · logit + shift), per class or per member and class."""

    slope: Floats
    shift: Floats

    def __call__(self, logits: NDArray[np.floating]) -> Floats:
        """Calibrated probabilities of logits, (n_products, ..., n_classes)."""
        return sigmoid(self.slope * logits + self.shift)


@dataclass(frozen=True)
class Calibration:
    """Everything between the members' logits and the served probabilities.

    Parameters
    ----------
    members : slope and shift, (n_members, n_classes)
    ensemble : slope and shift of the stacked probability, (n_classes,)
    stacking : (n_members, n_classes)
    priors, trainable : (n_classes,)
    gaps : (n_modalities, n_members, n_classes), factor of a stacking weight where a modality is missing; None: 1
    """

    members: Platt
    ensemble: Platt
    stacking: NDArray[np.float64]
    priors: NDArray[np.float64]
    trainable: NDArray[np.bool_]
    gaps: NDArray[np.float64] | None = None

    def __call__(
        self, logits: NDArray[np.floating], present: NDArray[np.bool_], missing: NDArray[np.bool_] | None = None
    ) -> Floats:
        """What the ensemble answers, (n_products, n_classes), to what its members say.

        Parameters
        ----------
        logits : (n_products, n_members, n_classes)
        present : (n_products, n_members), False where a member abstains
        missing : (n_products, n_modalities), True where a product lacks one; taken as none by default
        """
        stacking: Floats = self.stacking
        if missing is not None and self.gaps is not None:
            stacking = stacking + EDGE
            for column, factors in zip(missing.T, self.gaps, strict=True):
                stacking = stacking * np.where(column[:, None, None], factors, 1.0)
        stacked = mixture(self.members(logits), present, stacking, self.priors)
        answered = present.any(axis=1, keepdims=True) & self.trainable
        return np.where(answered, self.ensemble(logit(stacked)), self.priors)


def fit_calibration(
    logits: NDArray[np.floating],
    present: NDArray[np.bool_],
    targets: Labels,
    weights: NDArray[np.floating],
    *,
    people: NDArray[np.bool_] | None = None,
) -> Calibration:
    """Everything between logits and probabilities, fitted on predictions for unseen products.

    Where people answered, stacking weights are theirs to say: which member to trust is what merchants' labels, which
    some members learn to repeat, tell worst.

    Parameters
    ----------
    logits : (n_products, n_members, n_classes)
    present : (n_products, n_members), False where a member abstains
    targets, weights : (n_products, n_classes)
    people : (n_products, n_classes), where the target is a person's answer
    """
    positive, rates = targets == 1, priors(targets)
    lines = [fit_platt(logits[:, m], positive, weights * present[:, [m]]) for m in range(logits.shape[1])]
    members = Platt(np.stack([line.slope for line in lines]), np.stack([line.shift for line in lines]))
    probabilities = members(logits)
    in_stacking = weights if people is None else _mostly_people(people, targets, weights)
    # positives count more, as ranking asks more of them than the likelihood does (+.005 on held-out labels)
    stacking = fit_stacking(
        probabilities, present, positive, np.where(positive, class_weights(targets), 1) * in_stacking
    )
    stacked = mixture(probabilities, present, stacking, rates)
    ensemble = fit_platt(logit(stacked), positive, weights)
    return Calibration(members, ensemble, stacking, rates, trainable_classes(targets))


def _mostly_people(people: NDArray[np.bool_], targets: Labels, weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Weights of stacking: a person's answer counts one, all labels of merchants little more than those together."""
    if not people.any():
        return weights
    merchants = np.where(people, 0.0, weights * mask(targets))
    at_most = MERCHANTS_SHARE * people.sum(axis=0) + MERCHANTS_LEAST
    share = np.minimum(1.0, at_most / np.maximum(merchants.sum(axis=0), 1e-12))
    return np.where(people, 1.0, merchants * share)


def fit_thresholds(
    probabilities: Floats,
    targets: Labels,
    weights: NDArray[np.floating],
    *,
    classes: Sequence[str],
    settings: ThresholdSettings,
) -> tuple[float, ...]:
    """Each class's own threshold, drawn towards the one that suits all classes together.

    Parameters
    ----------
    probabilities, targets, weights : (n_products, n_classes)
    """
    counts, positive = mask(targets) * weights, targets == 1
    pooled = choose_threshold(probabilities.ravel(), positive.ravel(), counts.ravel(), settings)
    chosen = []
    for index, name in enumerate(classes):
        column = np.s_[:, index]
        own = choose_threshold(probabilities[column], positive[column], counts[column], settings.of(name))
        chosen.append(shrunk_threshold(own, pooled, float(positive[column].sum())))
    return tuple(chosen)


def sigmoid(logits: NDArray[np.floating]) -> Floats:
    """1 / (1 + exp(−x)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=np.float64)


def logit(probabilities: NDArray[np.floating]) -> Floats:
    """Log odds of probabilities kept away from 0 and 1."""
    bounded = np.clip(probabilities.astype(np.float64), EDGE, 1 - EDGE)
    return np.asarray(np.log(bounded) - np.log1p(-bounded), dtype=np.float64)


def fit_platt(logits: NDArray[np.floating], positive: NDArray[np.bool_], weights: NDArray[np.floating]) -> Platt:
    """Slope and shift of every class that make the weighted log loss least, by damped Newton steps.

    Parameters
    ----------
    logits, positive, weights : (n_products, n_classes); weight 0 leaves an entry out

    Source: Platt 1999, with his smoothed targets; Lin, Lin, Weng 2007 for the Newton steps.
    """
    n_positive = (weights * positive).sum(axis=0)
    n_negative = (weights * ~positive).sum(axis=0)
    targets = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    slope, shift = np.ones(logits.shape[1]), np.zeros(logits.shape[1])
    loss = _platt_loss(logits, targets, weights, slope, shift)
    for _ in range(N_NEWTON_STEPS):
        step_slope, step_shift = _newton_step(logits, targets, weights, slope, shift)
        if max(np.abs(step_slope).max(), np.abs(step_shift).max()) < CONVERGED:
            break
        size = np.ones_like(slope)
        for _ in range(10):  # halve the step of each class until its loss falls
            tried = _platt_loss(logits, targets, weights, slope - size * step_slope, shift - size * step_shift)
            worse = tried > loss + 1e-12
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        size = np.where(tried > loss + 1e-12, 0.0, size)
        slope, shift = slope - size * step_slope, shift - size * step_shift
        loss = np.minimum(tried, loss)
    return Platt(np.clip(slope, 0.0, MAX_SLOPE), shift)


def _platt_loss(
    logits: NDArray[np.floating], targets: Floats, weights: NDArray[np.floating], slope: Floats, shift: Floats
) -> Floats:
    lines = slope * logits + shift
    loss = (weights * (np.logaddexp(0, lines) - targets * lines)).sum(axis=0)
    return np.asarray(loss + 0.5 * PLATT_PENALTY * (slope - 1) ** 2, dtype=np.float64)


def _newton_step(
    logits: NDArray[np.floating], targets: Floats, weights: NDArray[np.floating], slope: Floats, shift: Floats
) -> tuple[Floats, Floats]:
    probabilities = sigmoid(slope * logits + shift)
    error = weights * (probabilities - targets)
    curvature = weights * probabilities * (1 - probabilities)
    gradient_slope = (error * logits).sum(axis=0) + PLATT_PENALTY * (slope - 1)
    gradient_shift = error.sum(axis=0)
    of_slope = (curvature * logits**2).sum(axis=0) + PLATT_PENALTY
    of_both = (curvature * logits).sum(axis=0)
    of_shift = curvature.sum(axis=0) + 1e-6
    determinant = np.maximum(of_slope * of_shift - of_both**2, 1e-12)
    return (
        (of_shift * gradient_slope - of_both * gradient_shift) / determinant,
        (of_slope * gradient_shift - of_both * gradient_slope) / determinant,
    )


def fit_stacking(
    probabilities: Floats,
    present: NDArray[np.bool_],
    positive: NDArray[np.bool_],
    weights: NDArray[np.floating],
    *,
    pooled_products: float = POOLED_PRODUCTS,
) -> Floats:
    """Non-negative weights of the members, per class, summing to 1, that make the mixture most likely.

    Each step hands every answer to the members by how likely they made it, and sets the weights to their shares
    (expectation-maximisation; each step raises the likelihood). Shares of all classes together count as some further
    products in every class, so that a rare class leans on what holds for all.

    Parameters
    ----------
    probabilities : (n_products, n_members, n_classes), calibrated
    present : (n_products, n_members), False where a member abstains
    positive, weights : (n_products, n_classes)
    pooled_products : how many further products the shares of all classes count as

    Returns
    -------
    (n_members, n_classes)

    Source: Dempster, Laird, Rubin 1977 (mixture proportions); Breiman 1996 (stacking).
    """
    n_members, n_classes = probabilities.shape[1:]
    likelihoods = np.where(positive[:, None], probabilities, 1 - probabilities) * present[:, :, None]
    likelihoods = np.maximum(likelihoods, EDGE * present[:, :, None]).astype(np.float32)
    shares = np.full((n_members, n_classes), 1 / n_members)
    for _ in range(N_STACKING_STEPS):
        joint = likelihoods * shares.astype(np.float32)
        total = np.maximum(joint.sum(axis=1), 1e-12)
        counts = np.einsum("nmc,nc->mc", joint, (weights / total).astype(np.float32)).astype(np.float64)
        pooled = counts.sum(axis=1) / max(counts.sum(), 1e-12)
        counts += pooled_products * pooled[:, None]
        shares = counts / np.maximum(counts.sum(axis=0), 1e-12)
    return shares


def mixture(
    probabilities: NDArray[np.floating], present: NDArray[np.bool_], stacking: Floats, priors: Floats
) -> Floats:
    """Weighted mean over the members that did not abstain; the prior where all did, (n_products, n_classes).

    Parameters
    ----------
    stacking : (n_members, n_classes), or with a first axis of products
    """
    weights = present[:, :, None] * (stacking + EDGE)
    total = weights.sum(axis=1)
    mean = (weights * probabilities).sum(axis=1) / np.maximum(total, EDGE / 2)
    return np.where(total > 0, mean, priors)


def choose_threshold(
    probabilities: Floats, positive: NDArray[np.bool_], weights: NDArray[np.floating], objective: ThresholdObjective
) -> float:
    """The probability from which yes is answered, between two seen ones; 1 if no threshold reaches the precision."""
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    true_positives = np.cumsum((weights * positive)[order])
    said_yes = np.cumsum(weights[order])
    last_of_ties = np.append(ranked[1:] < ranked[:-1], True)
    if objective.objective == "precision-floor":
        reaches = last_of_ties & (true_positives >= objective.precision * np.maximum(said_yes, 1e-12))
        if not reaches.any():
            return 1.0
        best = int(np.flatnonzero(reaches)[-1])
    else:
        squared = objective.beta**2
        n_positives = (weights * positive).sum()
        f_beta = (1 + squared) * true_positives / np.maximum(said_yes + squared * n_positives, 1e-12)
        best = int(np.argmax(np.where(last_of_ties, f_beta, -1.0)))
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def shrunk_threshold(own: float, pooled: float, n_positives: float) -> float:
    """Own threshold drawn towards the pooled one in log odds, the more the fewer positives it was chosen on."""
    trust = n_positives / (n_positives + POOLED_POSITIVES)
    return float(sigmoid(trust * logit(np.asarray(own)) + (1 - trust) * logit(np.asarray(pooled))))
