"""The label queue in numbers: what annotators did, what the writer wrote, and a store that is away."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from service.bundles.bundle_store import BundleStore
from service.label_queue.rows import Submission, TaskLabels
from service.label_queue.store import open_store
from service.label_queue.writer import QueueWriter
from service.telemetry.metrics import Metrics
from service.telemetry.queue_watch import QueueWatch
from tests.label_queue.queue_samples import make_cohort, make_task
from tests.served import serving
from training.label_files import import_labels

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def test_an_answer_is_counted_once_by_its_class_however_often_it_is_sent(
    bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path
) -> None:
    home = tmp_path / "bentoml"
    bundle_store.promote(bundle_store.save(tiny_bundle))
    queue = open_store(f"sqlite:///{home / 'winnow.sqlite3'}", lease_seconds=60)
    queue.enqueue([make_cohort(make_task("t1"))], now=NOW)
    queue.close()

    with serving(home) as backend:
        labels = {"annotator": "ann", "labels": [{"task_id": "t1", "answers": {"black": "yes", "sale": "unsure"}}]}
        key = {"idempotency-key": "k1"}
        accepted = backend.client.post("/label-queue/labels", json=labels, headers=key)
        for again in (key, {}):
            assert backend.client.post("/label-queue/labels", json=labels, headers=again).json() == accepted.json()
        refused = backend.client.post("/label-queue/labels", json={**labels, "annotator": ""})

        assert (accepted.json(), refused.status_code) == ({"accepted": 1}, 422)
        assert backend.number("winnow_labels_total", **{"class": "black", "answer": "yes"}) == 1
        assert backend.number("winnow_labels_total", **{"class": "sale", "answer": "unsure"}) == 1


@pytest.mark.parametrize("n_classes", [100, 101])
def test_the_answers_to_more_than_a_hundred_classes_share_their_series(n_classes: int) -> None:
    registry = CollectorRegistry()
    classes = [f"class-{index}" for index in range(n_classes)]

    Metrics(registry).queue.labelled([TaskLabels("t1", dict.fromkeys(classes, "yes"))], classes)

    apart = registry.get_sample_value("winnow_labels_total", {"class": "class-7", "answer": "yes"})
    together = registry.get_sample_value("winnow_labels_total", {"class": "all", "answer": "yes"})
    assert (apart, together) == ((1, None) if n_classes <= 100 else (None, 101))


def test_imported_answers_show_that_somebody_labels(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    queue = open_store(f"sqlite:///{tmp_path / 'queue.sqlite3'}", lease_seconds=60)
    queue.enqueue([make_cohort(make_task("t1"))], now=NOW)
    data = {"task_id": "t1", "questions": [{"value": "black"}]}
    (tmp_path / "export.json").write_text(json.dumps([{"data": data, "annotations": [{"completed_by": 1}]}]))
    writer = QueueWriter(queue)
    watch = QueueWatch(queue, writer, Metrics(registry))

    watch.look(now=NOW)
    before = registry.get_sample_value("winnow_label_newest_timestamp_seconds")
    import_labels(queue, tmp_path / "export.json", annotator="label-studio", now=NOW)
    watch.look(now=NOW + timedelta(hours=1))

    after = registry.get_sample_value("winnow_label_newest_timestamp_seconds")
    assert (before, after) == (0, NOW.timestamp())
    writer.close()
    queue.close()


def test_a_store_that_answers_and_then_does_not_is_seen(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    queue = open_store(f"sqlite:///{tmp_path / 'queue.sqlite3'}", lease_seconds=60)
    writer = QueueWriter(queue)
    watch = QueueWatch(queue, writer, Metrics(registry))

    watch.look(now=NOW)
    up = registry.get_sample_value("winnow_queue_store_up")
    writer.close()
    queue.close()
    for path in tmp_path.glob("queue.sqlite3*"):
        path.unlink()
    (tmp_path / "queue.sqlite3").mkdir()
    watch.look(now=NOW)

    assert (up, registry.get_sample_value("winnow_queue_store_up")) == (1, 0)
    assert registry.get_sample_value("winnow_label_tasks", {"state": "open"}) == 0


def test_an_annotator_who_flips_answers_and_a_lapsed_lease_are_seen(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    queue = open_store(f"sqlite:///{tmp_path / 'queue.sqlite3'}", lease_seconds=60)
    rng = Random(5)
    names = [f"t{number}" for number in range(200)]
    queue.enqueue([make_cohort(*(make_task(name) for name in (*names, "left")))], now=NOW)
    for annotator, error in (("ann", 0.02), ("ben", 0.3), ("cai", 0.02)):
        labels = tuple(TaskLabels(name, {"black": "no" if rng.random() < error else "yes"}) for name in names)
        queue.submit(Submission(annotator, labels), now=NOW)
    queue.lease(annotator="dee", n_tasks=1, now=NOW)
    writer = QueueWriter(queue)
    watch = QueueWatch(queue, writer, Metrics(registry))

    watch.look(now=NOW + timedelta(seconds=61))
    watch.estimate()

    highest, median = (
        registry.get_sample_value("winnow_annotator_error_ratio", {"rank": rank}) for rank in ("highest", "median")
    )
    assert highest == pytest.approx(0.3, abs=0.08)
    assert median is not None
    assert median < 0.06
    assert registry.get_sample_value("winnow_label_lapsed_leases") == 1
    writer.close()
    queue.close()
