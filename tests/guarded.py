"""The guards around an application whose answers a test releases."""

from __future__ import annotations

import asyncio
from typing import Any

from service.api.bodies import BodyReader
from service.api.guards import Admission, Guards
from tests.asgi import Exchange, answer_ok, body, scope


class Harness:
    """Guards around an application whose answers the test releases."""

    def __init__(
        self,
        *,
        n_running: int = 2,
        n_waiting: int = 2,
        wait_seconds: float = 60.0,
        read_seconds: float = 60.0,
        max_body_bytes: int = 100,
        max_total_bytes: int = 1000,
    ) -> None:
        self.released = asyncio.Event()
        self.bodies = BodyReader(
            max_body_bytes=max_body_bytes, max_total_bytes=max_total_bytes, read_seconds=read_seconds
        )
        self.admission = Admission(n_running=n_running, n_waiting=n_waiting, wait_seconds=wait_seconds)
        self.reasons: list[str] = []
        self.guards = Guards(
            self._app,
            bodies=self.bodies,
            admission=self.admission,
            needs_slot=lambda method, path: path == "/classify",
            on_refusal=self.reasons.append,
        )

    async def _app(self, request: Any, receive: Any, send: Any) -> None:
        if request["path"] == "/classify":
            await self.released.wait()
        await answer_ok(request, receive, send)

    async def post(self, messages: list[Any], *, path: str = "/classify", **headers: str) -> Exchange:
        exchange = Exchange(messages)
        request = scope("POST", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        await self.guards(request, exchange.receive, exchange.send)
        return exchange

    def start(self, n_requests: int) -> list[asyncio.Task[Exchange]]:
        return [asyncio.create_task(self.post(body([b"{}"]))) for _ in range(n_requests)]


async def settle() -> None:
    """Let every task run until it waits for something that is not there."""
    for _ in range(10):
        await asyncio.sleep(0)
