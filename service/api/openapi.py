"""The OpenAPI document of the served bundle: its fields, its classes, and an example that works as it stands.

Showing it to people is left to `service.pages`.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import metadata
from typing import Any

from service.api.classify_api import DETAILS
from service.api.label_openapi import label_paths, label_schemas
from service.api.product_reader import (
    MAX_CATEGORY_CHARACTERS,
    MAX_CATEGORY_VALUES,
    MAX_ID_CHARACTERS,
    MAX_IMAGE_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    expectations,
)
from service.bundles.bundle import Manifest
from service.contracts import FieldSpec
from service.image_fetch import MAX_URL_LENGTH

Schema = dict[str, Any]
BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?$"
PLAIN_NUMBER = r"^(?:[+-]?[0-9]{1,200}(?:\.[0-9]{1,200})?)?$"
NO_NUL = r"^[^\x00]*$"
WRITTEN = ["string", "number", "boolean", "null"]  # a feed may write a number as text, and a text as a number

PROBLEMS = {
    400: "The body is no JSON in UTF-8, or the query has an unknown parameter",
    401: "An API key is needed, where the service has some",
    403: "The key is not for this route, or another site's page asks",
    405: "Another method than the route has",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "A product or a field is not what the catalogue's fields allow; errors names both",
    429: "More requests are waiting than can be answered soon; send it again later",
    500: "The request could not be answered",
    503: "No model is loaded, the label queue's store does not answer, or no room came free in time",
    507: "The label queue's disk is full, and nothing was stored",
}
READING = frozenset({401, 403, 503})  # what a request that says nothing but its path can meet
STORING = frozenset({507})  # what only the label queue's routes can meet


def openapi(manifest: Manifest, *, max_products: int, url_column: str | None = None) -> Schema:
    """Describe the routes, with the fields, classes and example of one bundle.

    Parameters
    ----------
    url_column : the field that may give a product's image by URL
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Winnow",
            "version": _version(),
            "description": f"Classifies products of the catalogue {manifest.catalogue}, by model {manifest.version}.",
        },
        "paths": {
            "/classify": {"post": _classify(manifest, max_products)},
            "/model": {"get": _get("What is served: fields, classes, members, metrics", "Model")},
            "/quality": {"get": _get("Live precision and recall, in all, per class and over time", "Quality")},
            "/openapi.json": {"get": _get("This document", None)},
            "/livez": {"get": _probe("The process is alive")},
            "/readyz": {"get": _probe("A model is loaded", not_ready=True)},
            "/metrics": {"get": _probe("Metrics in Prometheus' text format")},
            **label_paths(_problem_responses(PROBLEMS)),
        },
        "components": {"schemas": {**_schemas(manifest, url_column), **label_schemas()}},
    }


def example_product(manifest: Manifest) -> dict[str, Any]:
    """The bundle's example, in the order of the fields, ready to be posted."""
    known = {column: manifest.example[column] for column in manifest.fields.columns if column in manifest.example}
    known[manifest.fields.id] = str(known.get(manifest.fields.id) or "example-1")
    return known


def product_schema(fields: FieldSpec, url_column: str | None = None) -> Schema:
    """JSON Schema of one product."""
    words = expectations(fields, url_column)
    text = {"type": WRITTEN, "maxLength": MAX_TEXT_CHARACTERS, "pattern": NO_NUL}
    value = {"type": WRITTEN, "maxLength": MAX_CATEGORY_CHARACTERS, "pattern": NO_NUL}
    values = {"type": "array", "items": value, "maxItems": MAX_CATEGORY_VALUES}
    number = {"type": WRITTEN, "pattern": PLAIN_NUMBER}
    properties: dict[str, Schema] = {
        fields.id: {"type": ["string", "integer"], "minLength": 1, "maxLength": MAX_ID_CHARACTERS, "pattern": NO_NUL},
        **dict.fromkeys(fields.text, text),
        **{field.column: {"anyOf": [value, values]} for field in fields.categorical},
        **dict.fromkeys(fields.numerical, number),
    }
    if fields.image:
        properties[fields.image] = {
            "type": ["string", "null"],
            "contentEncoding": "base64",
            "pattern": BASE64,
            "maxLength": MAX_IMAGE_CHARACTERS,
        }
    if url_column:
        properties[url_column] = {"type": ["string", "null"], "maxLength": MAX_URL_LENGTH, "pattern": NO_NUL}
    described = {column: {**schema, "description": words[column]} for column, schema in properties.items()}
    return {"type": "object", "properties": described, "required": [fields.id], "additionalProperties": False}


