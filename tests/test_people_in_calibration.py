"""Whose word decides which member is trusted: people's, where they answered, over the merchants'."""

from __future__ import annotations

import numpy as np

from training.calibrate import fit_calibration


def test_a_member_that_repeats_the_merchants_mistakes_loses_weight_where_people_answered() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((3_000, 1)) < 0.3).astype(np.int8)
    merchants = np.where(rng.random(truth.shape) < 0.25, 1 - truth, truth).astype(np.int8)
    honest = 4.0 * truth - 2.0 + rng.standard_normal(truth.shape)
    parrot = 4.0 * merchants - 2.0 + 0.3 * rng.standard_normal(truth.shape)
    logits = np.stack([honest, parrot], axis=1).astype(np.float32)
    people = np.zeros(truth.shape, dtype=np.bool_)
    people[:300] = True
    targets = np.where(people, truth, merchants).astype(np.int8)
    present, ones = np.ones((3_000, 2), dtype=np.bool_), np.ones(truth.shape, dtype=np.float32)

    with_people = fit_calibration(logits, present, targets, ones, people=people)
    without = fit_calibration(logits, present, targets, ones)

    assert without.stacking[0, 0] < without.stacking[1, 0]
    assert with_people.stacking[0, 0] > with_people.stacking[1, 0]
    assert with_people.stacking[0, 0] > without.stacking[0, 0] + 0.05


def test_where_nobody_answered_nothing_changes() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(-1, 2, (200, 2)).astype(np.int8)
    logits = rng.standard_normal((200, 3, 2)).astype(np.float32)
    present, ones = np.ones((200, 3), dtype=np.bool_), np.ones((200, 2), dtype=np.float32)
    nobody = np.zeros(targets.shape, dtype=np.bool_)

    given, left_out = (
        fit_calibration(logits, present, targets, ones, people=nobody),
        fit_calibration(logits, present, targets, ones),
    )

    assert np.array_equal(given.stacking, left_out.stacking)
