"""The labelling routes as an ASGI application, over a queue of the test's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.label_api import LabelApi
from service.api.page_headers import PageHeaders
from service.api.pages_api import model_card
from service.api.problems import EXCEPTION_HANDLERS
from service.bundles.bundle import Manifest
from service.label_queue.store import LabelQueue
from service.pages.render import MEDIA_TYPES, asset


def labelling_app(queue: LabelQueue, manifest: Manifest | None, *, now: Callable[[], datetime]) -> Starlette:
    api = LabelApi(queue, served=lambda: manifest, now=now)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        return Response(asset(name), media_type=MEDIA_TYPES["." + name.rpartition(".")[2]])

    async def model(_: Request) -> Response:
        if manifest is None:
            raise HTTPException(503)
        return Response(to_json(model_card(manifest), inf_nan_mode="null"), media_type="application/json")

    routes = [*api.routes(), Route("/pages/{name}", file), Route("/model", model)]
    return Starlette(routes=routes, middleware=[Middleware(PageHeaders)], exception_handlers=EXCEPTION_HANDLERS)
