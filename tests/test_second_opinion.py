"""Second opinions: how often annotators err is read from them, and false yeses stop faking missed positives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulated_traffic import answer_by_people, make_batch, make_traffic, seal
from service.quality.live_quality import LiveQuality, live_quality
from service.quality.second_opinion import SURPRISING, believed, error_rate

N_QUESTIONS = 200_000


def plain_questions(wrong: float, *, asked_again: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities and answers; a share of the surprising ones has its second opinion."""
    rng = np.random.default_rng(seed)
    probabilities = np.concatenate([rng.uniform(0.0, 0.05, N_QUESTIONS), rng.uniform(0.95, 1.0, N_QUESTIONS // 4)])
    truth = rng.random(len(probabilities)) < probabilities
    first, second = truth ^ (rng.random((2, len(truth))) < wrong)
    surprising = np.where(first, probabilities, 1.0 - probabilities) < SURPRISING
    again = (surprising & (rng.random(len(truth)) < asked_again)).astype(np.int64)
    n_yes = first + again * second
    return probabilities, n_yes, 1 + again - n_yes


@pytest.mark.parametrize("asked_again", [1.0, 0.4])
@pytest.mark.parametrize("wrong", [0.02, 0.05, 0.15])
def test_the_error_rate_is_found_whatever_the_truth(wrong: float, asked_again: float) -> None:
    assert error_rate(*plain_questions(wrong, asked_again=asked_again)) == pytest.approx(wrong, rel=0.06)


def test_without_second_opinions_nobody_is_said_to_err() -> None:
    assert error_rate(*plain_questions(0.05, asked_again=0.0)) == 0.0
    assert error_rate(np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)) == 0.0


@given(st.integers(0, 2**32), st.floats(0.001, 0.4))
def test_belief_is_a_chance_that_grows_with_the_lead(seed: int, error: float) -> None:
    rng = np.random.default_rng(seed)
    probabilities, served = rng.random(20), rng.random(20) < 0.5

    beliefs = [
        believed(
            probabilities=probabilities, served=served, leads=np.full(20, lead), weights=np.ones(20),
            expected_missed=1e9, error=error,
        )
        for lead in (-2, -1, 0, 1, 2)
    ]  # fmt: skip

    assert np.all((np.array(beliefs) >= 0.0) & (np.array(beliefs) <= 1.0))
    assert np.all(np.diff(beliefs, axis=0) >= 0.0)


def test_the_belief_in_two_answers_is_that_of_bayes() -> None:
    """A yes at .001 by two who err in .05: .001 · .95² against .999 · .05²."""
    belief = believed(
        probabilities=np.array([0.001]), served=np.array([True]), leads=np.array([2]), weights=np.ones(1),
        expected_missed=1.0, error=0.05,
    )  # fmt: skip

    assert belief[0] == pytest.approx(0.001 * 0.95**2 / (0.001 * 0.95**2 + 0.999 * 0.05**2))


def test_people_who_never_err_are_taken_at_their_word() -> None:
    belief = believed(
        probabilities=np.array([0.001, 0.999, 0.3]), served=np.array([False, True, False]), leads=np.array([1, -1, 0]),
        weights=np.ones(3), expected_missed=1.0, error=0.0,
    )  # fmt: skip

    assert belief.tolist() == [1.0, 0.0, 0.3]


def estimated(seed: int, *, wrong: float, second_opinions: bool) -> tuple[LiveQuality, float, float]:
    traffic = make_traffic(4_000, 30, rng=np.random.default_rng(seed))
    sealed = seal(make_batch(traffic), salt=seed.to_bytes(4, "little"), capacity=400, n_questions=5)
    rng = np.random.default_rng([seed, 1])
    answered = answer_by_people(sealed, traffic, wrong=wrong, rng=rng, second_opinions=second_opinions)
    return (
        live_quality([answered], n_classes=30),
        float(np.nanmean(traffic.precision)),
        float(np.nanmean(traffic.recall)),
    )


@pytest.mark.parametrize("wrong", [0.02, 0.05])
def test_with_second_opinions_live_recall_is_right_though_annotators_err(wrong: float) -> None:
    """A quick version of `python -m benchmarks.coverage`; without second opinions the same fails, as a control."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    covered: list[bool] = []
    for seed in range(8):
        for second_opinions, own in errors.items():
            quality, precision, recall = estimated(seed, wrong=wrong, second_opinions=second_opinions)
            assert quality.macro_recall.value is not None
            assert quality.macro_precision.value is not None
            own.append(quality.macro_recall.value - recall)
            if second_opinions:
                assert quality.macro_precision.value == pytest.approx(precision, abs=0.06)
                covered.append(quality.macro_recall.lower <= recall <= quality.macro_recall.upper)

    assert np.abs(errors[True]).mean() <= 0.04
    assert np.mean(errors[False]) < -0.1
    assert sum(covered) >= 6