def _classify(manifest: Manifest, max_products: int) -> Schema:
    detail = {
        "name": "detail",
        "in": "query",
        "description": "more about each product, with commas between",
        "style": "form",
        "explode": False,
        "schema": {"type": "array", "items": {"enum": list(DETAILS)}},
    }
    return {
        "operationId": "classify",
        "summary": f"Classify 1 to {max_products} products",
        "parameters": [detail],
        "requestBody": {"required": True, "content": {"application/json": _products(manifest, max_products)}},
        "responses": {
            "200": _json("One result a product, in their order", "Classification"),
            **_problem_responses(PROBLEMS.keys() - STORING),
        },
    }


def _products(manifest: Manifest, max_products: int) -> Schema:
    """The body of a request, with an example."""
    products = {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Product"},
        "minItems": 1,
        "maxItems": max_products,
    }
    body = {"type": "object", "properties": {"products": products}, "required": ["products"]}
    example = {"products": [example_product(manifest)]}
    return {"schema": {**body, "additionalProperties": False}, "example": example}


def _schemas(manifest: Manifest, url_column: str | None) -> dict[str, Schema]:
    result = {
        "type": "object",
        "properties": _result(list(manifest.taxonomy.classes)),
        "required": ["product_id", "probabilities", "positive", "uncertainty", "disagreement", "abstained"],
    }
    return {
        "Product": product_schema(manifest.fields, url_column),
        "Classification": {
            "type": "object",
            "properties": {"model_version": {"type": "string"}, "results": {"type": "array", "items": result}},
            "required": ["model_version", "results"],
        },
        "Model": {"type": "object", "required": ["version", "fields", "taxonomy", "members"]},
        "Quality": {"type": "object", "required": ["model_version", "macro", "classes", "self_check", "over_time"]},
        "Problem": _problem_schema(),
    }


def _result(classes: list[str]) -> dict[str, Schema]:
    """What is said of one product."""
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    per_class = {
        "type": "object",
        "properties": dict.fromkeys(classes, probability),
        "required": classes,
        "additionalProperties": False,
    }
    bits = {**probability, "description": "in bits; that of the class where it is highest"}
    names = {"type": "array", "items": {"type": "string"}}
    warning = {"type": "object", "properties": {"field": {"type": "string"}, "detail": {"type": "string"}}}
    return {
        "product_id": {"type": "string"},
        "probabilities": per_class,
        "positive": {"type": "array", "items": {"enum": classes}},
        "uncertainty": bits,
        "disagreement": bits,
        "abstained": {**names, "description": "members of which no modality was there"},
        "warnings": {"type": "array", "items": warning, "description": "only where there are some"},
        "members": {"type": "object", "additionalProperties": {"anyOf": [per_class, {"type": "null"}]}},
        "classes": {"type": "object", "description": "uncertainty and disagreement of each class"},
        "embedding": {"type": "array", "items": {"type": "number"}},
    }


def _problem_schema() -> Schema:
    fault = {
        "product": {"type": ["integer", "null"], "description": "position in the request, from 0"},
        "field": {"type": ["string", "null"]},
        "detail": {"type": "string"},
    }
    properties = {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object", "properties": fault}},
    }
    return {"type": "object", "properties": properties, "required": ["type", "title", "status", "detail"]}


def _problem_responses(statuses: Collection[int]) -> dict[str, Schema]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    described = {status: what for status, what in PROBLEMS.items() if status in statuses}
    return {str(status): {"description": what, "content": content} for status, what in described.items()}


def _get(summary: str, schema: str | None) -> Schema:
    return {"summary": summary, "responses": {"200": _json(summary, schema), **_problem_responses(READING)}}


def _json(description: str, schema: str | None) -> Schema:
    shape = {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}
    return {"description": description, "content": {"application/json": {"schema": shape}}}


def _probe(summary: str, *, not_ready: bool = False) -> Schema:
    responses: dict[str, Schema] = {"200": {"description": summary, "content": {"text/plain": {}}}}
    if not_ready:
        responses["503"] = {"description": "Not yet"}
    return {"summary": summary, "responses": responses}


def _version() -> str:
    try:
        return metadata.version("winnow")
    except metadata.PackageNotFoundError:  # run from its source, as in a bento
        return "0"
