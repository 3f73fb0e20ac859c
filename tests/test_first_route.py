"""The route that comes before the framework, and all others behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.api.first_route import FirstRoute
from tests.asgi import Exchange, body, scope


class Layer:
    """Middleware that notes the paths that come through it."""

    passed: list[str]

    def __init__(self, app: Any, passed: list[str]) -> None:
        self._app = app
        self._passed = passed

    async def __call__(self, request: Any, receive: Any, send: Any) -> None:
        self._passed.append(request["path"])
        await self._app(request, receive, send)


@pytest.mark.parametrize(
    ("method", "path", "answer", "passed"),
    [
        ("POST", "/quick", b"first", []),
        ("GET", "/quick", b"Method Not Allowed", ["/quick"]),
        ("POST", "/quick/more", b"Not Found", ["/quick/more"]),
        ("GET", "/usual", b"usual", ["/usual"]),
    ],
)
def test_one_method_and_path_passes_by_the_layers(method: str, path: str, answer: bytes, passed: list[str]) -> None:
    async def usual(_: Any) -> PlainTextResponse:
        return PlainTextResponse("usual")

    seen: list[str] = []
    quick = PlainTextResponse("first")
    routes = [Route("/usual", usual), Route("/quick", quick, methods=["POST"])]
    app = FirstRoute(method="POST", path="/quick", first=quick, routes=routes, middleware=[Middleware(Layer, seen)])
    exchange = Exchange(body([]))

    asyncio.run(app({**scope(method, path), "query_string": b""}, exchange.receive, exchange.send))

    assert exchange.sent[1]["body"] == answer
    assert seen == passed
