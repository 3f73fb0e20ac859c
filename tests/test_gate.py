"""The gate's promises: how often it errs, what it never lets through, and the arithmetic under both."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from service.quality.weighed_answers import effective_sample_size
from tests.gate_simulation import ALIKE, BETTER, N_CLASSES, SAME, WORSE, judged, traffic
from training.platt import logit, sigmoid
from training.retraining.gain import Judged
from training.retraining.gate import Checks, Policy, Verdict, judge

FINE = Checks(incumbent_seconds=0.010, candidate_seconds=0.011, parity_difference=1e-6)
N_RUNS = 120
seeds = st.integers(0, 2**32 - 1)


def as_drawn(answers: Judged) -> Judged:
    return answers


def unweighted(answers: Judged) -> Judged:
    return replace(answers, weights=np.ones_like(answers.weights))


@cache
def drawn(separation: float, alike: float) -> tuple[Judged, ...]:
    """Answers from as many simulated worlds as there are runs."""
    rng = np.random.default_rng(7)
    return tuple(judged(rng, traffic(rng, separation, alike=alike)) for _ in range(N_RUNS))


def rate_of_promotion(
    separation: float, *, alike: float = ALIKE, seen_as: Callable[[Judged], Judged] = as_drawn
) -> float:
    verdicts = [judge(seen_as(answers), checks=FINE) for answers in drawn(separation, alike)]
    return float(np.mean([verdict.promote for verdict in verdicts]))


def example(seed: int = 3, separation: float = BETTER) -> Judged:
    rng = np.random.default_rng(seed)
    return judged(rng, traffic(rng, separation))


def verdict_on(answers: Judged) -> Verdict:
    return judge(answers, checks=FINE)


@pytest.mark.parametrize(("separation", "macro_ap"), [(WORSE, 0.88), (SAME, 0.90), (BETTER, 0.92)])
def test_the_simulated_models_differ_by_two_hundredths_of_macro_average_precision(
    separation: float, macro_ap: float
) -> None:
    world = traffic(np.random.default_rng(1), separation, n_products=40_000)

    measured = [average_precision_score(world.truth[:, i], world.candidate[:, i]) for i in range(N_CLASSES)]

    assert np.mean(measured) == pytest.approx(macro_ap, abs=0.004)


def test_an_equally_good_candidate_is_promoted_at_most_five_times_in_a_hundred() -> None:
    assert rate_of_promotion(SAME) <= 0.05


def test_a_candidate_worse_by_two_hundredths_is_promoted_at_most_five_times_in_a_hundred() -> None:
    assert rate_of_promotion(WORSE) <= 0.05


@pytest.mark.parametrize("alike", [0.9, 0.8])
def test_a_candidate_better_by_two_hundredths_is_promoted_at_least_four_times_in_five(alike: float) -> None:
    assert rate_of_promotion(BETTER, alike=alike) >= 0.80


@pytest.mark.parametrize("bent", [1.4, 0.7], ids=["overconfident", "underconfident"])
def test_a_candidate_that_ranks_as_well_and_is_surer_or_less_sure_than_it_should_be_does_not_pass(bent: float) -> None:
    def seen(answers: Judged) -> Judged:
        return replace(answers, candidate=sigmoid(bent * logit(answers.candidate)))

    assert rate_of_promotion(SAME, seen_as=seen) <= 0.05


def test_without_importance_weights_equally_good_candidates_would_pass_too_often() -> None:
    """The questions were chosen where the incumbent doubts: there any other model looks better than it is."""
    assert rate_of_promotion(SAME, alike=0.8, seen_as=unweighted) > 0.15
    assert rate_of_promotion(SAME, alike=0.8) <= 0.05


# Log odds that two models gave four kinds of product in four classes; the incumbent takes lamps for boots.
SURE_AND_WRONG = np.array(
    [[8.0, -6.6, -8.3, -6.3], [-8.7, -7.8, 9.2, -4.8], [-6.3, 8.7, -7.2, -6.3], [-6.9, -8.0, -4.7, 7.7]]
)
SURE_AND_RIGHT = np.array(
    [[12.4, -13.8, -13.8, -11.9], [-12.6, 7.9, -5.8, -11.4], [-12.2, -10.4, 11.2, -11.1], [-12.2, -13.8, -13.8, 12.6]]
)


@given(st.tuples(*[st.integers(15, 40)] * 4))
@settings(max_examples=30, deadline=None)
def test_an_incumbent_that_was_sure_and_wrong_is_replaced(n_of_kind: tuple[int, ...]) -> None:
    """Where neither model is in doubt, Newton's steps alone run away from the expectation."""
    kinds = np.repeat(np.arange(4), n_of_kind)
    product, index = (each.ravel() for each in np.indices((len(kinds), 4)))
    answers = Judged(
        classes=("mug", "lamp", "boot", "scarf"),
        product_index=product,
        class_index=index,
        answers=np.eye(4)[kinds].ravel(),
        weights=np.ones(len(index)),
        incumbent=sigmoid(SURE_AND_WRONG[kinds]).ravel(),
        candidate=sigmoid(SURE_AND_RIGHT[kinds]).ravel(),
        incumbent_thresholds=np.full(4, 0.5),
        candidate_thresholds=np.full(4, 0.5),
        priors=np.array([0.32, 0.24, 0.24, 0.20]),
    )

    verdict = verdict_on(answers)

    assert verdict.promote, verdict.reasons
    assert verdict.gain.high - verdict.gain.low < 0.5


