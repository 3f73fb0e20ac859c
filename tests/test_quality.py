"""Live quality as it is shown: the course over time, the answer to programs, the page for people, the command."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from benchmarks.simulated_traffic import Traffic, make_batch, make_traffic, seal
from service.bundles.bundle_store import BundleStore
from service.label_queue.rows import Submission, TaskLabels
from service.label_queue.store import LabelQueue, open_store
from service.pages.quality import quality_page
from service.quality.cohort_records import new_cohort
from service.quality.quality_course import QualityCourse, quality_course
from tests.served import serving
from tests.shell import Shell

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLASSES = tuple(str(index) for index in range(3))


def answered(queue: LabelQueue, traffic: Traffic, *, cohort: str, version: str, hours: int) -> None:
    """A sealed cohort of the traffic, with every question answered with the truth."""
    sealed = seal(make_batch(traffic), salt=cohort.encode(), capacity=120, n_questions=2)
    stored = new_cohort(sealed, worker="w")
    at = NOON + timedelta(hours=hours)
    stored = replace(stored, id=cohort, bundle_version=version, sealed_at=at)
    tasks = tuple(
        replace(task, fingerprint=f"{cohort}-{task.product_id}", product={"id": task.product_id})
        for task in stored.tasks
    )
    queue.enqueue([replace(stored, tasks=tasks)], now=at)
    labels = tuple(
        TaskLabels(
            task.fingerprint,
            {
                question.class_name: "yes" if traffic.truth[int(task.product_id), int(question.class_name)] else "no"
                for question in task.questions
            },
        )
        for task in tasks
    )
    queue.submit(Submission("ann", labels, known_classes=frozenset(CLASSES)), now=at)


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return make_traffic(500, 3, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def queue(traffic: Traffic, tmp_path_factory: pytest.TempPathFactory) -> LabelQueue:
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('queue') / 'queue.sqlite3'}", lease_seconds=60)
    answered(opened, traffic, cohort="a", version="old-1", hours=0)
    answered(opened, traffic, cohort="b", version="new-1", hours=1)
    answered(opened, traffic, cohort="c", version="new-1", hours=2)
    return opened


@pytest.fixture
def course(queue: LabelQueue) -> QualityCourse:
    return quality_course(queue.cohorts(), queue.answered_questions(), version="new-1", classes=CLASSES)


def test_the_estimate_is_of_the_bundle_that_is_served_and_its_course_of_its_predecessors_too(
    course: QualityCourse, traffic: Traffic
) -> None:
    assert (course.n_cohorts, course.now.n_products, course.now.n_answers) == (2, 1_000, 480)
    assert [(one.version, one.quality.n_answers) for one in course.stretches] == [
        ("old-1", 240), ("new-1", 240), ("new-1", 240),
    ]  # fmt: skip
    for index, one in enumerate(course.now.classes):
        assert one.precision.lower - 0.02 <= traffic.precision[index] <= one.precision.upper + 0.02


def test_few_answers_are_gathered_into_one_stretch(queue: LabelQueue) -> None:
    tasks = [
        task for one in "abc" for task in [task for task in queue.answered_questions() if task.cohort_id == one][:40]
    ]

    course = quality_course(queue.cohorts(), tasks, version="new-1", classes=CLASSES)

    assert [one.version for one in course.stretches] == ["old-1", "new-1"]


def test_cohorts_of_another_taxonomy_are_left_out(queue: LabelQueue) -> None:
    course = quality_course(queue.cohorts(), queue.answered_questions(), version="new-1", classes=("other",))

    assert (course.n_cohorts, course.now.n_answers, course.stretches) == (0, 0, ())


def test_the_document_says_insufficient_where_an_interval_says_nothing(course: QualityCourse) -> None:
    document = json.loads(json.dumps(course.to_json(), allow_nan=False))
    empty = quality_course([], [], version="new-1", classes=CLASSES).to_json()

    assert set(document["classes"]) == set(CLASSES)
    for one in document["classes"].values():
        for measure in ("precision", "recall"):
            estimate = one[measure]
            wide = estimate["upper"] - estimate["lower"] > 0.5
            assert estimate["verdict"] == ("insufficient" if wide else "sufficient")
    assert {one["precision"]["verdict"] for one in empty["classes"].values()} == {"insufficient"}
    assert empty["macro"]["recall"] == {"value": None, "lower": 0.0, "upper": 1.0, "verdict": "insufficient"}


def test_the_page_draws_a_point_a_stretch_and_shows_every_class(course: QualityCourse) -> None:
    page = quality_page(replace(course, classes=("<b>", "1", "2")))

    assert page.count("<svg") == 2 + 2 * 3
    large = page[page.index('<svg class="plot" viewBox="0 0 720 220"') :].split("</svg>")[0]
    assert large.count('class="interval') == len(course.stretches)
    assert "&lt;b&gt;" in page
    assert "<b>" not in page.split("<h2>Classes</h2>")[1]
    assert "style=" not in page
    assert f"{course.now.macro_precision.value:.3f}" in page
    assert "Sampling self-check: fine" in page


def test_the_page_says_what_is_missing_where_nothing_was_answered() -> None:
    page = quality_page(quality_course([], [], version="new-1", classes=CLASSES))

    assert page.count("Nothing to draw yet") == 2
    assert 'viewBox="0 0 720 220"' not in page


def test_programs_get_json_and_browsers_a_page(client: TestClient) -> None:
    document = client.get("/quality")
    page = client.get("/quality", headers={"accept": "text/html,application/xhtml+xml"})

    assert document.headers["content-type"] == "application/json"
    assert document.json()["model_version"] == "tiny-1"
    assert document.json()["macro"]["precision"]["verdict"] == "insufficient"
    assert page.headers["content-type"].startswith("text/html")
    assert "insufficient" in page.text


def test_without_a_model_there_is_nothing_to_estimate(tmp_path: Path) -> None:
    with serving(tmp_path) as backend:
        assert backend.client.get("/quality").status_code == 503


def test_the_command_prints_what_the_route_answers(
    bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle_store.promote(bundle_store.save(tiny_bundle))
    shell = Shell(tmp_path)
    with serving(tmp_path / "bentoml") as backend:
        answer = backend.client.get("/quality").json()

    printed, table = shell.winnow("quality", "--json"), shell.winnow("quality")

    assert json.loads(printed.stdout) == answer
    assert table.stdout.count("insufficient") == 2 * (1 + len(answer["classes"]))
    assert "sampling self-check: fine" in table.stderr
