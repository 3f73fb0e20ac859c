"""The composition root of the service: settings, routes, and BentoML around them.

`create_app` is a plain ASGI application for tests and tools; `Winnow` is what `bentoml serve service.app:Winnow` runs.
What a worker is made of is left to `service.worker`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import bentoml
import click
from _bentoml_sdk import Service
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.access import AccessGuard, KeyRing, check_binding, parse_keys
from service.api.bodies import BodyReader
from service.api.classify_api import ClassifyApi
from service.api.first_route import FirstRoute
from service.api.guards import Admission, Guards, Reason
from service.api.label_api import LabelApi
from service.api.page_headers import PageHeaders
from service.api.pages_api import PagesApi
from service.api.problems import EXCEPTION_HANDLERS, Border, problem
from service.api.quality_api import QualityApi
from service.classifier import Classifier
from service.collector import settle
from service.image_fetch import ImageFetcher, parse_hosts
from service.settings import Settings
from service.telemetry.logs import configure_logging
from service.telemetry.metrics import Metrics
from service.telemetry.metrics_directory import join_directory, open_directory
from service.worker import Worker, make_worker, running

METRICS = "/metrics"
# BentoML answers these, for all its workers; everything else is ours and passes it by.
BENTOML_ROUTES = frozenset({METRICS, "/livez", "/readyz", "/healthz", "/schema.json"})

CLASSIFY = "/classify"
READING = ("GET", "HEAD")  # methods that BentoML's routes know

# The C library raises its own limit once a large block was freed, and keeps such blocks from then on: decoding a few
# large images in two threads left 120 MB behind. A fixed limit, in bytes, lets each go back when it is freed.
LARGE_ALLOCATIONS = ("MALLOC_MMAP_THRESHOLD_", "4000000")
LOOPBACK = "127.0.0.1"


def create_app(
    settings: Settings,
    metrics: Metrics,
    *,
    fetcher: ImageFetcher | None = None,
    on_loaded: Callable[[], None] = lambda: None,
) -> Starlette:
    """The whole service as an ASGI application; its lifespan loads the current bundle.

    Parameters
    ----------
    fetcher : of images by URL, by default the one that the settings ask for
    on_loaded : called when a bundle has been loaded
    """
    fetcher = fetcher or ImageFetcher(parse_hosts(settings.image_hosts), timeout_seconds=settings.image_seconds)
    worker = make_worker(settings, metrics, fetcher=fetcher)
    classify = ClassifyApi(worker.classifier, worker.images, max_products=settings.max_products)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with running(worker, settings, metrics, on_loaded=on_loaded):
            yield
        metrics.write()

    app = FirstRoute(
        method="POST",
        path=CLASSIFY,
        first=Border(classify, metrics.requests, route=CLASSIFY),
        routes=[Route(CLASSIFY, classify, methods=["POST"]), *_other_routes(worker, settings, metrics)],
        middleware=[Middleware(Border, metrics=metrics.requests)],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
    app.state.classifier = worker.classifier
    app.state.metrics = metrics
    return app


def guarded(app: ASGIApp, settings: Settings, *, on_refusal: Callable[[Reason], None]) -> ASGIApp:
    """What a request passes before the application: headers for its answer, its key, its body, a slot."""
    bodies = BodyReader(
        max_body_bytes=settings.max_body_bytes,
        max_total_bytes=settings.max_held_bytes,
        read_seconds=settings.body_seconds,
    )
    admission = Admission(
        n_running=settings.max_running, n_waiting=settings.max_waiting, wait_seconds=settings.wait_seconds
    )
    inside = Guards(app, bodies=bodies, admission=admission, needs_slot=_needs_slot, on_refusal=on_refusal)
    known = AccessGuard(inside, key_ring(settings))
    return PageHeaders(known, image_hosts=parse_hosts(settings.image_hosts), bare=frozenset({CLASSIFY}))


def key_ring(settings: Settings) -> KeyRing:
    """The live API keys.

    Raises
    ------
    SettingsError
        If they are not of the form that WINNOW_API_KEYS has.
    """
    return KeyRing(parse_keys(settings.api_keys.get_secret_value()))


def _other_routes(worker: Worker, settings: Settings, metrics: Metrics) -> list[BaseRoute]:
    labels = LabelApi(worker.queue, served=worker.manifest, on_labels=metrics.queue.labelled)
    quality = QualityApi(worker.queue, served=worker.manifest)
    pages = PagesApi(worker.classifier, worker.images, max_products=settings.max_products)
    return [
        *labels.routes(),
        *quality.routes(),
        Route("/model", pages.model, methods=["GET"]),
        Route("/openapi.json", pages.openapi, methods=["GET"]),
        Route("/docs", pages.docs, methods=["GET"]),
        Route("/", pages.overview, methods=["GET"]),
        Route("/pages/{name}", pages.file, methods=["GET"]),
    ]


def _needs_slot(method: str, path: str) -> bool:
    return method == "POST" and path == CLASSIFY


@asynccontextmanager
async def _composed(outer: Starlette) -> AsyncIterator[None]:
    settings = Settings.from_env(os.environ)
    configure_logging(settings.log_level)
    inner = create_app(settings, Metrics(), on_loaded=settle)
    async with inner.router.lifespan_context(inner):
        outer.state.inner = inner
        yield


async def _pass_on(scope: Scope, receive: Receive, send: Send) -> None:
    await application.state.inner(scope, receive, send)


def _count_refusal(reason: Reason) -> None:
    application.state.inner.state.metrics.requests.refused(reason)


def _requested_host() -> str | None:
    """The address that `bentoml serve --host` or BENTOML_HOST names; BentoML tells its services no other way."""
    context = click.get_current_context(silent=True)
    return context.params.get("host") if context else None


# Nothing is read or opened at import: settings and parts are made when a worker starts.
application = Starlette(routes=[Mount("/", app=_pass_on)], lifespan=_composed)


class WinnowService(Service[Any]):  # type: ignore[misc]  # BentoML's class is untyped here
    """A BentoML service whose own routes come before BentoML's middleware, which costs more than a small request.

    BentoML keeps starting the workers, the lifespan, and the routes of `BENTOML_ROUTES`.
    """

    def inject_config(self) -> None:
        """Take workers and address from our settings; called once the service is to run, not at import.

        Raises
        ------
        SettingsError
            If it is to listen elsewhere than on loopback, and has no keys; if a key or an image host is malformed.
        """
        settings = Settings.from_env(os.environ)
        parse_hosts(settings.image_hosts)
        keys = key_ring(settings)
        self.config["workers"] = settings.workers
        if not keys:
            self.config["http"] = {"host": LOOPBACK}  # where BentoML's own default is every address
        check_binding(_requested_host() or LOOPBACK, keys)
        super().inject_config()

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The application that a worker runs."""
        join_directory(os.environ)
        around: ASGIApp = super().to_asgi(is_main=is_main)

        async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] not in BENTOML_ROUTES:
                await (around if scope["type"] != "http" else _pass_on)(scope, receive, send)
            elif scope["method"] in READING:
                if scope["path"] == METRICS:
                    application.state.inner.state.metrics.write()
                await around(scope, receive, send)
            else:
                await problem(405, "method not allowed", "this is only read", headers={"allow": ", ".join(READING)})(
                    scope, receive, send
                )

        return guarded(dispatch, Settings.from_env(os.environ), on_refusal=_count_refusal)


@bentoml.service(name="winnow", service_class=WinnowService)
@bentoml.asgi_app(application, path="/")
class Winnow:
    """Classifies products, and knows which of its answers are worth a human look."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # BentoML has no types here
    @staticmethod
    def prepare_workers() -> None:
        """Tell the workers, before the first of them starts, where their metrics go and how to give memory back."""
        open_directory(os.environ)
        os.environ.setdefault(*LARGE_ALLOCATIONS)

    def __is_ready__(self) -> bool:
        """Whether a bundle is loaded; BentoML answers `/readyz` with it."""
        classifier: Classifier = application.state.inner.state.classifier
        return classifier.ready