def test_a_candidate_that_says_exactly_the_same_is_never_promoted() -> None:
    answers = example()

    verdict = verdict_on(replace(answers, candidate=answers.incumbent))

    assert not verdict.promote
    assert verdict.gain.difference == verdict.gain.low == verdict.gain.high == 0.0


def test_a_better_candidate_that_fails_one_class_is_refused_and_the_class_named() -> None:
    answers = example()
    broken = answers.class_index == 40
    candidate = np.where(broken, 1 - answers.candidate, answers.candidate)

    verdict = verdict_on(replace(answers, candidate=candidate))

    assert not verdict.promote
    assert "class 'class 40' is clearly worse" in " ".join(verdict.reasons)
    assert [row.name for row in verdict.classes if row.clearly_worse] == ["class 40"]


def test_a_class_that_loses_surely_but_next_to_nothing_is_no_objection() -> None:
    """Of a class that both models hardly know both are near zero, and one of the two is nearer to no."""
    answers = example()
    unknown = answers.class_index == 40
    about = np.random.default_rng(5).uniform(0.99, 1.01, len(unknown))
    incumbent, candidate = (np.where(unknown, own * about, said) for own, said in (
        (1e-4, answers.incumbent), (2e-4, answers.candidate),
    ))  # fmt: skip
    nobody = replace(answers, answers=np.where(unknown, 0.0, answers.answers), incumbent=incumbent, candidate=candidate)

    verdict = verdict_on(nobody)

    assert [row.high < 0.0 for row in verdict.classes if row.name == "class 40"] == [True]
    assert verdict.promote, verdict.reasons
    assert "class 40" in " ".join(judge(nobody, checks=FINE, policy=Policy(negligible=0.0)).reasons)


def test_answers_that_are_all_alike_prove_nothing_of_a_class_that_cannot_be_learned() -> None:
    """Both models answer a prior; that some product is a yes, which would favour the higher one, was not seen."""
    answers = example()
    unknown = answers.class_index == 40
    nobody = replace(
        answers,
        answers=np.where(unknown, 0.0, answers.answers),
        incumbent=np.where(unknown, 0.0025, answers.incumbent),
        candidate=np.where(unknown, 0.0225, answers.candidate),
        priors=np.where(np.arange(N_CLASSES) == 40, 0.0025, answers.priors),
    )

    verdict = verdict_on(nobody)

    assert verdict.promote, verdict.reasons
    assert [(row.difference < -0.001, row.high) for row in verdict.classes if row.name == "class 40"] == [
        (True, np.inf)
    ]


def test_better_probabilities_with_useless_thresholds_are_refused() -> None:
    answers = example()

    verdict = verdict_on(replace(answers, candidate_thresholds=np.full(N_CLASSES, 0.001)))

    assert not verdict.promote
    assert verdict.gain.low > 0.0
    assert any(reason.startswith("its yes/no answers are worse: macro F1") for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("checks", "reason"),
    [
        (replace(FINE, candidate_seconds=0.016), "it is slower: 0.0160 s a batch against 0.0100 s; 1.5 times"),
        (replace(FINE, parity_difference=0.01), "the graph differs from the trained model by 0.01"),
        (replace(FINE, parity_difference=float("nan")), "the graph differs from the trained model by nan"),
    ],
)
def test_a_better_candidate_whose_graph_is_slow_or_wrong_is_refused(checks: Checks, reason: str) -> None:
    verdict = judge(example(), checks=checks)

    assert not verdict.promote
    assert verdict.reasons[0].startswith(reason)


