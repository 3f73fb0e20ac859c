"""The label queue's part of the OpenAPI document, made from the types that read its requests.

The rest of the document is left to `service.api.openapi`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from service.api.label_requests import (
    ExtendRequest,
    KeyHeader,
    LabelsRequest,
    LeaseRequest,
    LookQuery,
    ProductId,
    ReleaseRequest,
)

Schema = dict[str, Any]

_REF = "#/components/schemas/{model}"
_QUESTION = {
    "type": "object",
    "properties": {
        "class": {"type": "string"},
        "probability": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "reason": {"type": "string", "description": "why this is asked"},
        "answers": {"type": "object", "description": "what annotators have said, where some have"},
    },
    "required": ["class", "probability", "reason"],
}
_TASK = {
    "type": "object",
    "properties": {
        "task_id": {"type": "string"},
        "product": {"type": "object", "description": "as it was posted"},
        "questions": {"type": "array", "items": _QUESTION},
        "model_version": {"type": "string"},
    },
    "required": ["task_id", "product", "questions", "model_version"],
}
_LEASED: Schema = {"lease_token": {"type": "string"}, "expires_at": {"type": "string", "format": "date-time"}}
_LEASE = "Lease tasks for an annotator"
_RELEASE = "Give tasks back unlabelled"
_WRITING = ("408", "507")  # met only by what has a body, or stores something
_TASKS: Schema = {"type": "array", "items": {"$ref": "#/components/schemas/LabelTask"}}


def label_paths(problems: Mapping[str, Schema]) -> dict[str, Schema]:
    """The queue's routes.

    Parameters
    ----------
    problems : responses of every route, by status
    """
    ids = {"type": "array", "items": {"type": "string"}}
    leased = _answer({**_LEASED, "tasks": _TASKS})
    extended = _answer({**_LEASED, "task_ids": ids})
    released = _answer({"released": _count()})
    return {
        "/label-queue": {"get": _look(problems)},
        "/label-queue/lease": {"post": _post("leaseLabelTasks", _LEASE, LeaseRequest, leased, problems)},
        "/label-queue/labels": {"post": _submit(problems)},
        "/label-queue/extend": {"post": _post("extendLease", "Take more time", ExtendRequest, extended, problems)},
        "/label-queue/release": {"post": _post("releaseTasks", _RELEASE, ReleaseRequest, released, problems)},
        "/label-queue/stats": {"get": _stats(problems)},
        "/label-queue/labelling-config": {"get": _labelling_config(problems)},
        "/label-queue/products/{product_id}": {"delete": _forget(problems)},
    }


def label_schemas() -> dict[str, Schema]:
    """The queue's shapes."""
    schemas: dict[str, Schema] = {"LabelTask": _TASK}
    for model in (LeaseRequest, LabelsRequest, ExtendRequest, ReleaseRequest):
        schema = model.model_json_schema(ref_template=_REF)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return schemas


def _look(problems: Mapping[str, Schema]) -> Schema:
    met = {status: problem for status, problem in problems.items() if status not in _WRITING}
    look = _operation("lookAtLabelQueue", "Look at the tasks that wait; nothing changes", _looked(), met)
    return {**look, "parameters": list(_parameters(LookQuery, "query"))}


def _submit(problems: Mapping[str, Schema]) -> Schema:
    accepted = _answer({"accepted": _count()})
    submit = _post("submitLabels", "Submit labels, all or none", LabelsRequest, accepted, problems)
    submit["responses"]["404"] = {**problems["422"], "description": "There is no such task"}
    return {**submit, "parameters": list(_parameters(KeyHeader, "header"))}


def _stats(problems: Mapping[str, Schema]) -> Schema:
    met = {status: problems[status] for status in ("401", "403", "503")}
    return _operation("countLabelQueue", "Count tasks, questions and answers", _answer(_counts()), met)


def _labelling_config(problems: Mapping[str, Schema]) -> Schema:
    met = {status: problems[status] for status in ("401", "403")}
    return _operation("getLabellingConfig", "The labelling interface for Label Studio", _xml(), met)


def _forget(problems: Mapping[str, Schema]) -> Schema:
    deleted = _answer({"deleted": _count()})
    forget = _operation("forgetProduct", "Forget a product as it was posted", deleted, problems)
    forget["responses"]["404"] = {**problems["422"], "description": "Nothing can have such an id"}
    return {**forget, "parameters": list(_parameters(ProductId, "path"))}


def _post(
    operation_id: str, summary: str, model: type[BaseModel], answer: Schema, problems: Mapping[str, Schema]
) -> Schema:
    schema = {"$ref": _REF.format(model=model.__name__)}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    met = {**problems, "409": {**problems["422"], "description": "The lease is no longer held"}}
    return {**_operation(operation_id, summary, answer, met), "requestBody": body}


def _operation(operation_id: str, summary: str, answer: Schema, problems: Mapping[str, Schema]) -> Schema:
    return {"operationId": operation_id, "summary": summary, "responses": {"200": answer, **problems}}


def _parameters(model: type[BaseModel], place: str) -> Iterator[Schema]:
    schema = model.model_json_schema()
    for name, properties in schema["properties"].items():
        yield {"name": name, "in": place, "required": name in schema.get("required", ()), "schema": properties}


def _looked() -> Schema:
    page = {"type": "object", "properties": {"tasks": _TASKS, "next_cursor": {"type": ["string", "null"]}}}
    either = {"anyOf": [page, {"type": "array", "description": "for Label Studio", "items": {"type": "object"}}]}
    content = {"application/json": {"schema": either}, "application/jsonl": {"schema": {"type": "string"}}}
    return {"description": "A page of tasks, best first", "content": content}


def _xml() -> Schema:
    return {"description": "Its XML", "content": {"application/xml": {"schema": {"type": "string"}}}}


def _answer(properties: Schema) -> Schema:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"description": "Done", "content": {"application/json": {"schema": schema}}}


def _count() -> Schema:
    return {"type": "integer", "minimum": 0}


def _counts() -> dict[str, Schema]:
    names = ("open", "leased", "lapsed", "completed", "withdrawn", "questions", "answers", "conflicts")
    error = {"name": {"type": "string"}, "error": {"type": "number"}, "shared": _count()}
    annotators = {"type": "array", "items": {"type": "object", "properties": error, "required": list(error)}}
    numbers = {name: {"type": ["number", "null"]} for name in ("agreement", "oldest_open_seconds")}
    newest = {"type": ["string", "null"], "format": "date-time"}
    return {**dict.fromkeys(names, _count()), **numbers, "newest_answer_at": newest, "annotators": annotators}
