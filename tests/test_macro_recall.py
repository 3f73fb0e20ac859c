"""The mean recall over classes: exact where all is known, and not fooled by the rare weight that was not seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.quality.macro_recall import ClassTotals, mean_recall, recall_interval
from service.quality.weighed_answers import WeighedAnswers


@given(st.integers(0, 2**32), st.integers(1, 10))
def test_where_all_is_known_it_is_the_plain_mean(seed: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    positives = rng.integers(1, 100, n_classes).astype(float)
    true_positives = np.floor(positives * rng.random(n_classes))

    mean = mean_recall(
        ClassTotals(
            true_positives=true_positives,
            positives=positives,
            positives_variances=np.zeros(n_classes),
            served=100.0 * rng.random(n_classes),
            missed=100.0 * rng.random(n_classes),
        )
    )

    assert mean == pytest.approx((true_positives / positives).mean())


@given(st.integers(0, 2**32), st.integers(1, 10))
def test_it_is_a_rate_whatever_the_estimates(seed: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    found, positives, served, missed = rng.normal(scale=100.0, size=(4, n_classes))
    positives[0] = 1.0

    mean = mean_recall(
        ClassTotals(
            true_positives=found,
            positives=positives,
            positives_variances=rng.exponential(100.0, n_classes),
            served=np.maximum(served, 0.0),
            missed=np.maximum(missed, 0.0),
        )
    )

    assert 0.0 <= mean <= 1.0


@pytest.mark.parametrize("expected_missed", [10.0, 5.0])
def test_rare_heavy_misses_do_not_bias_it(expected_missed: float) -> None:
    """Each class finds 40 of 50; its ten misses are seen one time in ten, and weigh 100 then."""
    rng = np.random.default_rng(0)
    n_classes = 5_000
    missed = 100.0 * (rng.random(n_classes) < 0.1)
    found = np.full(n_classes, 40.0)

    mean = mean_recall(
        ClassTotals(
            true_positives=found,
            positives=found + missed,
            positives_variances=np.full(n_classes, 900.0),
            served=found,
            missed=np.full(n_classes, expected_missed),
        )
    )

    plain = (found / (found + missed)).mean()
    assert plain == pytest.approx(0.93, abs=0.01)
    assert mean == pytest.approx(0.80, abs=0.01)


@given(st.floats(1e-12, 1e-2), st.integers(1, 3))
def test_classes_of_hardly_any_positives_have_an_interval(n_positives: float, n_classes: int) -> None:
    """A step down from so few must not leave the mean without a class."""
    few = np.full(n_classes, n_positives)
    totals = ClassTotals(
        true_positives=np.zeros(n_classes),
        positives=few,
        positives_variances=few,
        served=np.zeros(n_classes),
        missed=few,
    )
    nothing = np.zeros(n_classes)
    answers = WeighedAnswers(
        class_indices=np.arange(n_classes),
        weights=np.full(n_classes, 5.0),
        probabilities=few / 10.0,
        served=nothing,
        yes=nothing,
        known=np.ones(n_classes),
    )

    lower, upper = recall_interval(totals, answers, level=0.95)

    assert 0.0 <= lower <= upper <= 1.0
