"""The same application under plain uvicorn: what remains is what BentoML costs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from service.app import create_app, guarded
from service.settings import Settings
from service.telemetry.metrics import Metrics


@asynccontextmanager
async def _lifespan(outer: Starlette) -> AsyncIterator[None]:
    metrics = Metrics()
    inner = create_app(settings, metrics)
    outer.state.guarded = guarded(inner, settings, on_refusal=metrics.requests.refused)
    async with inner.router.lifespan_context(inner):
        yield


settings = Settings.from_env(os.environ)
_outer = Starlette(lifespan=_lifespan)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request; the parts are made when the server starts."""
    await (_outer if scope["type"] == "lifespan" else _outer.state.guarded)(scope, receive, send)
