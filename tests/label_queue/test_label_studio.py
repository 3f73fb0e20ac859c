"""Label Studio and back: tasks in its form, its recorded export as labels, each stored once."""

from __future__ import annotations

import base64
import io
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from sqlalchemy import select
from typer.testing import CliRunner

from service.errors import InvalidRequest
from service.label_queue.reading import Filters
from service.label_queue.schema import label, skip
from service.label_queue.store import LabelQueue, open_store
from service.label_studio import LABELLING_CONFIG, NO_PICTURE, label_studio_task, picture_url, submissions
from tests.label_queue.queue_samples import LEASE_SECONDS, NOON, make_cohort, make_question, make_task
from training.cli import app
from training.label_files import CONFIG, QUESTIONS, TASKS, Imported, export_tasks, import_labels

# Eight made-up products, labelled by hand and by script in Label Studio 1.23.2: `python -m benchmarks.label_studio`.
EXPORT = Path(__file__).with_name("label_studio_export.json")
PERSON = "label-studio-1"


def exported_tasks() -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = json.loads(EXPORT.read_text())
    return tasks


def fill(queue: LabelQueue) -> None:
    """Queue the tasks that were exported."""
    tasks = [
        make_task(task["data"]["task_id"], classes=[asked["value"] for asked in task["data"]["questions"]])
        for task in exported_tasks()
    ]
    queue.enqueue([make_cohort(*tasks)], now=NOON)


def stored(queue: LabelQueue) -> tuple[list[tuple[str, str, str, str]], list[tuple[str, str, str]]]:
    with queue.database.read() as connection:
        labels = connection.execute(select(label.c.annotator, label.c.task_id, label.c.class_name, label.c.answer))
        skips = connection.execute(select(skip.c.annotator, skip.c.task_id, skip.c.reason))
        return sorted(map(tuple, labels)), sorted(map(tuple, skips))


def minimal_export(**annotation: object) -> bytes:
    data = {"task_id": "t1", "questions": [{"value": "black"}, {"value": "kids"}]}
    return json.dumps([{"data": data, "annotations": [annotation]}]).encode()


def test_what_was_ticked_in_label_studio_is_what_was_answered() -> None:
    sent = submissions(EXPORT.read_bytes(), annotator="label-studio")

    assert [submission.annotator for submission in sent] == [PERSON] * 8
    by_hand, *_, skipped = (submission.labels[0] for submission in sent)
    assert by_hand.answers == {"bags": "yes", "bottomwear": "no", "footwear": "yes", "topwear": "unsure"}
    assert (skipped.task_id, skipped.answers, skipped.skip) == ("task-7", {}, "skipped in Label Studio")


def test_an_export_is_stored_once_however_often_it_is_imported(queue: LabelQueue) -> None:
    fill(queue)

    first = import_labels(queue, EXPORT, annotator="label-studio", now=NOON)
    labels, skips = stored(queue)
    import_labels(queue, EXPORT, annotator="label-studio", now=NOON)

    assert first == Imported(n_stored=8)
    assert (len(labels), skips) == (28, [(PERSON, "task-7", "skipped in Label Studio")])
    assert (PERSON, "task-0", "topwear", "unsure") in labels
    assert stored(queue) == (labels, skips)
    stats = queue.stats(now=NOON)
    assert (stats.completed, stats.withdrawn, stats.open) == (7, 1, 0)


def test_tasks_that_somebody_holds_or_nobody_knows_are_left_out_and_counted(queue: LabelQueue, tmp_path: Path) -> None:
    fill(queue)
    [held] = queue.lease(annotator="ann", n_tasks=1, now=NOON).tasks
    tasks = [task for task in exported_tasks() if task["data"]["task_id"] in {held.id, "task-3"}]
    (tmp_path / "some.json").write_text(json.dumps(tasks + json.loads(minimal_export(completed_by=1))))

    imported = import_labels(queue, tmp_path / "some.json", annotator="x", now=NOON)

    assert imported == Imported(n_stored=1, n_held=1, n_unknown=1)
    labels, skips = stored(queue)
    assert ({task_id for _, task_id, _, _ in labels}, skips) == ({"task-3"}, [])


