"""Label tasks in the form that Label Studio imports, and its labels in the form that the label queue takes.

The project's labelling config is `LABELLING_CONFIG`: one ticks the asked classes that are true, and those that nobody
can tell; an asked class without a tick is answered no.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

from service.contracts import FieldSpec
from service.errors import InvalidRequest
from service.label_queue.rows import Answer, Submission, Task, TaskLabels

LABELLING_CONFIG = """<View>
  <Image name="picture" value="$image" maxWidth="480px"/>
  <Text name="text" value="$text"/>
  <Header value="Which of these are true?"/>
  <Choices name="yes" toName="text" choice="multiple" value="$questions"/>
  <Header value="Which of these can nobody tell?"/>
  <Choices name="unsure" toName="text" choice="multiple" value="$questions"/>
</View>
"""
PICTURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"RIFF": "image/webp"}
NO_PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="  # one transparent dot


def label_studio_task(task: Task, fields: FieldSpec | None) -> dict[str, Any]:
    """One task with its questions as choices and the likely ones as a prediction."""
    likely = [asked.class_name for asked in task.questions if (asked.probability or 0.0) >= 0.5]
    prediction = {
        "model_version": task.model_version,
        "result": [{"from_name": "yes", "to_name": "text", "type": "choices", "value": {"choices": likely}}],
    }
    data = {
        "task_id": task.id,
        "image": picture_url(task.product.get(fields.image) if fields and fields.image else None),
        "text": product_text(task.product, fields),
        "questions": [{"value": asked.class_name} for asked in task.questions],
    }
    return {"data": data, "predictions": [prediction]}


def submissions(export: Iterable[Mapping[str, Any]], *, annotator: str) -> list[Submission]:
    """Turn Label Studio's JSON export into one submission an annotator.

    Parameters
    ----------
    annotator : prefix of the annotators' names; Label Studio's number of the person follows it

    Raises
    ------
    InvalidRequest
        If a task does not come from this label queue.
    """
    labels: dict[str, list[TaskLabels]] = {}
    for index, exported in enumerate(export):
        data = exported.get("data", {})
        if not isinstance(data, Mapping) or not {"task_id", "questions"} <= set(data):
            raise InvalidRequest(
                "data has no task_id and questions; export what was imported from here", field=f"[{index}]"
            )
        for annotation in exported.get("annotations", ()):
            name = f"{annotator}-{annotation.get('completed_by', 0)}"
            labels.setdefault(name, []).append(_task_labels(data, annotation))
    return [Submission(name, tuple(entries)) for name, entries in sorted(labels.items())]


def picture_url(picture: object) -> str:
    """A posted image as something that a browser can show: a URL as it is, base64 as a data URL."""
    if not isinstance(picture, str) or not picture:
        return NO_PICTURE
    if picture.startswith(("http://", "https://", "data:image/")):
        return picture
    try:
        head = base64.b64decode(picture[:16], validate=True)
    except (ValueError, binascii.Error):
        return NO_PICTURE
    kind = next((kind for start, kind in PICTURES.items() if head.startswith(start)), None)
    return f"data:{kind};base64,{picture}" if kind else NO_PICTURE


def product_text(product: Mapping[str, Any], fields: FieldSpec | None) -> str:
    """Every column but the image, a line each; the texts first, if it is known which they are."""
    image = fields.image if fields else None
    first = [*fields.text] if fields else []
    columns = [*first, *(column for column in product if column not in (*first, image))]
    shown = {column: product.get(column) for column in columns}
    return "\n".join(f"{column}: {value}" for column, value in shown.items() if value not in (None, "", []))


def _task_labels(data: Mapping[str, Any], annotation: Mapping[str, Any]) -> TaskLabels:
    if annotation.get("was_cancelled"):
        return TaskLabels(str(data["task_id"]), skip="skipped in Label Studio")
    ticked: dict[str, set[str]] = {"yes": set(), "unsure": set()}
    for result in annotation.get("result", ()):
        ticked.get(result.get("from_name"), set()).update(result.get("value", {}).get("choices", ()))
    asked = [str(question["value"]) for question in data["questions"]]
    return TaskLabels(str(data["task_id"]), {name: _answer(name, ticked) for name in asked})


def _answer(class_name: str, ticked: Mapping[str, set[str]]) -> Answer:
    if class_name in ticked["unsure"]:
        return "unsure"
    return "yes" if class_name in ticked["yes"] else "no"
