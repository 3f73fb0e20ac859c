"""What `POST /classify` refuses: it names product and field, and repeats no value."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.posting import faults, post, post_text
from tests.tiny_bundle import EXAMPLE

SECRET = "do-not-repeat-me"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("colour", SECRET),
        ("price", SECRET),
        ("price", "1.299,90"),
        ("price", "1_000"),
        ("price", "inf"),
        ("price", "1e999"),
        ("price", [1]),
        ("title", [SECRET]),
        ("title", SECRET * 2000),
        ("title", SECRET + "\0"),
        ("brand", {"name": SECRET}),
        ("brand", 10**1000),
        ("merchant_category", [SECRET, {}]),
        ("merchant_category", [SECRET, "\0"]),
        ("merchant_category", ["x"] * 101),
        ("image", 3),
        ("image", SECRET),
        ("image", "aGVsbG8"),
        ("image", "data:image/png;base64,aGVsbG8="),
        ("image", "aGVs\nbG8="),
        ("image", "schön"),
        ("product_id", 7.5),
        ("product_id", True),
        ("product_id", None),
        ("product_id", 10**200),
        ("product_id", ""),
        ("product_id", "x" * 201),
        ("product_id", "a\0b"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not_repeated(client: TestClient, field: str, value: object) -> None:
    response = post(client, EXAMPLE, {**EXAMPLE, field: value})

    assert response.status_code == 422
    assert faults(response) == [(1, field)]
    assert SECRET not in response.text


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_a_number_must_be_finite(client: TestClient, number: str) -> None:
    response = post_text(client, f'{{"products": [{{"product_id": "a", "price": {number}}}]}}')

    assert response.status_code == 422
    assert faults(response) == [(0, "price")]


def test_a_missing_id_is_named(client: TestClient) -> None:
    response = post(client, {"title": "boots"})

    assert response.status_code == 422
    assert response.json()["errors"][0]["detail"] == (
        "is missing; it must be a string of 1 to 200 characters, or a whole number"
    )


def test_every_fault_is_listed_up_to_twenty(client: TestClient) -> None:
    response = post(client, *({"product_id": str(n), "price": "x", "size": 1} for n in range(30)))

    assert faults(response) == [(n, field) for n in range(10) for field in ("price", "size")]
    assert response.json()["detail"].endswith("(and 59 more)")


def test_an_escaped_backslash_before_u0000_is_no_nul(client: TestClient) -> None:
    response = post(client, {"product_id": "a", "title": "\\u0000"})

    assert response.status_code == 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"products": [{"product_id": "a"}]} x',
        '{"products": [{"product_id": "\\ud800"}]}',
        b'{"products": [{"product_id": "\xff"}]}',
        "[" * 5000,
    ],
)
def test_what_is_no_json_is_refused(client: TestClient, text: str | bytes) -> None:
    response = post_text(client, text)

    assert (response.status_code, response.json()["title"]) == (400, "invalid JSON")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "the body is no object"),
        ({}, "products is missing or no list"),
        ({"products": {}}, "products is missing or no list"),
        ({"products": []}, "there are no products"),
        ({"products": [EXAMPLE], "top": 1}, "top is no part of a request"),
        ({"products": [EXAMPLE] * 257}, "there are too many products"),
    ],
)
def test_a_body_of_another_shape_is_refused(client: TestClient, body: object, reason: str) -> None:
    response = client.post("/classify", json=body)

    assert response.status_code == 422
    assert response.json()["detail"] == f'{reason}; send {{"products": [{{…}}, …]}} with 1 to 256 products'


def test_a_product_that_is_no_object_is_named(client: TestClient) -> None:
    response = client.post("/classify", json={"products": [EXAMPLE, 3]})

    assert faults(response) == [(1, None)]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json"}, 200),
        ({"content-type": "application/json; charset=UTF-8"}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/json; charset=latin-1"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({}, 415),
    ],
)
def test_the_media_type_is_json_as_it_is(client: TestClient, headers: dict[str, str], status: int) -> None:
    body = json.dumps({"products": [EXAMPLE]}).encode()

    assert client.post("/classify", content=body, headers=headers).status_code == status


@pytest.mark.parametrize("query", ["?detail=all", "?limit=3", "?detail=members&x=1"])
def test_an_unknown_query_is_refused(client: TestClient, query: str) -> None:
    response = post(client, EXAMPLE, query=query)

    assert (response.status_code, response.json()["title"]) == (400, "invalid query")


def test_another_method_is_refused_with_the_one_allowed(client: TestClient) -> None:
    response = client.get("/classify")

    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.headers["content-type"] == "application/problem+json"


def test_a_body_that_announces_its_size_is_refused_unread(client: TestClient) -> None:
    headers = {"content-type": "application/json", "content-length": "10000001"}

    response = client.post("/classify", content=b"{}", headers=headers)

    assert (response.status_code, response.headers["connection"]) == (413, "close")


def test_a_body_without_size_is_read_no_further_than_the_limit(client: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 40_000_000:
            sent += 1_000_000
            yield b" " * 1_000_000

    response = client.post("/classify", content=endless(), headers={"content-type": "application/json"})

    assert response.status_code == 413
