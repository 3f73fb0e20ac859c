"""The weights of sampled answers give unbiased totals: by simulation, beside ways of sampling that do not.

One population of 60 products; every draw has a cohort of its own, made by the service's code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulated_traffic import NOON, Traffic, answer, make_batch, make_traffic, part, seal
from service.acquisition.cohort import Batch, Cohort, SealedCohort, SealReason
from service.acquisition.sampling import draw_questions, inclusion_probabilities
from service.quality.answered_cohort import AnsweredCohort, Outcome, importance_weights, product_weights, self_check

Float = NDArray[np.float64]

N_PRODUCTS, N_CLASSES, N_KEPT, N_ASKED = 60, 4, 20, 2
N_DRAWS = 6_000


@dataclass(frozen=True)
class Draws:
    """Per draw and class: the estimated number of true yes answers and the estimated variance of that number."""

    totals: Float
    variances: Float


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return make_traffic(N_PRODUCTS, N_CLASSES, rng=np.random.default_rng(4))


@pytest.fixture(scope="module")
def batch(traffic: Traffic) -> Batch:
    """Weights tempered: with the rare large ones of real traffic, z would need a hundred times as many draws."""
    plain = make_batch(traffic)
    return part(plain, slice(None), weights=plain.weights.weights**0.5)


@pytest.fixture(scope="module")
def cohorts(batch: Batch) -> list[SealedCohort]:
    return [seal(batch, salt=salt_of(draw), capacity=N_KEPT, n_questions=N_ASKED) for draw in range(N_DRAWS)]


def salt_of(draw: int) -> bytes:
    return draw.to_bytes(4, "little")


def total(cohort: AnsweredCohort, weights: Float) -> Float:
    yes = cohort.asked.outcomes == Outcome.YES
    return np.bincount(cohort.asked.class_indices, weights=weights * yes, minlength=N_CLASSES).astype(np.float64)


def estimate(answered: list[AnsweredCohort]) -> Draws:
    weights = [importance_weights(cohort) for cohort in answered]
    return Draws(
        totals=np.array([total(cohort, w) for cohort, w in zip(answered, weights, strict=True)]),
        variances=np.array([total(cohort, w * (w - 1.0)) for cohort, w in zip(answered, weights, strict=True)]),
    )


def worst_z(totals: Float, traffic: Traffic) -> float:
    """Of the bias per class, in standard errors of the mean over all draws."""
    errors = totals.std(axis=0) / np.sqrt(len(totals)) + 1e-12  # the heaviest are always the same
    return float(np.abs((totals.mean(axis=0) - traffic.truth.sum(axis=0)) / errors).max())


def test_totals_of_full_cohorts_are_unbiased_and_their_variance_is_known(
    cohorts: list[SealedCohort], traffic: Traffic
) -> None:
    draws = estimate([answer(sealed, traffic) for sealed in cohorts])

    assert worst_z(draws.totals, traffic) < 4.0
    assert draws.variances.mean(axis=0) == pytest.approx(draws.totals.var(axis=0), rel=0.2)


@pytest.mark.parametrize("n_completed", [10, 15])
def test_totals_of_completed_prefixes_are_unbiased_and_their_variance_is_known(
    cohorts: list[SealedCohort], traffic: Traffic, n_completed: int
) -> None:
    draws = estimate([answer(sealed, traffic, n_completed=n_completed) for sealed in cohorts])

    assert worst_z(draws.totals, traffic) < 4.0
    assert draws.variances.mean(axis=0) == pytest.approx(draws.totals.var(axis=0), rel=0.2)


def test_answers_below_a_gap_do_not_count(cohorts: list[SealedCohort], traffic: Traffic) -> None:
    answered = answer(cohorts[0], traffic)
    answered.asked.outcomes[answered.asked.priorities == cohorts[0].products[10].priority] = Outcome.OPEN

    weights = importance_weights(answered)

    counting = answered.asked.priorities > cohorts[0].products[10].priority
    assert np.all((weights > 0.0) == counting)
    assert np.array_equal(weights, importance_weights(answer(cohorts[0], traffic, n_completed=10)))


def test_totals_of_several_workers_add_up(batch: Batch, traffic: Traffic) -> None:
    parts = (part(batch, slice(0, 35)), part(batch, slice(35, 60)))
    totals = np.zeros((2_000, N_CLASSES))
    for draw in range(len(totals)):
        for worker, share in enumerate(parts):
            sealed = seal(share, salt=salt_of(draw) + bytes([worker]), capacity=12, n_questions=N_ASKED)
            answered = answer(sealed, traffic)
            totals[draw] += total(answered, importance_weights(answered))

    assert worst_z(totals, traffic) < 4.0


def test_the_self_check_is_calm_when_all_is_well(cohorts: list[SealedCohort], traffic: Traffic) -> None:
    checks = [self_check([answer(sealed, traffic)], n_classes=N_CLASSES) for sealed in cohorts[:1000]]

    assert sum(check.alarming for check in checks) <= 10  # 20 products make z skew; cohorts of hundreds less
    assert np.std([check.products_z for check in checks]) == pytest.approx(1.0, abs=0.2)
    assert np.std([check.questions_z for check in checks]) == pytest.approx(1.0, abs=0.2)


def test_the_self_check_sees_that_products_were_lost(cohorts: list[SealedCohort], traffic: Traffic) -> None:
    answered = [answer(sealed, traffic) for sealed in cohorts[:60]]
    plain = [cohort for cohort in answered if product_weights(cohort).max() > 1.0]
    for cohort in plain:  # every question whose product stands for many is lost on its way
        cohort.asked.product_weights[:] = np.maximum(cohort.asked.product_weights, cohort.threshold)

    assert self_check(plain, n_classes=N_CLASSES).alarming


def test_forgetting_the_chance_of_the_question_is_biased(cohorts: list[SealedCohort], traffic: Traffic) -> None:
    answered = [answer(sealed, traffic) for sealed in cohorts[:2000]]

    totals = [total(cohort, product_weights(cohort) * N_CLASSES / N_ASKED) for cohort in answered]

    assert worst_z(np.array(totals), traffic) > 10.0


def test_taking_the_heaviest_products_is_biased(batch: Batch, traffic: Traffic) -> None:
    heaviest = np.argsort(-batch.weights.weights.sum(axis=1))[:N_KEPT]
    chances = inclusion_probabilities(batch.weights.weights[heaviest], N_ASKED)
    prints = [batch.fingerprints[row] for row in heaviest]

    totals = np.array(
        [
            (draw_questions(chances, prints, salt=salt_of(draw)) / chances * traffic.truth[heaviest]).sum(axis=0)
            * (N_PRODUCTS / N_KEPT)
            for draw in range(2000)
        ]
    )

    assert worst_z(totals, traffic) > 10.0


def test_serving_an_open_cohort_is_biased(batch: Batch, traffic: Traffic) -> None:
    """Eight products are answered while half the traffic is still to come, eight more at the end, and all count."""
    totals = np.array([_served_open(batch, traffic, salt=salt_of(draw)) for draw in range(2000)])

    assert worst_z(totals, traffic) > 4.0


def _served_open(batch: Batch, traffic: Traffic, *, salt: bytes) -> Float:
    cohort = Cohort(
        salt=salt,
        bundle_version="open",
        id_field="id",
        classes=[str(index) for index in range(N_CLASSES)],
        opened_at=NOON,
        capacity=N_KEPT,
        n_questions=N_ASKED,
    )
    cohort.add(part(batch, slice(0, 30)))
    early = cohort.seal(now=NOON, reason=SealReason.COUNT).products[:8]
    cohort.add(part(batch, slice(30, 60)))
    ranked = cohort.seal(now=NOON, reason=SealReason.COUNT).products
    late = [product for product in ranked if product not in early]
    threshold = late[8].priority
    totals = np.zeros(N_CLASSES)
    for product in [*early, *late[:8]]:
        for question in product.questions:
            weight = max(1.0, threshold / product.weight) / question.inclusion_probability
            totals[int(question.class_name)] += weight * traffic.truth[product.record["id"], int(question.class_name)]
    return totals
