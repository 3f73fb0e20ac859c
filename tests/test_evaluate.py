"""Promises of the scores: bounds, masks, agreement with the slow obvious version."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.evaluate import Evaluation, expected_calibration_error, rare_quarter, score

seeds = st.integers(0, 2**32 - 1)


def draw(seed: int, n_products: int = 60, n_classes: int = 4) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    probabilities = rng.random((n_products, n_classes)).round(2)  # with ties
    targets = rng.choice(np.asarray([-1, 0, 1], dtype=np.int8), size=(n_products, n_classes))
    return probabilities, targets


@given(seeds)
def test_every_score_lies_between_zero_and_one(seed: int) -> None:
    probabilities, targets = draw(seed)

    scores = score(probabilities, targets, [0.5] * 4)

    for values in (scores.average_precision, scores.f1, scores.brier, scores.calibration_error):
        assert np.all((values >= 0) & (values <= 1))


@given(seeds)
def test_unknown_targets_do_not_change_a_score(seed: int) -> None:
    probabilities, targets = draw(seed)
    more = np.vstack([probabilities, np.random.default_rng(seed).random((30, 4))])
    masked = np.vstack([targets, np.full((30, 4), -1, dtype=np.int8)])

    scores, with_unknown = score(probabilities, targets, [0.3] * 4), score(more, masked, [0.3] * 4)

    np.testing.assert_array_equal(scores.average_precision, with_unknown.average_precision)
    np.testing.assert_array_equal(scores.calibration_error, with_unknown.calibration_error)


@given(seeds)
def test_average_precision_is_the_mean_precision_at_each_positive_when_no_scores_tie(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.permutation(40)[:, None] / 40.0
    targets = np.concatenate([[1], rng.integers(0, 2, 39)]).astype(np.int8)[:, None]
    ranked = targets[np.argsort(-probabilities[:, 0]), 0]
    slow = np.mean([ranked[: rank + 1].mean() for rank in np.flatnonzero(ranked)])

    fast = score(probabilities, targets, [0.5]).average_precision[0]

    assert fast == pytest.approx(slow)


def test_a_class_without_a_known_positive_is_left_out_of_the_mean() -> None:
    probabilities = np.asarray([[0.9, 0.2], [0.1, 0.3]])
    targets = np.asarray([[1, 0], [0, -1]], dtype=np.int8)

    scores = score(probabilities, targets, [0.5, 0.5])

    assert math.isnan(scores.average_precision[1])
    assert scores.macro_ap == 1.0


def test_nothing_known_gives_none_rather_than_a_number() -> None:
    scores = score(np.full((3, 2), 0.5), np.full((3, 2), -1, dtype=np.int8), [0.5, 0.5])

    assert set(scores.summary().values()) == {None}


def test_the_rare_quarter_is_by_rate_among_known_and_not_by_count() -> None:
    n_positives = np.asarray([50, 10, 0, 30, 40])
    n_known = np.asarray([100, 12, 100, 1000, 100])

    assert rare_quarter(n_positives, n_known).tolist() == [3]


def test_calibrated_probabilities_have_a_small_calibration_error_and_shifted_ones_a_large_one() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(20_000)
    positive = rng.random(20_000) < probabilities

    assert expected_calibration_error(probabilities, positive) < 0.015
    assert expected_calibration_error(np.clip(probabilities + 0.2, 0, 1), positive) > 0.15


def test_the_threshold_itself_counts_as_positive() -> None:
    scores = score(np.asarray([[0.5], [0.4]]), np.asarray([[1], [0]], dtype=np.int8), [0.5])

    assert scores.f1[0] == 1.0


def test_the_json_names_ensemble_members_and_classes() -> None:
    probabilities, targets = draw(1)
    scores = score(probabilities, targets, [0.5] * 4)
    evaluation = Evaluation("v1", "shop", "test", "truth", ("a", "b", "c", "d"), 60, scores, {"text_linear": scores})

    document = evaluation.to_json()

    assert document["ensemble"]["macro_ap"] == pytest.approx(scores.macro_ap, abs=1e-6)
    assert document["members"]["text_linear"]["macro_ap"] == document["ensemble"]["macro_ap"]
    assert list(document["classes"]) == ["a", "b", "c", "d"]
