"""Calibration, stacking and thresholds: what they promise for any predictions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.catalogues.catalogue_file import ThresholdObjective, ThresholdSettings
from training.platt import fit_platt, logit, sigmoid
from training.stacking import fit_stacking, pooled
from training.thresholds import choose_threshold, fit_thresholds, shrunk_threshold

seeds = st.integers(0, 10_000)


def answers(seed: int, n_products: int = 400) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Logits of one class that are right on average, and outcomes drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, (n_products, 1))
    return logits, rng.random((n_products, 1)) < sigmoid(logits)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_platt_scaling_makes_the_mean_probability_the_observed_rate(seed: int) -> None:
    logits, positive = answers(seed)
    distorted = 3 * logits + 2

    platt = fit_platt(distorted, positive, np.ones(logits.shape))

    assert platt(distorted).mean() == pytest.approx(positive.mean(), abs=0.01)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_platt_scaling_undoes_a_known_distortion(seed: int) -> None:
    logits, positive = answers(seed, n_products=4000)

    platt = fit_platt(3 * logits + 2, positive, np.ones(logits.shape))

    assert platt.slope[0] == pytest.approx(1 / 3, abs=0.07)
    assert np.abs(platt(3 * logits + 2) - sigmoid(logits)).mean() < 0.03


def test_an_entry_of_weight_zero_changes_no_line() -> None:
    logits, positive = answers(3)
    weights = np.ones(logits.shape)
    weights[:50] = 0

    with_liars = fit_platt(logits, np.where(weights == 0, ~positive, positive), weights)
    without = fit_platt(logits[50:], positive[50:], weights[50:])

    np.testing.assert_allclose([with_liars.slope, with_liars.shift], [without.slope, without.shift])


def test_a_class_without_a_positive_stays_finite() -> None:
    logits, _ = answers(4)

    platt = fit_platt(logits, np.zeros(logits.shape, dtype=bool), np.ones(logits.shape))

    assert np.isfinite([platt.slope, platt.shift]).all()
    assert platt(logits).max() < 0.05


@given(seeds, st.sampled_from([-20.0, -5.0, 0.0, 5.0, 20.0]))
@settings(max_examples=40, deadline=None)
def test_a_member_that_says_the_opposite_is_taken_for_the_base_rate(seed: int, offset: float) -> None:
    """Its slope ends at 0, and the shift must be that of a level line."""
    logits, positive = answers(seed)
    opposite = offset - 3 * logits

    platt = fit_platt(opposite, positive, np.ones(logits.shape))

    assert platt.slope[0] == 0.0
    assert platt(opposite).mean() == pytest.approx(positive.mean(), abs=0.01)


@given(seeds, st.floats(10.0, 200.0), st.floats(0.01, 0.2), st.sampled_from([1.0, 16.0, 1e3]))
@settings(max_examples=40, deadline=None)
def test_a_member_that_is_sure_and_sometimes_wrong_is_believed_as_often_as_it_is_right(
    seed: int, sureness: float, share_wrong: float, weight: float
) -> None:
    """Far out the loss has no curvature by which a step could be measured."""
    rng = np.random.default_rng(seed)
    positive = rng.random((400, 1)) < 0.2
    wrong = rng.random((400, 1)) < share_wrong
    logits = np.where(positive ^ wrong, sureness, -sureness)
    weights = np.full(logits.shape, weight)
    n_positive, n_negative = positive.sum() * weight, (~positive).sum() * weight
    smoothed = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))

    platt = fit_platt(logits, positive, weights)

    for said in (logits > 0, logits < 0):
        assert platt(logits)[said].mean() == pytest.approx(smoothed[said].mean(), abs=0.01)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_stacking_weights_are_shares_and_beat_the_plain_average(seed: int) -> None:
    logits, positive = answers(seed)
    noise = np.random.default_rng(seed + 1).normal(-1, 2, logits.shape)
    log_odds = np.stack([logits, noise], axis=1)
    present = np.ones((len(logits), 2), dtype=bool)
    ones = np.ones(logits.shape)

    shares = fit_stacking(log_odds, present, positive, ones)

    def loss(weights: NDArray[np.float64]) -> float:
        said = fit_platt(stacked := pooled(log_odds, present, weights, np.array([0.3])), positive, ones)(stacked)
        return -float(np.log(np.where(positive, said, 1 - said)).mean())

    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1)
    assert shares[0, 0] > shares[1, 0]
    assert loss(shares) <= loss(np.full((2, 1), 0.5)) + 1e-6


def test_a_class_with_few_products_leans_on_the_weights_of_all_classes() -> None:
    rng = np.random.default_rng(5)
    truth = rng.random((2_000, 20)) < 0.3
    good, bad = (2.0 * truth - 1 + rng.normal(0, spread, truth.shape) for spread in (1.0, 6.0))
    log_odds, present = np.stack([bad, good], axis=1), np.ones((len(truth), 2), dtype=bool)
    weights = np.ones(truth.shape)
    weights[6:, 0] = 0.0  # six products know the first class

    shares = fit_stacking(log_odds, present, truth, weights)

    alone = fit_stacking(log_odds[:6, :, :1], present[:6], truth[:6, :1], weights[:6, :1])
    assert shares[1, 0] == pytest.approx(shares[1, 1:].mean(), abs=0.05)
    assert shares[1, 0] > alone[1, 0] + 0.2


def test_pooling_leaves_out_who_abstains_and_falls_back_to_the_prior() -> None:
    log_odds = np.tile(np.array([[[2.0], [-1.0]]]), (3, 1, 1))
    present = np.array([[True, True], [False, True], [False, False]])

    said = pooled(log_odds, present, np.array([[0.75], [0.25]]), np.array([0.33]))

    np.testing.assert_allclose(said[:, 0], [1.25, -1.0, np.log(0.33 / 0.67)], atol=1e-4)


def test_a_member_without_weight_answers_when_it_is_the_only_one() -> None:
    present = np.array([[True, False]])

    said = pooled(np.array([[[2.0], [-2.0]]]), present, np.array([[0.0], [1.0]]), np.array([0.3]))

    assert said[0, 0] == pytest.approx(2.0)


@given(seeds, st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=40, deadline=None)
def test_the_threshold_of_an_f_beta_is_the_best_of_all(seed: int, beta: float) -> None:
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.random(60), 1)  # many ties
    positive = rng.random(60) < probabilities
    positive[0] = True

    chosen = choose_threshold(probabilities, positive, np.ones(60), ThresholdObjective(beta=beta))

    def f_beta(threshold: float) -> float:
        said = probabilities >= threshold
        hits = int((said & positive).sum())
        return float((1 + beta**2) * hits / (said.sum() + beta**2 * positive.sum()))

    assert f_beta(chosen) == pytest.approx(max(map(f_beta, np.linspace(0, 1, 101))))


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_a_precision_floor_is_kept_with_the_most_recall(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.random(80)
    positive = rng.random(80) < probabilities
    objective = ThresholdObjective(objective="precision-floor", precision=0.8)

    chosen = choose_threshold(probabilities, positive, np.ones(80), objective)

    def precision(threshold: float) -> float:
        said = probabilities >= threshold
        return float(positive[said].mean()) if said.any() else 1.0

    assert chosen == 1.0 or precision(chosen) >= 0.8
    assert all(precision(lower) < 0.8 for lower in probabilities[probabilities < chosen])


@pytest.mark.parametrize(
    "objective", [{"objective": "precision-floor", "precision": 0.9}, {"objective": "f-beta", "beta": 0.1}]
)
def test_a_precision_floor_is_not_lowered_by_what_other_classes_have_in_common(objective: dict[str, object]) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random((400, 2)) ** [1.0, 4.0]
    targets = (rng.random((400, 2)) < probabilities).astype(np.int8)
    settings = ThresholdSettings.model_validate({"classes": {"rare": objective}})
    own = choose_threshold(probabilities[:, 1], targets[:, 1] == 1, np.ones(400), settings.of("rare"))

    _, threshold = fit_thresholds(
        probabilities, targets, np.ones((400, 2)), classes=("common", "rare"), settings=settings
    )

    assert (threshold >= own) == (objective["objective"] == "precision-floor")


def test_a_class_that_was_not_trained_is_answered_no_and_moves_no_other_threshold() -> None:
    rng = np.random.default_rng(0)
    probabilities = np.where([True, False], rng.random((400, 2)), 0.9)
    targets = (rng.random((400, 2)) < probabilities).astype(np.int8)
    weights, trained = np.ones((400, 2)), np.array([True, False])

    thresholds = fit_thresholds(
        probabilities, targets, weights, classes=("common", "other"), settings=ThresholdSettings(), trained=trained
    )

    alone = fit_thresholds(
        probabilities[:, :1], targets[:, :1], weights[:, :1], classes=("common",), settings=ThresholdSettings()
    )
    assert thresholds == (*alone, 1.0)


def test_a_weight_of_many_millions_leaves_the_others_their_say() -> None:
    probabilities = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1])
    positive = probabilities > 0.5
    weights = np.array([2**24, 1, 1, 1, 1, 1], dtype=np.float32)

    chosen = choose_threshold(probabilities, positive, weights, ThresholdObjective())

    assert 0.2 < chosen <= 0.6


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0, 1e6))
def test_a_shrunk_threshold_lies_between_own_and_pooled(own: float, pooled: float, n_positives: float) -> None:
    threshold = shrunk_threshold(own, pooled, n_positives)

    assert min(own, pooled) - 1e-9 <= threshold <= max(own, pooled) + 1e-9


@given(st.floats(-13, 13))
def test_log_odds_and_probabilities_are_inverse(value: float) -> None:
    assert logit(sigmoid(np.array([value])))[0] == pytest.approx(value, abs=1e-6)
