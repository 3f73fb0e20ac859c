"""When cohorts are sealed, and what they leave to the next one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import pytest

from service.acquisition.cohort import SealedCohort, SealReason
from service.acquisition.intake import AcquisitionRule, Intake, SealPolicy, ServedBundle
from service.acquisition.scores import Reason, ScoreMeans, Scores, cubed, prospect, question_weights

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FIRST = ServedBundle("first", "id", ("black", "kids"), np.array([0.5, 0.3]), np.array([0.2, 0.1]))
SECOND = ServedBundle("second", "id", FIRST.classes, FIRST.thresholds, FIRST.priors)


def make_intake(*, max_products: int = 100, capacity: int = 10, rule: AcquisitionRule | None = None) -> Intake:
    salts = (f"salt {number}".encode() for number in count())
    policy = SealPolicy(max_products=max_products, max_age=10 * MINUTE, capacity=capacity)
    return Intake(new_salt=lambda: next(salts), policy=policy, rule=rule)


def send(
    intake: Intake,
    n_products: int,
    *,
    start: int = 0,
    now: datetime = NOON,
    served: ServedBundle = FIRST,
    merchant_labels: list[list[float]] | None = None,
) -> list[SealedCohort]:
    probabilities, scores = _predictions(n_products, start)
    return intake.take(
        served=served,
        records=[{"id": str(start + index)} for index in range(n_products)],
        probabilities=probabilities,
        scores=scores,
        now=now,
        merchant_labels=merchant_labels,
    )


def _predictions(n_products: int, start: int) -> tuple[np.ndarray, Scores]:
    rng = np.random.default_rng(start)
    probabilities, doubts = rng.random((2, n_products, 2))
    return probabilities, Scores(doubts, np.zeros_like(doubts), doubts)


def test_a_cohort_is_sealed_when_it_is_full() -> None:
    intake = make_intake(max_products=100)

    nothing = send(intake, 99)
    (sealed,) = send(intake, 1, start=99)

    assert nothing == []
    assert (sealed.reason, sealed.totals.n_products, sealed.opened_at, sealed.sealed_at) == ("count", 100, NOON, NOON)
    assert intake.n_open == 0


def test_a_cohort_is_sealed_when_it_is_old_even_without_traffic() -> None:
    intake = make_intake()
    send(intake, 3)

    too_young = intake.tick(now=NOON + 9 * MINUTE, bundle_version="first")
    (sealed,) = intake.tick(now=NOON + 10 * MINUTE, bundle_version="first")

    assert too_young == []
    assert (sealed.reason, sealed.totals.n_products) == (SealReason.AGE, 3)


def test_products_that_come_after_the_time_are_in_the_next_cohort() -> None:
    intake = make_intake()
    send(intake, 3)

    (sealed,) = send(intake, 2, start=3, now=NOON + 11 * MINUTE)

    assert sealed.totals.n_products == 3
    assert intake.n_open == 2


def test_another_bundle_seals_the_cohort_of_the_old_one() -> None:
    intake = make_intake()
    send(intake, 3)

    (sealed,) = send(intake, 2, start=3, served=SECOND)

    assert (sealed.reason, sealed.bundle_version, sealed.totals.n_products) == (SealReason.SWAP, "first", 3)
    (last,) = intake.close(now=NOON)
    assert (last.reason, last.bundle_version, last.totals.n_products) == (SealReason.SHUTDOWN, "second", 2)


def test_no_empty_cohort_is_ever_sealed() -> None:
    intake = make_intake()

    assert intake.tick(now=NOON + 60 * MINUTE, bundle_version="first") == []
    assert intake.close(now=NOON) == []


def test_every_cohort_has_its_own_salt() -> None:
    intake = make_intake(max_products=5)

    cohorts = [sealed for start in range(0, 20, 5) for sealed in send(intake, 5, start=start)]

    assert len({sealed.cohort_id for sealed in cohorts}) == 4


def test_weights_use_the_means_of_earlier_cohorts_only() -> None:
    intake = make_intake(max_products=50, capacity=50)

    (first,) = send(intake, 50)
    (second,) = send(intake, 50, start=50)

    priors = ScoreMeans.from_priors(FIRST.priors)
    learned = priors.updated(
        doubt_cubed_sums=first.totals.doubt_cubed, prospect_sums=first.totals.prospect, n_products=50
    )
    for sealed, start, means in ((first, 0, priors), (second, 50, learned)):
        probabilities, scores = _predictions(50, start)
        expected = question_weights(scores, prospect(probabilities), means=means).weights.sum(axis=1)
        found = {product.record["id"]: product.weight for product in sealed.products}
        assert [found[str(start + index)] for index in range(50)] == pytest.approx(expected)


def test_a_new_bundle_inherits_the_means_but_learns_them_faster() -> None:
    steady, swapped = make_intake(max_products=2_000), make_intake(max_products=2_000)
    for intake in (steady, swapped):
        send(intake, 2_000)
    for intake, served in ((steady, FIRST), (swapped, SECOND)):
        send(intake, 2_000, start=2_000, served=served)

    weights = [intake_weights(intake, served=served) for intake, served in ((steady, FIRST), (swapped, SECOND))]

    assert weights[0] != pytest.approx(weights[1], rel=1e-6)
    assert weights[0] == pytest.approx(weights[1], rel=0.1)


def intake_weights(intake: Intake, *, served: ServedBundle) -> list[float]:
    send(intake, 10, start=9_000, served=served)
    (sealed,) = intake.close(now=NOON)
    return [product.weight for product in sorted(sealed.products, key=lambda product: product.record["id"])]


def test_another_taxonomy_starts_from_its_own_priors() -> None:
    other = ServedBundle("third", "id", ("red", "blue"), FIRST.thresholds, np.array([0.4, 0.01]))
    used, fresh = make_intake(), make_intake()
    send(used, 50)
    used.close(now=NOON)

    assert intake_weights(used, served=other) == intake_weights(fresh, served=other)


def test_a_class_that_was_not_trained_is_asked_about_and_when_it_is_takes_no_more_than_its_share() -> None:
    untrained = ServedBundle("first", "id", FIRST.classes, np.array([0.5, 1.0]), FIRST.priors)
    intake = make_intake(max_products=5_000, capacity=500, rule=AcquisitionRule(n_questions=1))
    asked = []
    for served in (untrained, SECOND):
        for start in (0, 5_000):
            probabilities, doubts = np.random.default_rng(start).random((2, 5_000, 2)) * [1.0, 0.2]
            if served is untrained:
                probabilities[:, 1], doubts[:, 1] = served.priors[1], 0.0
            records = [{"id": str(start + row)} for row in range(5_000)]
            (sealed,) = intake.take(
                served=served, records=records, probabilities=probabilities, now=NOON,
                scores=Scores(doubts, np.zeros_like(doubts), doubts),
            )  # fmt: skip
            questions = [question.class_name for product in sealed.products for question in product.questions]
            asked.append(questions.count("kids") / len(questions))

    assert min(asked[:2]) > 0.1
    assert max(asked[2:]) < 0.6


def test_a_doubtful_merchant_label_is_given_as_the_reason() -> None:
    intake = make_intake(capacity=1, rule=AcquisitionRule(n_questions=2))
    nan = float("nan")
    intake.take(
        served=FIRST,
        records=[{"id": "1"}],
        probabilities=np.array([[0.9, 0.9]]),
        scores=Scores(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2))),
        now=NOON,
        merchant_labels=[[0.0, nan]],
    )

    (sealed,) = intake.close(now=NOON)

    reasons = {question.class_name: question.reason for question in sealed.products[0].questions}
    assert reasons == {"black": Reason.DOUBTFUL_MERCHANT_LABEL, "kids": Reason.LIKELY_POSITIVE}


def test_a_class_with_a_larger_budget_is_asked_more_often() -> None:
    rule = AcquisitionRule(n_questions=1, budgets=(1.8, 0.2))
    intake = make_intake(capacity=500, max_products=500, rule=rule)

    (sealed,) = send(intake, 500)

    asked = [question.class_name for product in sealed.products for question in product.questions]
    assert asked.count("black") > 3 * asked.count("kids")


def test_served_yes_and_no_are_counted_at_the_thresholds() -> None:
    intake = make_intake(max_products=500)
    (sealed,) = send(intake, 500)

    probabilities, scores = _predictions(500, 0)

    assert sealed.totals.positive.tolist() == (probabilities >= FIRST.thresholds).sum(axis=0).tolist()
    assert sealed.totals.doubt_cubed == pytest.approx(cubed(scores.doubt).sum(axis=0))


def test_a_record_that_is_no_json_does_not_cost_the_cohort_before_it() -> None:
    intake = make_intake()
    send(intake, 3)
    probabilities, scores = _predictions(1, 3)

    with pytest.raises(ValueError, match="serialize"):
        intake.take(
            served=SECOND,
            records=[{"id": object()}],
            probabilities=probabilities,
            scores=scores,
            now=NOON,
        )

    (sealed,) = intake.close(now=NOON)
    assert sealed.totals.n_products == 3


@pytest.mark.parametrize("jump", [timedelta(days=1), -timedelta(days=1), -10 * MINUTE])
def test_a_clock_that_jumps_seals_the_cohort_and_no_product_is_lost(jump: timedelta) -> None:
    intake = make_intake()
    send(intake, 5)

    (sealed,) = intake.tick(now=NOON + jump, bundle_version="first")
    send(intake, 3, start=5, now=NOON + jump)
    (after,) = intake.close(now=NOON)

    assert (sealed.totals.n_products, after.totals.n_products) == (5, 3)


def test_a_clock_that_goes_back_a_little_seals_nothing() -> None:
    intake = make_intake()
    send(intake, 5)

    assert intake.tick(now=NOON - 9 * MINUTE, bundle_version="first") == []