@pytest.mark.parametrize(
    ("completed_by", "name"), [(7, "x-7"), ({"id": 7, "email": "a@example.org"}, "x-a@example.org"), (None, "x-0")]
)
def test_annotators_are_told_apart(completed_by: object, name: str) -> None:
    [submission] = submissions(minimal_export(completed_by=completed_by), annotator="x")

    assert submission.annotator == name
    assert submission.labels[0].answers == {"black": "no", "kids": "no"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json", "no JSON export"),
        (b'{"tasks": []}', "valid array"),
        (b'[{"data": {"text": "x"}}]', "Field required"),
        (b'[{"data": {"task_id": "t", "questions": "black"}}]', "valid array"),
    ],
)
def test_another_file_is_refused_and_told_what_is_wrong_with_it(content: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        submissions(content, annotator="x")


def test_the_labelling_interface_reads_what_a_task_has(queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task())], now=NOON)
    [task] = queue.look(Filters(), limit=1, now=NOON).tasks
    shown = label_studio_task(task, None)

    config = ElementTree.fromstring(LABELLING_CONFIG)
    wanted = {element.attrib["value"] for element in config.iter() if element.attrib.get("value", "").startswith("$")}

    assert wanted == {f"${name}" for name in shown["data"]} - {"$task_id"}
    [result] = shown["predictions"][0]["result"]
    assert result["from_name"] in {element.attrib.get("name") for element in config.iter("Choices")}
    assert result["to_name"] in {element.attrib.get("name") for element in config.iter("Text")}


def test_the_classes_ticked_beforehand_are_those_that_the_model_answered_with_yes(queue: LabelQueue) -> None:
    questions = (
        make_question("black", probability=0.4, positive=True),  # thresholds are the bundle's: .3 and .7, say
        make_question("kids", probability=0.6, positive=False),
        make_question("sale", probability=0.8, positive=True),
    )
    queue.enqueue([make_cohort(replace(make_task(), questions=questions))], now=NOON)
    [task] = queue.look(Filters(), limit=1, now=NOON).tasks

    [prediction] = label_studio_task(task, None)["predictions"]

    assert sorted(prediction["result"][0]["value"]["choices"]) == ["black", "sale"]


def test_a_product_without_a_picture_shows_one_that_a_browser_can_draw() -> None:
    picture = picture_url(None)

    assert picture == NO_PICTURE
    with Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as dot:
        dot.load()
        assert dot.size == (1, 1)


def test_without_a_bundle_a_picture_is_found_by_its_content(queue: LabelQueue) -> None:
    jpeg = io.BytesIO()
    Image.new("RGB", (2, 2)).save(jpeg, "JPEG")
    photo = base64.b64encode(jpeg.getvalue()).decode()
    queue.enqueue([make_cohort(make_task(product={"sku": "1", "photo": photo, "link": "https://shop/1"}))], now=NOON)
    [task] = queue.look(Filters(), limit=1, now=NOON).tasks

    data = label_studio_task(task, None)["data"]

    assert data["image"] == f"data:image/jpeg;base64,{photo}"
    assert data["text"] == "sku: 1\nlink: https://shop/1"


def test_export_writes_the_most_urgent_tasks_over_several_pages(queue: LabelQueue, tmp_path: Path) -> None:
    queue.enqueue([make_cohort(*(make_task(f"t{index:03}", priority=float(index)) for index in range(250)))], now=NOON)

    n_tasks = export_tasks(queue, tmp_path / "out", fields=None, filters=Filters(), limit=230, now=NOON)

    tasks = json.loads((tmp_path / "out" / TASKS).read_text())
    assert n_tasks == 230
    assert [task["data"]["task_id"] for task in tasks] == [f"t{index:03}" for index in range(249, 19, -1)]
    assert (tmp_path / "out" / CONFIG).read_text() == LABELLING_CONFIG


def test_the_command_line_exports_and_imports(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/queue.sqlite3"
    environment = {"BENTOML_HOME": str(tmp_path / "bentoml"), "WINNOW_DATABASE_URL": url}
    with closing(open_store(url, lease_seconds=LEASE_SECONDS)) as queue:
        fill(queue)

    exported = CliRunner().invoke(app, ["labels", "export", str(tmp_path / "out"), "--limit", "3"], env=environment)
    imported = CliRunner().invoke(app, ["labels", "import", str(EXPORT)], env=environment)

    assert (exported.exit_code, imported.exit_code) == (0, 0)
    assert len(json.loads((tmp_path / "out" / TASKS).read_text())) == 3
    lines = [json.loads(line) for line in (tmp_path / "out" / QUESTIONS).read_text().splitlines()]
    assert len(lines) == 32
    assert {"class", "answer", "inclusion_probability", "priority", "threshold", "product_weight"} <= set(lines[0])
    with closing(open_store(url, lease_seconds=LEASE_SECONDS)) as queue:
        assert queue.stats(now=NOON).answers == 28
