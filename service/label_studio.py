"""Label tasks in the form that Label Studio imports, and its labels in the form that the label queue takes.

`LABELLING_CONFIG` is the matching labelling interface: one ticks the asked classes that are true, and those that nobody
can tell; an asked class without a tick is answered no.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from service.contracts import FieldSpec
from service.errors import InvalidRequest
from service.label_queue.rows import Answer, Submission, Task, TaskLabels

LABELLING_CONFIG = """<View style="display: flex; flex-wrap: wrap; gap: 24px">
  <View style="flex: 1 1 320px">
    <Image name="picture" value="$image" maxWidth="420px"/>
    <Text name="text" value="$text"/>
  </View>
  <View style="flex: 1 1 320px">
    <Header value="Tick what is true of this product. What is not ticked is answered no."/>
    <Choices name="yes" toName="text" choice="multiple" value="$questions"/>
    <Header value="Tick what nobody could tell from what is shown."/>
    <Choices name="unsure" toName="text" choice="multiple" value="$questions"/>
  </View>
</View>
"""
PICTURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"RIFF": "image/webp"}
NO_PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"  # one transparent dot

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Loose(BaseModel):
    """What we read of a Label Studio export; it holds much more."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _Choices(_Loose):
    choices: tuple[str, ...] = ()


class _Result(_Loose):
    from_name: str = ""
    value: _Choices = _Choices()


class _Annotator(_Loose):
    id: int = 0
    email: str = ""


class _Annotation(_Loose):
    completed_by: int | _Annotator | None = None
    was_cancelled: bool = False
    result: tuple[_Result, ...] = ()


class _Asked(_Loose):
    value: Text


class _Data(_Loose):
    task_id: Text
    questions: tuple[_Asked, ...] = Field(min_length=1)


class _Exported(_Loose):
    data: _Data
    annotations: tuple[_Annotation, ...] = ()


_EXPORT = TypeAdapter(tuple[_Exported, ...])


def label_studio_task(task: Task, fields: FieldSpec | None) -> dict[str, Any]:
    """One task with its questions as choices, and those that the model answered with yes as a prediction."""
    positive = [asked.class_name for asked in task.questions if asked.positive]
    prediction = {
        "model_version": task.model_version,
        "result": [{"from_name": "yes", "to_name": "text", "type": "choices", "value": {"choices": positive}}],
    }
    column = fields.image if fields else _picture_column(task.product)
    data = {
        "task_id": task.id,
        "image": picture_url(task.product.get(column) if column else None),
        "text": product_text(task.product, fields),
        "questions": [{"value": asked.class_name} for asked in task.questions],
    }
    return {"data": data, "predictions": [prediction]}


def submissions(export: bytes, *, annotator: str) -> list[Submission]:
    """Turn Label Studio's JSON export into submissions, one for each annotation, in the order of the file.

    Parameters
    ----------
    annotator : prefix of the annotators' names; the person's number or e-mail address in Label Studio follows it

    Raises
    ------
    InvalidRequest
        If it is no such export, or one of tasks that do not come from this label queue.
    """
    try:
        exported = _EXPORT.validate_json(export)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise InvalidRequest(
            f"this is no JSON export of Label Studio of tasks that came from here: {first['msg']}",
            field=_path(first["loc"]),
        ) from error
    return [submission for task in exported for submission in _of_task(task, annotator)]


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
    image = fields.image if fields else _picture_column(product)
    first = [*fields.text] if fields else []
    columns = [*first, *(column for column in product if column not in (*first, image))]
    shown = {column: product.get(column) for column in columns}
    return "\n".join(f"{column}: {value}" for column, value in shown.items() if value not in (None, "", []))


def _picture_column(product: Mapping[str, Any]) -> str | None:
    """The column that holds a picture itself; which one may hold its URL, only a bundle's fields can tell."""
    return next((name for name, value in product.items() if picture_url(value) not in (NO_PICTURE, value)), None)


def _of_task(task: _Exported, annotator: str) -> Iterator[Submission]:
    for annotation in task.annotations:
        name = f"{annotator}-{_person(annotation.completed_by)}"
        yield Submission(name, (_task_labels(task.data, annotation),))


def _person(completed_by: int | _Annotator | None) -> str:
    if isinstance(completed_by, _Annotator):
        return completed_by.email or str(completed_by.id)
    return str(completed_by or 0)


def _task_labels(data: _Data, annotation: _Annotation) -> TaskLabels:
    if annotation.was_cancelled:
        return TaskLabels(data.task_id, skip="skipped in Label Studio")
    ticked: dict[str, set[str]] = {"yes": set(), "unsure": set()}
    for result in annotation.result:
        ticked.get(result.from_name, set()).update(result.value.choices)
    return TaskLabels(data.task_id, {asked.value: _answer(asked.value, ticked) for asked in data.questions})


def _answer(class_name: str, ticked: Mapping[str, set[str]]) -> Answer:
    if class_name in ticked["unsure"]:
        return "unsure"
    return "yes" if class_name in ticked["yes"] else "no"


def _path(parts: Iterable[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")
