"""Headers of every answer: what a page may load and who may frame it, written in one place."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from service.api.page_headers import PageHeaders, content_security_policy
from tests.asgi import Exchange, answer_ok, scope


def test_pages_get_a_policy_that_lets_nothing_foreign_in() -> None:
    exchange = Exchange([{"type": "http.request", "body": b""}])

    asyncio.run(PageHeaders(answer_ok, image_hosts=["cdn.shop.example"])(scope(), exchange.receive, exchange.send))

    policy = dict(part.split(" ", 1) for part in exchange.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data: https://cdn.shop.example"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert exchange.headers["x-content-type-options"] == "nosniff"
    assert exchange.headers["referrer-policy"] == "no-referrer"


def test_answers_for_programs_alone_come_without() -> None:
    exchange = Exchange([{"type": "http.request", "body": b""}])
    bare = PageHeaders(answer_ok, bare={"/classify"})

    asyncio.run(bare(scope(path="/classify"), exchange.receive, exchange.send))

    assert "content-security-policy" not in exchange.headers


def test_a_header_that_the_application_set_is_kept() -> None:
    async def own(_: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Referrer-Policy", b"origin")]})
        await send({"type": "http.response.body", "body": b""})

    exchange = Exchange()

    asyncio.run(PageHeaders(own)(scope(), exchange.receive, exchange.send))

    assert exchange.headers["Referrer-Policy"] == "origin"
    assert "referrer-policy" not in exchange.headers


def test_no_policy_allows_inline_or_evaluated_code() -> None:
    assert "unsafe" not in content_security_policy(["a.example"])


def test_the_policy_is_written_in_one_place() -> None:
    service = Path(__file__).parent.parent / "service"

    naming = [path.name for path in service.rglob("*.py") if "content-security-policy" in path.read_text().lower()]

    assert naming == ["page_headers.py"]
