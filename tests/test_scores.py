"""Promises of the acquisition scores, each checked on drawn arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.acquisition.scores import (
    FLOOR,
    MEMORY,
    QuestionWeights,
    Reason,
    ScoreMeans,
    Scores,
    binary_entropy,
    disagreement,
    doubt,
    prospect,
    question_weights,
    score,
    summary,
    uncertainty,
)

Float = NDArray[np.float64]

probability = st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(0.0, 1.0, width=32))
threshold = st.floats(0.01, 0.99)


@dataclass(frozen=True)
class Committee:
    """Drawn members: what they say, who is present, how much each counts."""

    probabilities: NDArray[np.float32]
    present: NDArray[np.bool_]
    weights: Float

    def disagreement(self) -> Float:
        return disagreement(self.probabilities.astype(np.float64), self.present, self.weights)


@st.composite
def committees(draw: st.DrawFn) -> Committee:
    n_products, n_members, n_classes = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    corners = rng.choice([0.0, 1.0, 0.5], size=(n_products, n_members, n_classes))
    inner = rng.random((n_products, n_members, n_classes))
    probabilities = np.where(rng.random(inner.shape) < draw(st.floats(0, 1)), corners, inner).astype(np.float32)
    present = rng.random((n_products, n_members)) < draw(st.floats(0, 1))
    weights = rng.random((n_members, n_classes)) * (rng.random((n_members, n_classes)) < draw(st.floats(0, 1)))
    return Committee(np.where(present[:, :, None], probabilities, np.nan).astype(np.float32), present, weights)


@given(probability)
def test_entropy_lies_between_0_and_1_and_is_symmetric(p: float) -> None:
    entropy = binary_entropy(p)

    assert 0.0 <= entropy <= 1.0
    assert entropy == pytest.approx(binary_entropy(1.0 - p), abs=1e-12)


def test_entropy_of_a_coin_is_one_bit_and_of_a_certainty_zero() -> None:
    assert binary_entropy(np.array([0.0, 0.5, 1.0], dtype=np.float32)).tolist() == [0.0, 1.0, 0.0]


@given(probability, threshold)
def test_uncertainty_is_highest_exactly_at_the_threshold(p: float, t: float) -> None:
    elsewhere = uncertainty([[p]], [t])
    at_threshold = uncertainty([[t]], [t])

    assert at_threshold == 1.0
    assert 0.0 <= elsewhere <= 1.0
    assert elsewhere < 1.0 or abs(p - t) < 1e-6


@given(threshold, st.tuples(probability, probability))
def test_uncertainty_falls_with_distance_from_the_threshold_on_either_side(t: float, pair: tuple[float, float]) -> None:
    nearer, farther = sorted(pair, key=lambda p: abs(p - t))
    if (nearer - t) * (farther - t) < 0:
        nearer = t

    assert uncertainty([[nearer]], [t]) >= uncertainty([[farther]], [t]) - 1e-12


@given(probability, threshold)
def test_uncertainty_is_continuous(p: float, t: float) -> None:
    near = min(1.0, p + 1e-9)

    assert uncertainty([[near]], [t]) == pytest.approx(uncertainty([[p]], [t]), abs=1e-4)


@given(probability)
def test_uncertainty_at_a_threshold_of_one_half_is_the_entropy(p: float) -> None:
    assert uncertainty([[p]], [0.5])[0, 0] == pytest.approx(float(binary_entropy(p)), abs=1e-9)


@pytest.mark.parametrize("t", [0.0, 1.0])
@pytest.mark.parametrize("p", [0.0, 1e-38, 0.5, 1.0])
def test_uncertainty_is_finite_with_a_threshold_at_either_end(p: float, t: float) -> None:
    assert np.isfinite(uncertainty(np.array([[p]], dtype=np.float32), [t])).all()


@given(committees())
def test_disagreement_lies_between_0_and_the_entropy_of_the_consensus(committee: Committee) -> None:
    split = committee.disagreement()

    present = np.where(committee.present[:, :, None], committee.probabilities, 0.0).astype(np.float64)
    shares = committee.present[:, :, None] * committee.weights
    totals = shares.sum(axis=1)
    consensus = np.divide((shares * present).sum(axis=1), totals, out=np.zeros_like(totals), where=totals > 0)
    assert np.all(split >= 0.0)
    assert np.all(split <= binary_entropy(np.minimum(consensus, 1.0)) + 1e-12)


@given(committees())
def test_disagreement_is_the_mean_divergence_from_the_consensus(committee: Committee) -> None:
    split = committee.disagreement()

    assert split == pytest.approx(_mean_divergence(committee), abs=1e-9)


def _mean_divergence(committee: Committee) -> Float:
    """Slower, from the definition: the weighted mean of KL(member, consensus) over the members present."""
    n_products, _, n_classes = committee.probabilities.shape
    result = np.zeros((n_products, n_classes))
    for i in range(n_products):
        p = committee.probabilities[i, committee.present[i]].astype(np.float64)
        for c in range(n_classes):
            omega = committee.weights[committee.present[i], c]
            if (omega > 0).sum() < 2:
                continue
            says, omega = p[omega > 0, c], omega[omega > 0] / omega.sum()
            mean = omega @ says
            result[i, c] = omega @ (_divergence(says, mean) + _divergence(1 - says, 1 - mean))
    return result


def _divergence(p: Float, q: float) -> Float:
    return np.array([0.0 if x == 0.0 else x * np.log2(x / max(q, 5e-324)) for x in p])


@given(committees(), st.randoms(use_true_random=False))
def test_disagreement_does_not_depend_on_the_order_of_members(committee: Committee, random: object) -> None:
    order = np.arange(committee.weights.shape[0])
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a random.Random

    shuffled = Committee(committee.probabilities[:, order], committee.present[:, order], committee.weights[order])

    assert shuffled.disagreement() == pytest.approx(committee.disagreement(), abs=1e-12)


@given(committees())
def test_single_precision_costs_disagreement_a_hundred_thousandth_of_a_bit(committee: Committee) -> None:
    split = disagreement(committee.probabilities, committee.present, committee.weights)

    assert split == pytest.approx(committee.disagreement(), abs=1e-5)


@given(committees())
def test_disagreement_is_zero_when_members_agree(committee: Committee) -> None:
    first = np.nan_to_num(committee.probabilities[:, :1])
    same = np.broadcast_to(first, committee.probabilities.shape)

    split = Committee(same, committee.present, committee.weights).disagreement()

    assert split == pytest.approx(np.zeros_like(split), abs=1e-12)


@given(committees())
def test_a_member_that_abstains_leaves_no_trace(committee: Committee) -> None:
    probabilities = committee.probabilities.astype(np.float64)
    stranger = np.full_like(probabilities[:, :1], np.nan)

    split = disagreement(
        np.concatenate([probabilities, stranger], axis=1),
        np.concatenate([committee.present, np.zeros((len(stranger), 1), dtype=bool)], axis=1),
        np.concatenate([committee.weights, np.ones_like(committee.weights[:1])]),
    )

    assert split == pytest.approx(committee.disagreement(), abs=1e-12)


@given(committees(), st.floats(0.01, 100.0))
def test_only_relative_member_weights_matter(committee: Committee, factor: float) -> None:
    scaled = Committee(committee.probabilities, committee.present, committee.weights * factor).disagreement()

    assert scaled == pytest.approx(committee.disagreement(), abs=1e-9)


def test_two_opposite_certain_members_disagree_by_one_bit() -> None:
    split = disagreement(np.array([[[0.0], [1.0]]], dtype=np.float32), np.array([[True, True]]), [[0.5], [0.5]])

    assert split.tolist() == [[1.0]]


@given(committees())
def test_disagreement_is_zero_where_at_most_one_member_votes(committee: Committee) -> None:
    voters = (committee.present[:, :, None] & (committee.weights > 0)).sum(axis=1)

    assert np.all(committee.disagreement()[voters < 2] == 0.0)


@given(probability, probability, st.floats(0.0, 1.0))
def test_doubt_lies_between_its_two_scores(first: float, second: float, eta: float) -> None:
    mixed = doubt(np.array([first]), np.array([second]), eta=eta)

    assert min(first, second) - 1e-12 <= mixed[0] <= max(first, second) + 1e-12


def test_the_summary_is_that_of_the_worst_class() -> None:
    assert summary(np.array([[0.1, 0.9, 0.0], [0.2, 0.1, 0.0]])).tolist() == [0.9, 0.2]


def test_prospect_is_the_probability_or_the_distance_from_the_merchants_claim() -> None:
    chances = prospect([[0.2, 0.2, 0.2]], [[np.nan, 1.0, 0.0]])

    assert chances == pytest.approx(np.array([[0.2, 0.8, 0.2]]))


def _weigh(doubts: Float, prospects: Float, means: ScoreMeans, floor: float = FLOOR) -> QuestionWeights:
    return question_weights(Scores(doubts, np.zeros_like(doubts), doubts), prospects, means=means, floor=floor)


@given(st.integers(0, 2**32), st.floats(0.01, 1.0))
def test_weights_average_to_the_class_budget(seed: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    doubts, prospects = rng.random((500, 3)), rng.random((500, 3)) ** 4
    means = ScoreMeans((doubts**3).mean(axis=0), prospects.mean(axis=0), 500)
    budgets = np.array([0.5, 1.0, 1.5])

    weights = question_weights(
        Scores(doubts, doubts, doubts), prospects, means=means, budgets=budgets, floor=floor
    ).weights

    assert weights.mean(axis=0) == pytest.approx(budgets)
    assert np.all(weights >= budgets * floor)


@given(probability, probability, st.floats(0.0, 1.0))
def test_weights_are_finite_and_positive_whatever_the_means(s: float, g: float, mean: float) -> None:
    means = ScoreMeans(np.array([mean]), np.array([mean]), 1)

    weights = _weigh(np.array([[s]]), np.array([[g]]), means).weights

    assert np.isfinite(weights).all()
    assert (weights >= FLOOR).all()


@given(st.floats(0.0, 0.99), st.floats(0.0, 0.99), st.floats(0.0, 0.01))
def test_more_doubt_or_prospect_never_weighs_less(s: float, g: float, step: float) -> None:
    means = ScoreMeans(np.array([0.1]), np.array([0.2]), 1)
    base = _weigh(np.array([[s]]), np.array([[g]]), means).weights

    assert _weigh(np.array([[s + step]]), np.array([[g]]), means).weights >= base
    assert _weigh(np.array([[s]]), np.array([[g + step]]), means).weights >= base


@pytest.mark.parametrize(
    ("unsure", "split", "chance", "claimed", "reason"),
    [
        (0.9, 0.1, 0.1, False, Reason.DOUBT),
        (0.6, 0.9, 0.1, False, Reason.DISAGREEMENT),
        (0.1, 0.0, 0.9, False, Reason.LIKELY_POSITIVE),
        (0.1, 0.0, 0.9, True, Reason.DOUBTFUL_MERCHANT_LABEL),
        (0.0, 0.0, 0.01, False, Reason.AUDIT),
    ],
)
def test_the_reason_is_the_largest_part_of_the_weight(
    unsure: float, split: float, chance: float, claimed: bool, reason: Reason
) -> None:
    scores = Scores(np.array([[unsure]]), np.array([[split]]), doubt(np.array([[unsure]]), np.array([[split]])))
    means = ScoreMeans(np.array([0.1]), np.array([0.1]), 1)

    found = question_weights(scores, np.array([[chance]]), means=means, claimed=np.array([[claimed]]))

    assert Reason(found.reasons[0, 0]) is reason


def test_reasons_read_as_words() -> None:
    assert [reason.words for reason in Reason] == [
        "doubt",
        "disagreement",
        "likely positive",
        "doubtful merchant label",
        "audit",
    ]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(0, 2**32))
def test_running_means_are_those_of_all_products_together(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    means = ScoreMeans.from_priors([0.1, 0.4], n_products=0.0)
    values = [rng.random((size, 2)) for size in sizes]

    for value in values:
        means = means.updated(
            doubt_cubed_sums=value.sum(axis=0), prospect_sums=(value / 2).sum(axis=0), n_products=len(value)
        )

    assert means.doubt_cubed == pytest.approx(np.concatenate(values).mean(axis=0))
    assert means.prospect == pytest.approx(np.concatenate(values).mean(axis=0) / 2)


def test_old_products_fade_from_the_running_means() -> None:
    old = ScoreMeans(np.array([0.0]), np.array([0.0]), 1e9)

    fresh = old.updated(doubt_cubed_sums=np.array([MEMORY]), prospect_sums=np.array([MEMORY]), n_products=MEMORY)

    assert fresh.doubt_cubed == pytest.approx(0.5)


def test_an_empty_cohort_leaves_the_means_as_they_are() -> None:
    means = ScoreMeans.from_priors([0.3])

    assert means.updated(doubt_cubed_sums=np.zeros(1), prospect_sums=np.zeros(1), n_products=0) is means


@given(committees())
def test_scores_of_a_batch_are_those_of_its_parts(committee: Committee) -> None:
    probabilities = np.full((len(committee.present), committee.weights.shape[1]), 0.3, dtype=np.float32)
    thresholds = np.full(committee.weights.shape[1], 0.4)

    scores = score(
        probabilities=probabilities,
        member_probabilities=committee.probabilities,
        present=committee.present,
        thresholds=thresholds,
        member_weights=committee.weights,
        eta=0.25,
    )

    assert np.array_equal(scores.uncertainty, uncertainty(probabilities, thresholds))
    assert scores.disagreement == pytest.approx(committee.disagreement(), abs=1e-5)
    assert scores.doubt == pytest.approx(0.75 * scores.uncertainty + 0.25 * scores.disagreement)
