"""From posted products to label tasks: cohorts are sealed by count and at shutdown; an answer never depends on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.acquisition.intake import Intake, SealPolicy, ServedBundle
from service.acquisition.scores import Scores
from service.bundles.bundle_store import BundleStore
from service.cohort_keeper import CohortKeeper
from service.contracts import Predictions
from service.label_queue.reading import Filters
from service.label_queue.rows import NewCohort, Task
from service.label_queue.store import open_store
from service.telemetry.metrics import Metrics
from tests.served import serving
from tests.tiny_bundle import CLASSES

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def products(n_products: int) -> list[dict[str, Any]]:
    return [
        {"product_id": f"p{number}", "title": "black dress", "price": float(number)} for number in range(n_products)
    ]


@pytest.fixture
def home(bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path) -> Path:
    """A BentoML home in which the tiny bundle is current."""
    bundle_store.promote(bundle_store.save(tiny_bundle))
    return tmp_path / "bentoml"


def queued(home: Path) -> tuple[Task, ...]:
    queue = open_store(f"sqlite:///{home / 'winnow.sqlite3'}", lease_seconds=60)
    try:
        return queue.look(Filters(), limit=200, now=NOW).tasks
    finally:
        queue.close()


def test_a_full_cohort_and_the_rest_at_shutdown_wait_in_the_queue(home: Path) -> None:
    with serving(home, WINNOW_COHORT_PRODUCTS="20", WINNOW_COHORT_TASKS="4", WINNOW_QUESTIONS="2") as backend:
        for start in range(0, 50, 10):
            answer = backend.client.post("/classify", json={"products": products(50)[start : start + 10]})
            assert answer.status_code == 200
        n_sealed_by_count = backend.number("winnow_cohorts_total", outcome="sealed")

    tasks = queued(home)

    assert n_sealed_by_count == 2
    assert len(tasks) == 3 * 4
    assert all(len(task.questions) == 2 for task in tasks)
    assert {question.class_name for task in tasks for question in task.questions} <= set(CLASSES)
    assert {task.product["title"] for task in tasks} == {"black dress"}


def test_a_repeated_product_has_one_task(home: Path) -> None:
    with serving(home) as backend:
        for _ in range(3):
            backend.client.post("/classify", json={"products": products(5)})

    assert sorted(task.product_id for task in queued(home)) == ["p0", "p1", "p2", "p3", "p4"]


def test_nothing_is_sampled_when_the_queue_is_switched_off(home: Path) -> None:
    with serving(home, WINNOW_QUEUE="false") as backend:
        backend.client.post("/classify", json={"products": products(5)})

    assert queued(home) == ()


def test_annotators_lease_and_answer_what_was_sampled(home: Path) -> None:
    with serving(home, WINNOW_QUESTIONS="2") as backend:
        backend.client.post("/classify", json={"products": products(5)})
    with serving(home) as backend:
        lease = backend.client.post("/label-queue/lease", json={"annotator": "ann", "limit": 3}).json()
        labels = [
            {"task_id": task["task_id"], "answers": {question["class"]: "yes" for question in task["questions"]}}
            for task in lease["tasks"]
        ]
        body = {"annotator": "ann", "lease_token": lease["lease_token"], "labels": labels}
        accepted = backend.client.post("/label-queue/labels", json=body).json()
        stats = backend.client.get("/label-queue/stats").json()

    assert accepted == {"accepted": 3}
    assert (stats["open"], stats["completed"], stats["answers"]) == (2, 3, 6)


class Sink:
    """Keeps what it is handed."""

    def __init__(self) -> None:
        self.cohorts: list[NewCohort] = []

    def offer(self, cohort: NewCohort) -> bool:
        """Take it."""
        self.cohorts.append(cohort)
        return True


def keeper_and_sink(*, max_products: int = 1_000) -> tuple[CohortKeeper, Sink]:
    sink = Sink()
    intake = Intake(new_salt=lambda: b"salt", policy=SealPolicy(max_products=max_products, capacity=5))
    return CohortKeeper(intake, sink, worker="w", metrics=Metrics(CollectorRegistry()).queue, now=lambda: NOW), sink


def take(keeper: CohortKeeper, rows: range, *, version: str = "first", column: str = "id") -> None:
    """Classify products, whose ids are in a column, by made-up numbers that depend on the product alone."""
    values = np.array([[np.sin(row) ** 2, np.cos(row * 0.7) ** 2] for row in rows])
    predictions = Predictions(values, values[:, None], np.ones((len(values), 1), dtype=np.bool_), values)
    served = SERVED[version]
    scores = Scores(values, values / 2, values / 3)
    records = [{column: f"p{row}"} for row in rows]
    keeper.take(served, records=records, predictions=predictions, scores=scores)


SERVED = {
    version: ServedBundle(version, column, ("black", "kids"), np.array([0.5, 0.3]), np.array([0.2, 0.1]))
    for version, column in (("first", "id"), ("second", "id"), ("renamed", "sku"))
}


def test_products_that_come_alone_are_drawn_like_those_that_come_together() -> None:
    alone, sink_of_alone = keeper_and_sink()
    together, sink_of_together = keeper_and_sink()

    for row in range(600):
        take(alone, range(row, row + 1))
    take(together, range(600))
    for keeper in (alone, together):
        keeper.close()

    (one,), (other,) = sink_of_alone.cohorts, sink_of_together.cohorts
    assert [task.product_id for task in one.tasks] == [task.product_id for task in other.tasks]
    assert [task.priority for task in one.tasks] == pytest.approx([task.priority for task in other.tasks])
    assert one.n_products == other.n_products == 600
    assert one.counters["probability"] == pytest.approx(other.counters["probability"])


def test_products_that_come_alone_fill_a_cohort_to_the_last_one() -> None:
    keeper, sink = keeper_and_sink(max_products=20)

    for row in range(50):
        take(keeper, range(row, row + 1))

    assert [cohort.n_products for cohort in sink.cohorts] == [20, 20]


def test_held_products_belong_to_the_bundle_that_answered_them() -> None:
    keeper, sink = keeper_and_sink()

    take(keeper, range(3), version="first")
    take(keeper, range(10, 14), version="second")
    keeper.close()

    assert [(cohort.bundle_version, cohort.n_products) for cohort in sink.cohorts] == [("first", 3), ("second", 4)]


def test_a_cohort_is_handed_over_by_the_id_column_of_its_own_bundle() -> None:
    keeper, sink = keeper_and_sink(max_products=5)

    take(keeper, range(3))
    take(keeper, range(10, 15), version="renamed", column="sku")  # seals the old cohort, and fills its own

    ids = [{task.product_id for task in cohort.tasks} for cohort in sink.cohorts]
    assert ids == [{f"p{row}" for row in range(3)}, {f"p{row}" for row in range(10, 15)}]


def test_a_tick_lets_held_products_grow_old() -> None:
    times = iter((NOW, NOW, NOW + timedelta(hours=1)))
    sink = Sink()
    intake = Intake(new_salt=lambda: b"salt", policy=SealPolicy(max_age=timedelta(minutes=15)))
    keeper = CohortKeeper(intake, sink, worker="w", metrics=Metrics(CollectorRegistry()).queue, now=lambda: next(times))

    take(keeper, range(3))
    keeper.tick("first")
    keeper.tick("first")

    assert [cohort.n_products for cohort in sink.cohorts] == [3]


class FullSink:
    """Room for nothing."""

    def offer(self, cohort: NewCohort) -> bool:
        """Refuse."""
        return False


def test_a_batch_that_cannot_be_sampled_is_counted_and_raises_nothing() -> None:
    registry = CollectorRegistry()
    keeper = CohortKeeper(
        Intake(new_salt=lambda: b"salt"), FullSink(), worker="w", metrics=Metrics(registry).queue, now=lambda: NOW
    )

    keeper.take(None, records=[{}], predictions=None, scores=None)  # type: ignore[arg-type]

    assert registry.get_sample_value("winnow_cohorts_total", {"outcome": "failed"}) == 1


@pytest.mark.parametrize("end", [lambda keeper: keeper.tick("second"), lambda keeper: keeper.close()])
def test_a_cohort_that_cannot_be_handed_over_is_counted_and_the_next_one_is(
    end: Callable[[CohortKeeper], None],
) -> None:
    registry, sink = CollectorRegistry(), Sink()
    intake = Intake(new_salt=lambda: b"salt")
    keeper = CohortKeeper(intake, sink, worker="w", metrics=Metrics(registry).queue, now=lambda: NOW)
    take(keeper, range(3), column="name")

    end(keeper)
    take(keeper, range(3), version="second")
    keeper.close()

    assert [cohort.bundle_version for cohort in sink.cohorts] == ["second"]
    assert registry.get_sample_value("winnow_cohorts_total", {"outcome": "failed"}) == 1
