"""The pages and the OpenAPI document: made from the bundle, safe whatever the bundle holds, complete by themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.api.openapi import openapi
from service.api.product_reader import ProductReader
from service.app import BENTOML_ROUTES
from service.bundles.bundle import Manifest
from service.errors import (
    BodyTimedOut,
    BodyTooLarge,
    Forbidden,
    InvalidRequest,
    LeaseLost,
    NoBundle,
    Overloaded,
    QueueUnavailable,
    StorageFull,
    TooManyRequests,
    Unauthenticated,
    UnknownTask,
    WinnowError,
)
from service.pages.render import MEDIA_TYPES, asset, curl_command, docs_page, overview_page
from tests.served import Backend
from tests.tiny_bundle import CLASSES, EXAMPLE, FIELDS, MEMBERS, tiny_manifest

HOSTILE = "<script>alert('x')</script>\"&"


class Links(HTMLParser):
    """Collects what a page loads or links to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value for name, value in attrs if name in {"href", "src", "action"} and value]
        self.inline += [name for name, _ in attrs if name == "style" or name.startswith("on")]


def manifest_with(**changes: Any) -> Manifest:
    return Manifest.model_validate({**tiny_manifest("tiny-1"), "files": {}, **changes})


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_from_outside_and_every_link_works(client: TestClient, path: str) -> None:
    page = client.get(path)

    links = Links()
    links.feed(page.text)
    elsewhere = {"metrics"}  # answered by BentoML
    assert links.targets
    assert not links.inline
    for target in set(links.targets) - elsewhere:
        assert ":" not in target
        assert client.get(f"/{target.removeprefix('./')}").status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]


def test_the_overview_shows_what_is_served(client: TestClient) -> None:
    page = client.get("/").text

    for word in ("tiny-1", *CLASSES, *(member["name"] for member in MEMBERS), "0.500"):
        assert word in page


def test_the_documentation_names_every_field(client: TestClient) -> None:
    page = client.get("/docs").text

    assert all(f"<code>{column}</code>" in page for column in FIELDS.columns)


def test_what_a_catalogue_names_is_shown_as_text_whatever_it_is() -> None:
    manifest = manifest_with(
        catalogue=HOSTILE,
        fields={"id": HOSTILE, "text": ["$title"], "image": HOSTILE + "2"},
        taxonomy={"classes": [HOSTILE, "b", "c", "$d"]},
        example={HOSTILE: HOSTILE, "$title": HOSTILE},
    )

    for page in (overview_page(manifest), docs_page(manifest, url="http://x", max_products=256)):
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


def test_a_quote_in_the_example_does_not_end_the_shell_command() -> None:
    assert curl_command("http://x", {"a": "it's"}).endswith("""-d '{"a": "it'\\''s"}'""")


@pytest.mark.parametrize("name", ["nothing.css", "render.py", "../app.py", "frame.html"])
def test_only_assets_are_sent(client: TestClient, name: str) -> None:
    assert client.get(f"/pages/{name}").status_code == 404


def test_styles_and_scripts_name_no_other_site() -> None:
    for name in ("winnow.css", "docs.js", "winnow.svg"):
        without_namespace = asset(name).decode().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "//" not in re.sub(r"(?m)^//.*$", "", without_namespace)
        assert MEDIA_TYPES[name[name.rindex(".") :]]


def test_the_model_card_says_what_a_client_needs(client: TestClient) -> None:
    card = client.get("/model").json()

    assert card["version"] == "tiny-1"
    assert card["taxonomy"]["classes"] == list(CLASSES)
    assert card["thresholds"]["womens"] == 0.4
    assert card["fields"]["id"] == "product_id"
    assert card["members"][1] == {"name": "tabular", "kind": "trees", "modalities": ["categorical", "numerical"]}