def test_too_few_labelled_products_decide_nothing() -> None:
    rng = np.random.default_rng(3)

    verdict = verdict_on(judged(rng, traffic(rng, BETTER), n_labelled=20))

    assert not verdict.promote
    assert verdict.reasons[0] == "only 20 newly labelled products to judge by; the gate wants 50"


def test_no_answers_at_all_decide_nothing_and_still_make_valid_json() -> None:
    nothing = np.zeros(0)
    empty = replace(
        example(),
        product_index=nothing.astype(np.int64),
        class_index=nothing.astype(np.int64),
        answers=nothing,
        weights=nothing,
        incumbent=nothing,
        candidate=nothing,
    )

    verdict = verdict_on(empty)

    assert not verdict.promote
    assert json.loads(json.dumps(verdict.to_json(), allow_nan=False))["gain"]["low"] is None


@settings(max_examples=20)
@given(seeds)
def test_exchanging_both_models_turns_the_gain_around(seed: int) -> None:
    answers = example(seed, SAME)
    exchanged = replace(
        answers,
        incumbent=answers.candidate,
        candidate=answers.incumbent,
        incumbent_thresholds=answers.candidate_thresholds,
        candidate_thresholds=answers.incumbent_thresholds,
    )

    there, back = verdict_on(answers), verdict_on(exchanged)

    assert there.gain.difference == pytest.approx(-back.gain.difference)
    assert there.gain.low == pytest.approx(-back.gain.high)
    assert there.f1.difference == pytest.approx(-back.f1.difference)


@settings(max_examples=20)
@given(seeds, st.floats(0.01, 100.0))
def test_only_the_ratio_of_the_weights_matters(seed: int, factor: float) -> None:
    answers = example(seed % 5)

    scaled = verdict_on(replace(answers, weights=answers.weights * factor))

    assert scaled.gain.low == pytest.approx(verdict_on(answers).gain.low)
    assert scaled.effective_sample_size == pytest.approx(effective_sample_size(answers.weights))


def test_the_weighted_gain_is_the_gain_over_all_traffic_in_the_mean() -> None:
    rng = np.random.default_rng(11)
    world = traffic(rng, BETTER, n_products=2_000)
    rates = np.maximum(example().priors, world.truth.mean(axis=0))
    scale = np.sqrt(rates * (1 - rates))
    gains = ((world.truth - world.incumbent) ** 2 - (world.truth - world.candidate) ** 2) / scale
    draws = [verdict_on(judged(rng, world)).gain.difference for _ in range(60)]

    standard_error = np.std(draws) / np.sqrt(len(draws))

    assert abs(np.mean(draws) - gains.mean()) < 4 * standard_error


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_an_impossible_importance_weight_is_refused(weight: float) -> None:
    answers = example()

    with pytest.raises(ValueError, match="importance weights must be finite and positive"):
        replace(answers, weights=np.full_like(answers.weights, weight))


def test_a_class_of_which_the_incumbent_knows_nothing_does_not_drown_the_others() -> None:
    answers = example()
    unknown = replace(answers, priors=np.where(np.arange(N_CLASSES) == 40, 1e-6, answers.priors))

    known, changed = verdict_on(answers).gain, verdict_on(unknown).gain

    assert changed.high - changed.low < 1.2 * (known.high - known.low)


def test_a_class_with_few_answers_is_left_out_of_the_mean() -> None:
    answers = example()
    few = np.flatnonzero(answers.class_index == 0)[:3]
    keep = np.union1d(few, np.flatnonzero(answers.class_index != 0))
    columns = ("product_index", "class_index", "answers", "weights", "incumbent", "candidate")
    thinned = replace(answers, **{name: getattr(answers, name)[keep] for name in columns})

    verdict = judge(thinned, checks=FINE, policy=Policy(min_class_answers=4))

    assert "class 0" not in [row.name for row in verdict.classes]
    assert len(verdict.classes) == N_CLASSES - 1
