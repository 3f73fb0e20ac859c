"""The labelling routes as an ASGI application, over a queue of the test's, and clients of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from service.api.label_api import LabelApi
from service.api.page_headers import PageHeaders
from service.api.pages_api import model_card
from service.api.problems import EXCEPTION_HANDLERS
from service.bundles.bundle import Manifest, read_manifest
from service.label_queue.store import LabelQueue
from service.pages.render import MEDIA_TYPES, asset
from tests.label_queue.queue_samples import NOON, make_cohort, make_task

RECORD = {"product_id": "p/1", "title": "Black shoe", "price": 12.5, "image": "aGk="}
LABEL = {"task_id": "t1", "answers": {"black": "yes"}}


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


class Clock:
    now = NOON

    def __call__(self) -> datetime:
        return self.now


@contextmanager
def two_tasks(queue: LabelQueue, bundle: Path, clock: Clock) -> Iterator[TestClient]:
    """A client of the queue's routes, where two tasks wait: t1, a black shoe, and t2."""
    queue.enqueue(
        [make_cohort(make_task("t1", product_id="p/1", product=RECORD), make_task("t2", priority=1.0))], now=NOON
    )
    with TestClient(labelling_app(queue, read_manifest(bundle), now=clock)) as client:
        yield client


def lease(client: TestClient, annotator: str = "ann", limit: int = 1) -> dict[str, Any]:
    response = client.post("/label-queue/lease", json={"annotator": annotator, "limit": limit})
    assert response.status_code == 200, response.text
    return dict(response.json())


def submit(client: TestClient, *labels: dict[str, Any], **body: Any) -> httpx.Response:
    key = {"Idempotency-Key": body.pop("key")} if "key" in body else {}
    sent = {"annotator": "ann", "labels": labels, **body}
    response: httpx.Response = client.post("/label-queue/labels", json=sent, headers=key)
    return response
