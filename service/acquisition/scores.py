"""How much a person's answer to each question would teach: doubt, prospect and the sampling weight they make.

Pure arithmetic on arrays. Drawing products and questions with these weights is left to `service.acquisition.cohort`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Floating = NDArray[np.floating[Any]]

ETA = 0.5  # share of disagreement in the doubt
FLOOR = 0.1  # share of the sampling weight that every question gets, however plain
N_QUESTIONS = 5  # questions asked of one product
MEMORY = 20_000  # products; older ones fade from the running means
_EDGE = 1e-6  # thresholds are kept this far from 0 and 1
_LEAST = 2e-38  # whose logarithm is finite in single precision, too
_LEAST_MEAN = 1e-4  # a running mean below this would let one product outweigh a cohort


class Reason(IntEnum):
    """Why a question is asked: the largest part of its sampling weight."""

    DOUBT = 0
    DISAGREEMENT = 1
    LIKELY_POSITIVE = 2
    DOUBTFUL_MERCHANT_LABEL = 3
    AUDIT = 4

    @property
    def words(self) -> str:
        """The reason as the API and the labelling page write it."""
        return self.name.lower().replace("_", " ")


# numpy's own scalars: converting an enum member costs more than the arithmetic around it
_DOUBT, _DISAGREEMENT, _LIKELY_POSITIVE, _DOUBTFUL_MERCHANT_LABEL, _AUDIT = (
    np.uint8(reason.value) for reason in Reason
)


@dataclass(frozen=True, slots=True)
class Scores:
    """What a batch's predictions leave open, per product and class, in bits.

    Parameters
    ----------
    uncertainty, disagreement, doubt : (n_products, n_classes), in [0, 1]
    """

    uncertainty: Float
    disagreement: Float
    doubt: Float


def joined(parts: Sequence[Scores]) -> Scores:
    """The scores of several batches, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Scores(
        uncertainty=np.concatenate([part.uncertainty for part in parts]),
        disagreement=np.concatenate([part.disagreement for part in parts]),
        doubt=np.concatenate([part.doubt for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class ScoreMeans:
    """Running means over the products of earlier, sealed cohorts; a value, never changed in place.

    Parameters
    ----------
    doubt_cubed, prospect : (n_classes,), in [0, 1]
    n_products : how many products they stand for
    """

    doubt_cubed: Float
    prospect: Float
    n_products: float

    @classmethod
    def from_priors(cls, priors: Sequence[float] | Float, *, n_products: float = 100.0) -> ScoreMeans:
        """Begin before any traffic: calibrated probabilities average to the prior; doubt to a fifth, as measured."""
        prior = np.asarray(priors, dtype=np.float64)
        return cls(doubt_cubed=np.minimum(prior, 1.0 - prior) / 5.0, prospect=prior, n_products=n_products)

    def updated(self, *, doubt_cubed_sums: Float, prospect_sums: Float, n_products: int) -> ScoreMeans:
        """Take in one sealed cohort, given as sums per class over all its products."""
        if n_products == 0:
            return self
        remembered = min(self.n_products, float(MEMORY))
        total = remembered + n_products
        return ScoreMeans(
            doubt_cubed=(self.doubt_cubed * remembered + doubt_cubed_sums) / total,
            prospect=(self.prospect * remembered + prospect_sums) / total,
            n_products=total,
        )


@dataclass(frozen=True, slots=True)
class QuestionWeights:
    """Sampling weight of every question of a batch, with its largest part.

    Parameters
    ----------
    weights : (n_products, n_classes), positive
    reasons : (n_products, n_classes), values of `Reason`
    """

    weights: Float
    reasons: NDArray[np.uint8]


def binary_entropy(probabilities: ArrayLike) -> Floating:
    """Entropy of a yes/no answer, in bits: 0 at 0 and 1, 1 at one half; of the shape and precision of the input."""
    p = _floating(probabilities)
    entropy = _x_log2_x(p)
    entropy += _x_log2_x(1.0 - p)
    return np.negative(entropy, out=entropy)


def _floating(values: ArrayLike) -> Floating:
    """As they are in single precision, which is what a graph gives and takes half the time, else in double."""
    given = np.asarray(values)
    return given if given.dtype == np.float32 else given.astype(np.float64, copy=False)


def _x_log2_x(x: Floating) -> Floating:
    terms = np.maximum(x, _LEAST, out=np.empty_like(x))
    np.log2(terms, out=terms)
    terms *= x
    return terms


def uncertainty(probabilities: ArrayLike, thresholds: ArrayLike) -> Float:
    """Entropy after the threshold has been moved to one half: how close the served yes/no is to tipping.

    Parameters
    ----------
    probabilities : (n_products, n_classes), in [0, 1]
    thresholds : (n_classes,), in [0, 1]

    Returns
    -------
    (n_products, n_classes), in bits, 1 exactly at the threshold, 0 at 0 and 1, continuous between.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    t = np.minimum(np.maximum(np.asarray(thresholds, dtype=np.float64), _EDGE), 1.0 - _EDGE)
    yes, no = p * (1.0 - t), (1.0 - p) * t  # odds of sigmoid(logit p - logit t), finite at p = 0 and p = 1
    return binary_entropy(yes / (yes + no)).astype(np.float64, copy=False)


def disagreement(member_probabilities: ArrayLike, present: NDArray[np.bool_], weights: ArrayLike) -> Float:
    """Jensen-Shannon divergence of the members: the information that knowing the right member would give.

    Parameters
    ----------
    member_probabilities : (n_products, n_members, n_classes), in [0, 1]; anything, NaN too, where not present
    present : (n_products, n_members); members that abstain are left out
    weights : (n_members, n_classes), non-negative; renormalised over the members present

    Returns
    -------
    (n_products, n_classes), in bits, in [0, 1]; 0 where fewer than two weighted members are present.

    Source: Houlsby et al. 2011, arXiv:1112.5745; Beluch et al. 2018.
    """
    p = np.where(present[:, :, None], _floating(member_probabilities), 0.0)
    votes, shares = present.astype(p.dtype), np.asarray(weights, dtype=p.dtype)
    totals = votes @ shares
    safe_totals = np.where(totals > 0.0, totals, 1.0)
    consensus = np.minimum(_weighted_sum(shares, p) / safe_totals, 1.0)  # rounding can pass 1
    expected_entropy = _weighted_sum(shares, binary_entropy(p)) / safe_totals
    divergence = np.minimum(np.maximum(binary_entropy(consensus) - expected_entropy, 0.0), 1.0)
    return np.where(votes @ (shares > 0.0) > 1.0, divergence, 0.0).astype(np.float64, copy=False)


def _weighted_sum(shares: Floating, values: Floating) -> Floating:
    """Over the members; values are 0, and so is their entropy, where a member abstains."""
    total: Floating = np.einsum("mc,nmc->nc", shares, values)
    return total


def doubt(uncertainty: Float, disagreement: Float, *, eta: float = ETA) -> Float:
    """Mixture of both scores: `eta` = 0 is uncertainty alone, 1 disagreement alone."""
    return (1.0 - eta) * uncertainty + eta * disagreement


def score(
    *,
    probabilities: ArrayLike,
    member_probabilities: ArrayLike,
    present: NDArray[np.bool_],
    thresholds: ArrayLike,
    member_weights: ArrayLike,
    eta: float = ETA,
) -> Scores:
    """All three scores of one batch; shapes as in `service.contracts.Predictions`."""
    unsure = uncertainty(probabilities, thresholds)
    split = disagreement(member_probabilities, present, member_weights)
    return Scores(uncertainty=unsure, disagreement=split, doubt=doubt(unsure, split, eta=eta))


def summary(values: Float) -> Float:
    """One number per product for `/classify`: that of the class where it is highest.

    A product with 48 plain answers and one in doubt is a product in doubt; a mean over classes would hide it.

    Parameters
    ----------
    values : (n_products, n_classes), uncertainty or disagreement, in bits

    Returns
    -------
    (n_products,)
    """
    highest: Float = values.max(axis=1)
    return highest


def prospect(probabilities: ArrayLike, merchant_labels: ArrayLike | None = None) -> Float:
    """Chance that asking finds a positive, or, where the merchant claims an answer, that the claim is wrong.

    Parameters
    ----------
    probabilities : (n_products, n_classes), in [0, 1]
    merchant_labels : (n_products, n_classes), 0, 1 or NaN where the merchant says nothing

    Returns
    -------
    (n_products, n_classes), in [0, 1]. Without it rare classes would starve: they are seldom in doubt.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if merchant_labels is None:
        return p
    claims = np.asarray(merchant_labels, dtype=np.float64)
    return np.where(np.isnan(claims), p, np.abs(claims - p))


def question_weights(
    scores: Scores,
    prospects: Float,
    *,
    means: ScoreMeans,
    claimed: NDArray[np.bool_] | None = None,
    budgets: ArrayLike = 1.0,
    floor: float = FLOOR,
    eta: float = ETA,
) -> QuestionWeights:
    """Sampling weights: half for doubt, half for prospect, each relative to its class's mean, above a floor.

    Parameters
    ----------
    prospects : (n_products, n_classes), of `prospect`
    means : of earlier cohorts, so that no weight depends on the draw it decides
    claimed : (n_products, n_classes), True where there is a merchant label
    budgets : (n_classes,), positive, mean 1: how much more of the answers a class shall get
    floor : in (0, 1]; lower learns faster and widens the intervals of live quality
    """
    share = (1.0 - floor) / 2.0
    by_doubt = share * cubed(scores.doubt) / np.maximum(means.doubt_cubed, _LEAST_MEAN)
    by_prospect = share * prospects / np.maximum(means.prospect, _LEAST_MEAN)
    weights = np.asarray(budgets, dtype=np.float64) * (by_doubt + by_prospect + floor)
    split = eta * scores.disagreement > (1.0 - eta) * scores.uncertainty
    likely = _LIKELY_POSITIVE if claimed is None else np.where(claimed, _DOUBTFUL_MERCHANT_LABEL, _LIKELY_POSITIVE)
    reasons = np.where(by_doubt >= by_prospect, np.where(split, _DISAGREEMENT, _DOUBT), likely)
    reasons[np.maximum(by_doubt, by_prospect) < floor] = _AUDIT
    return QuestionWeights(weights=weights, reasons=reasons)


def cubed(values: Float) -> Float:
    """Third power; many times faster than `**`, which takes a logarithm."""
    return values * values * values
