"""Stacking: how much each member counts in the ensemble, per class, and the mean that these weights give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.catalogues.catalogue import Labels
from training.platt import EDGE, Floats
from training.weights import mask

N_STEPS = 40
POOLED_PRODUCTS = 40.0  # how many products the pooled weights count for
MERCHANTS_SHARE = 3.0  # what all labels of merchants in a class count at most: so many times people's answers,
MERCHANTS_LEAST = 200.0  # and this


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
    for _ in range(N_STEPS):
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
