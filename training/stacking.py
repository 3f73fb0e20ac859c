"""Stacking: how much each member counts in the ensemble, per class, and the log odds that these weights give."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch.nn.functional import binary_cross_entropy_with_logits

from training.catalogues.catalogue import Labels
from training.platt import EDGE, Floats, logit
from training.weights import mask

PULL = 100.0  # of a weight towards its anchor, in log loss a squared unit: rare classes lean on what holds for all
N_ITERATIONS = 100
MERCHANTS_SHARE = 3.0  # what all labels of merchants in a class count at most: so many times people's answers,
MERCHANTS_LEAST = 200.0  # and this


def fit_stacking(
    log_odds: NDArray[np.floating],
    present: NDArray[np.bool_],
    positive: NDArray[np.bool_],
    weights: NDArray[np.floating],
) -> Floats:
    """Non-negative weights of the members, per class, summing to 1, whose weighted log odds are most likely.

    A logistic regression on what the members say, first one for all classes together, which is drawn to equal weights,
    then one for each class, drawn to that. Only shares are kept; how sure their sum may be is left to Platt's line.

    Parameters
    ----------
    log_odds : (n_products, n_members, n_classes), calibrated
    present : (n_products, n_members), False where a member abstains
    positive, weights : (n_products, n_classes)

    Returns
    -------
    (n_members, n_classes)

    Source: Breiman 1996 (stacking with non-negative weights); Genest, Zidek 1986 (logarithmic opinion pool).
    """
    n_members, n_classes = log_odds.shape[1:]
    said = (log_odds * present[:, :, None]).astype(np.float32)
    loss = _Loss(said, positive, weights.astype(np.float32))
    together = loss.least(np.full((n_members, 1), 1 / n_members))
    shares = loss.least(np.repeat(together, n_classes, axis=1)) + EDGE
    return np.asarray(shares / shares.sum(axis=0), dtype=np.float64)


def pooled(log_odds: NDArray[np.floating], present: NDArray[np.bool_], stacking: Floats, priors: Floats) -> Floats:
    """Weighted mean of the log odds of the members that did not abstain; the prior's where all did.

    Parameters
    ----------
    log_odds : (n_products, n_members, n_classes)
    stacking : (n_members, n_classes), or with a first axis of products

    Returns
    -------
    (n_products, n_classes)
    """
    weights = present[:, :, None] * (stacking + EDGE)
    total = weights.sum(axis=1)
    mean = (weights * log_odds).sum(axis=1) / np.maximum(total, EDGE / 2)
    return np.where(total > 0, mean, logit(priors))


def mostly_people(people: NDArray[np.bool_], targets: Labels, weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Weights for stacking: a person's answer counts one, all labels of merchants little more than those together.

    Parameters
    ----------
    people : (n_products, n_classes), where the target is a person's answer
    targets, weights : (n_products, n_classes)
    """
    if not people.any():
        return weights
    merchants = np.where(people, 0.0, weights * mask(targets))
    at_most = MERCHANTS_SHARE * people.sum(axis=0) + MERCHANTS_LEAST
    share = np.minimum(1.0, at_most / np.maximum(merchants.sum(axis=0), 1e-12))
    return np.where(people, 1.0, merchants * share)


class _Loss:
    """Weighted log loss of the classes as a function of the members' weights."""

    def __init__(self, said: NDArray[np.float32], positive: NDArray[np.bool_], weights: NDArray[np.float32]) -> None:
        # class by class and in torch, whose exponentials take a fraction of numpy's time
        self._said = torch.from_numpy(np.ascontiguousarray(said.transpose(2, 0, 1)))
        self._positive = torch.from_numpy(np.ascontiguousarray(positive.T, dtype=np.float32))
        self._weights = torch.from_numpy(np.ascontiguousarray(weights.T))

    def least(self, anchor: Floats) -> Floats:
        """The weights of the least loss and pull to the anchor, which is (n_members, 1) for one set of weights, or
        (n_members, n_classes); every class has a shift of its own.
        """
        n_classes = len(self._positive)

        def value(parameters: Floats) -> tuple[float, Floats]:
            moved = parameters[: anchor.size].reshape(anchor.shape) - anchor
            loss, by_weight, by_shift = self._gradients(moved + anchor, parameters[anchor.size :])
            if anchor.shape[1] == 1:
                by_weight = by_weight.sum(axis=1, keepdims=True)
            pull = 0.5 * PULL * float(np.square(moved).sum())
            return loss + pull, np.concatenate([(by_weight + PULL * moved).ravel(), by_shift])

        found = minimize(
            value,
            np.concatenate([anchor.ravel(), np.zeros(n_classes)]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, None)] * anchor.size + [(None, None)] * n_classes,
            options={"maxiter": N_ITERATIONS},
        )
        return np.asarray(found.x[: anchor.size].reshape(anchor.shape), dtype=np.float64)

    def _gradients(self, members: Floats, shift: Floats) -> tuple[float, Floats, Floats]:
        """The loss and its gradients, (n_members, n_classes) and (n_classes,)."""
        each = np.broadcast_to(members, (self._said.shape[2], len(self._said))).astype(np.float32)
        lines = (self._said @ torch.from_numpy(each.T[:, :, None]))[:, :, 0]
        lines += torch.from_numpy(shift.astype(np.float32))[:, None]
        losses = self._weights * binary_cross_entropy_with_logits(lines, self._positive, reduction="none")
        error = self._weights * (torch.sigmoid(lines) - self._positive)
        by_weight = (error[:, None, :] @ self._said)[:, 0, :].T.numpy().astype(np.float64)
        return float(losses.sum(dtype=torch.float64)), by_weight, error.sum(dim=1, dtype=torch.float64).numpy()