def test_every_reference_of_the_openapi_document_resolves(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    references = list(_values(document, "$ref"))
    assert references
    for reference in references:
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


@pytest.mark.parametrize(
    ("method", "path", "errors"),
    [
        ("post", "/classify", [BodyTimedOut, BodyTooLarge, TooManyRequests, Overloaded]),
        ("post", "/label-queue/lease", [BodyTimedOut, BodyTooLarge, QueueUnavailable, StorageFull]),
        ("post", "/label-queue/labels", [BodyTimedOut, QueueUnavailable, StorageFull, UnknownTask, LeaseLost]),
        ("post", "/label-queue/extend", [BodyTimedOut, QueueUnavailable, StorageFull, LeaseLost]),
        ("post", "/label-queue/release", [BodyTimedOut, QueueUnavailable, StorageFull, LeaseLost]),
        ("delete", "/label-queue/products/{product_id}", [BodyTimedOut, QueueUnavailable, StorageFull]),
        ("get", "/label-queue", [InvalidRequest, QueueUnavailable]),
        ("get", "/label-queue/stats", [QueueUnavailable]),
        ("get", "/label-queue/labelling-config", []),
        ("get", "/quality", [QueueUnavailable]),
        ("get", "/model", [NoBundle]),
    ],
)
def test_every_error_that_a_route_can_meet_is_documented(
    client: TestClient, method: str, path: str, errors: list[type[WinnowError]]
) -> None:
    met: list[type[WinnowError]] = [Unauthenticated, Forbidden, *errors]

    responses = client.get("/openapi.json").json()["paths"][path][method]["responses"]

    assert {str(error.status) for error in met} <= set(responses)


def test_the_documentation_says_what_each_status_means(client: TestClient) -> None:
    page = client.get("/docs").text

    assert "<td>408</td><td>The body did not arrive in time</td>" in page
    assert "<td>507</td>" in page


def test_every_documented_route_but_bentomls_is_there(client: TestClient, backend: Backend) -> None:
    document = client.get("/openapi.json").json()

    served = {
        (route.path.replace(":path", ""), method.lower())
        for route in backend.routes
        for method in route.methods or ()
        if method != "HEAD"
    }
    documented = {(path, method) for path, methods in document["paths"].items() for method in methods}
    ours = {(path, method) for path, method in documented if path not in BENTOML_ROUTES}
    pages = {"/", "/docs", "/label", "/pages/{name}"}
    assert ours == {(path, method) for path, method in served if path not in pages}


def test_the_example_is_accepted_and_its_answer_has_the_documented_parts(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    example = document["paths"]["/classify"]["post"]["requestBody"]["content"]["application/json"]["example"]

    answer = client.post("/classify?detail=members,classes,embedding", json=example).json()

    schema = document["components"]["schemas"]["Classification"]
    result = schema["properties"]["results"]["items"]
    assert set(answer) == set(schema["properties"])
    assert set(answer["results"][0]) == set(result["properties"]) - {"warnings"}
    assert set(result["required"]) <= set(answer["results"][0])
    assert list(answer["results"][0]["probabilities"]) == result["properties"]["probabilities"]["required"]


def test_the_documented_fields_are_those_that_are_read() -> None:
    manifest = manifest_with()
    product = openapi(manifest, max_products=3)["components"]["schemas"]["Product"]

    read = ProductReader(FIELDS, max_products=3).read(json.dumps({"products": [EXAMPLE]}).encode())

    assert read.records == [EXAMPLE]
    assert tuple(product["properties"]) == FIELDS.columns
    assert product["required"] == [FIELDS.id]


@pytest.mark.parametrize(
    ("text", "status"), [("1299.90", 200), ("", 200), ("1.299,90", 422), ("1_000", 422), ("inf", 422)]
)
def test_the_documented_pattern_of_a_number_fits_the_texts_that_are_read(
    client: TestClient, text: str, status: int
) -> None:
    product = client.get("/openapi.json").json()["components"]["schemas"]["Product"]

    response = client.post("/classify", json={"products": [{"product_id": 7, "price": text}]})

    assert response.status_code == status
    assert bool(re.search(product["properties"]["price"]["pattern"], text)) == (status == 200)


def _values(node: object, key: str) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            else:
                yield from _values(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, key)
