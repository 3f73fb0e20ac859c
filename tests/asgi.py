"""Calling an ASGI application by hand, where a test needs to say which message arrives when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Message = Any


@dataclass
class Exchange:
    """One request with its answer; the body arrives in `messages`, and after them nothing ever does."""

    messages: list[Message] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop(0)
        return await asyncio.Event().wait()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(self.sent[1]["body"])
        return document


def scope(
    method: str = "GET",
    path: str = "/",
    *,
    headers: dict[str, str] | None = None,
    server: tuple[str, int | None] = ("127.0.0.1", 3000),
) -> dict[str, Any]:
    named = {"host": "localhost:3000"} | (headers or {})
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    return {"type": "http", "method": method, "path": path, "headers": raw, "server": server}


def body(chunks: Iterable[bytes], *, complete: bool = True) -> list[Message]:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if complete:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    return messages


async def answer_ok(_: Any, receive: Any, send: Any) -> None:
    """An application that answers 200 with the body it got."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message.get("body", b"")})
