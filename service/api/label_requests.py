"""What may stand in the label queue's requests, to the letter; what they do is left to `service.api.label_api`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from service.contracts import Frozen
from service.errors import InvalidRequest
from service.label_queue.rows import Answer, Submission, TaskLabels

NO_CONTROL = r"^[^\x00-\x1f\x7f]+$"  # PostgreSQL cannot keep a NUL, and nobody means the others
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=NO_CONTROL)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_CONTROL)]
Whole = Annotated[
    int, BeforeValidator(lambda value: int(value) if isinstance(value, float) and value % 1 == 0 else value)
]
Remark = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]+$")]

Model = TypeVar("Model", bound=BaseModel)

_EITHER: list[JsonValue] = [
    {"required": [given], "properties": {given: {"not": {"type": "null"}}, other: {"type": "null"}}}
    for given, other in (("answers", "skip"), ("skip", "answers"))
]


class LeaseRequest(Frozen):
    """Body of `POST /label-queue/lease`."""

    annotator: Name
    limit: Whole = Field(default=10, ge=1, le=200)
    overlap: Whole = Field(default=1, ge=1, le=9)


class LabelEntry(Frozen):
    """Labels of one task: answers, or a reason for having none."""

    model_config = ConfigDict(json_schema_extra={"oneOf": _EITHER})

    task_id: Key
    answers: dict[Key, Answer] | None = Field(
        default=None, min_length=1, max_length=2000, json_schema_extra={"propertyNames": {"pattern": NO_CONTROL}}
    )
    skip: Remark | None = None

    @model_validator(mode="after")
    def _check_one(self) -> LabelEntry:
        if (self.answers is None) == (self.skip is None):
            raise ValueError("give either answers or skip")
        return self


class LabelsRequest(Frozen):
    """Body of `POST /label-queue/labels`."""

    annotator: Name
    lease_token: Key | None = None
    labels: tuple[LabelEntry, ...] = Field(min_length=1, max_length=1000, json_schema_extra={"uniqueItems": True})

    @model_validator(mode="after")
    def _check_unique(self) -> LabelsRequest:
        if len({entry.task_id for entry in self.labels}) < len(self.labels):
            raise ValueError("each task can stand in labels once")
        return self

    def submission(self, *, key: str | None, known_classes: Iterable[str]) -> Submission:
        """What the store takes."""
        return Submission(
            annotator=self.annotator,
            labels=tuple(TaskLabels(entry.task_id, entry.answers or {}, entry.skip) for entry in self.labels),
            lease_token=self.lease_token,
            key=key,
            known_classes=frozenset(known_classes),
        )


class ExtendRequest(Frozen):
    """Body of `POST /label-queue/extend`; `with_tasks` brings the tasks along, for a page that was loaded anew."""

    annotator: Name
    lease_token: Key
    with_tasks: bool = False


class ReleaseRequest(Frozen):
    """Body of `POST /label-queue/release`; without `task_ids` the whole lease goes."""

    annotator: Name
    lease_token: Key
    task_ids: tuple[Key, ...] | None = Field(default=None, max_length=1000)


class LookQuery(Frozen):
    """Query of `GET /label-queue`."""

    limit: int = Field(default=50, ge=1, le=500)
    cursor: Key | None = None
    class_name: Key | None = Field(default=None, alias="class")
    state: Literal["open", "leased", "completed", "withdrawn", "conflict"] = "open"
    min_score: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    min_age_seconds: float | None = Field(default=None, ge=0, le=1e9, allow_inf_nan=False)
    format: Literal["json", "jsonl", "label-studio"] = "json"


class ProductId(Frozen):
    """The last part of `DELETE /label-queue/products/…`."""

    product_id: Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=NO_CONTROL)]


class KeyHeader(Frozen):
    """The header `Idempotency-Key`."""

    idempotency_key: Key | None = Field(default=None, alias="Idempotency-Key")


def read_json(model: type[Model], body: bytes) -> Model:
    """Validate a JSON body strictly: "10" is no number here.

    Raises
    ------
    InvalidRequest
        Naming the field, never its value.
    """
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise _invalid(error, model) from error


def read_texts(model: type[Model], texts: Mapping[str, str]) -> Model:
    """Validate values that come as text: a query's or a header's.

    Raises
    ------
    InvalidRequest
        Naming the field, never its value.
    """
    try:
        return model.model_validate(texts)
    except ValidationError as error:
        raise _invalid(error, model) from error


def _invalid(error: ValidationError, model: type[BaseModel]) -> InvalidRequest:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = _path(first)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "there is a name that is not known here"
        if len(first["loc"]) == 1:
            known = (field.alias or name for name, field in model.model_fields.items())
            message += f"; known are {', '.join(known)}"
    if first["type"] == "json_invalid":
        message = "the body is no JSON"
    return InvalidRequest(f"{field}: {message}" if field else message, field=field)


def _path(error: ErrorDetails) -> str | None:
    """Where, as in labels[3].answers: only names of ours, since an unknown one is somebody's input."""
    places = list(error["loc"])
    if error["type"] == "extra_forbidden":
        places.pop()
    path = ""
    for place in places:
        path += f"[{place}]" if isinstance(place, int) else f".{place}"
        if place == "answers":  # what follows is the name of a class
            break
    return path.lstrip(".") or None
