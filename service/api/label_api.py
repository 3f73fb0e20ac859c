"""`/label-queue`: look, lease, label, extend, release, count, delete; and `/label`, the page that does it by keyboard.

What a request may hold is left to `service.api.label_requests`, what it does to `service.label_queue`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from service.api.classify_api import check_media_type
from service.api.label_requests import (
    ExtendRequest,
    KeyHeader,
    LabelsRequest,
    LeaseRequest,
    LookQuery,
    ProductId,
    ReleaseRequest,
    read_json,
    read_texts,
)
from service.bundles.bundle import Manifest
from service.errors import InvalidRequest
from service.label_queue.reading import Filters
from service.label_queue.rows import Lease, Page, Question, Stats, Task, TaskLabels
from service.label_queue.store import LabelQueue
from service.label_studio import LABELLING_CONFIG, label_studio_task
from service.pages.render import asset
from service.quality.annotator_error import AnnotatorError, annotator_errors

N_THREADS = 8  # that wait for the store; as many as it has connections
CONFIG_PATH = "/label-queue/labelling-config"

Result = TypeVar("Result")


class LabelApi:
    """The routes of the data team, over one label queue.

    Parameters
    ----------
    served : returns the manifest of the served bundle, None while there is none: its classes may be answered even
        where they were not asked
    on_labels : told the answers that were stored, and the served classes, for a metric
    """

    def __init__(
        self,
        queue: LabelQueue,
        *,
        served: Callable[[], Manifest | None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_labels: Callable[[Sequence[TaskLabels], Sequence[str]], None] = lambda *_: None,
    ) -> None:
        self._queue = queue
        self._on_labels = on_labels
        self._served = served
        self._now = now
        self._threads = CapacityLimiter(N_THREADS)

    def routes(self) -> list[BaseRoute]:
        """The routes, to be mounted at the root."""
        return [
            Route("/label-queue", self.look, methods=["GET"]),
            Route("/label-queue/lease", self.lease, methods=["POST"]),
            Route("/label-queue/labels", self.submit, methods=["POST"]),
            Route("/label-queue/extend", self.extend, methods=["POST"]),
            Route("/label-queue/release", self.release, methods=["POST"]),
            Route("/label-queue/stats", self.stats, methods=["GET"]),
            Route(CONFIG_PATH, self.labelling_config, methods=["GET"]),
            Route("/label-queue/products/{product_id:path}", self.delete_product, methods=["DELETE"]),
            Route("/label", self.page, methods=["GET"]),
        ]

    async def look(self, request: Request) -> Response:
        """Show a page of the queue; nothing changes."""
        query = read_texts(LookQuery, dict(request.query_params))
        filters = Filters(query.state, query.class_name, query.min_score, query.min_age_seconds)
        page = await self._run(
            lambda: self._queue.look(filters, limit=query.limit, cursor=query.cursor, now=self._now())
        )
        if not page.tasks:
            self._check_class(query.class_name)
        if query.format == "json":
            return _json({"tasks": [_task(task) for task in page.tasks], "next_cursor": page.next_cursor})
        return self._other_format(request, page, query)

    async def lease(self, request: Request) -> Response:
        """Hand tasks to an annotator for a while."""
        body = read_json(LeaseRequest, await self._body(request))
        lease = await self._run(
            lambda: self._queue.lease(
                annotator=body.annotator, n_tasks=body.limit, overlap=body.overlap, now=self._now()
            )
        )
        return _json({**_lease(lease), "tasks": [_task(task) for task in lease.tasks]})

    async def submit(self, request: Request) -> Response:
        """Store labels, all of a request or none."""
        key = read_texts(KeyHeader, _present(request, "Idempotency-Key")).idempotency_key
        body = read_json(LabelsRequest, await self._body(request))
        manifest = self._served()
        classes = manifest.taxonomy.classes if manifest else ()
        submission = body.submission(key=key, known_classes=classes)
        stored = await self._run(lambda: self._queue.submit(submission, now=self._now()))
        self._on_labels(stored, classes)
        return _json({"accepted": len(submission.labels)})

    async def extend(self, request: Request) -> Response:
        """Give an annotator more time."""
        body = read_json(ExtendRequest, await self._body(request))
        lease = await self._run(
            lambda: self._queue.extend(annotator=body.annotator, lease_token=body.lease_token, now=self._now())
        )
        tasks = {"tasks": [_task(task) for task in lease.tasks]} if body.with_tasks else {}
        return _json({**_lease(lease), "task_ids": [task.id for task in lease.tasks], **tasks})

    async def release(self, request: Request) -> Response:
        """Take tasks back unlabelled."""
        body = read_json(ReleaseRequest, await self._body(request))
        n_released = await self._run(
            lambda: self._queue.release(annotator=body.annotator, lease_token=body.lease_token, task_ids=body.task_ids)
        )
        return _json({"released": n_released})

    async def stats(self, _: Request) -> Response:
        """Count tasks, questions and answers."""
        stats, errors = await self._run(self._stats)
        known = [{"name": one.name, "error": one.error, "shared": one.n_shared} for one in errors]
        return _json({**asdict(stats), "annotators": known})

    def _stats(self) -> tuple[Stats, list[AnnotatorError]]:
        return self._queue.stats(now=self._now()), annotator_errors(self._queue.agreements())

    async def labelling_config(self, _: Request) -> Response:
        """Send the labelling interface for Label Studio that goes with `format=label-studio`."""
        return Response(LABELLING_CONFIG, media_type="application/xml")

    async def delete_product(self, request: Request) -> Response:
        """Forget a product as posted."""
        product_id = read_texts(ProductId, {"product_id": request.path_params["product_id"]}).product_id
        return _json({"deleted": await self._run(lambda: self._queue.delete_product(product_id))})

    async def page(self, _: Request) -> Response:
        """Send the labelling page; its script and style come from `/pages`."""
        return Response(asset("label.html"), media_type="text/html", headers={"cache-control": "no-cache"})

    async def _body(self, request: Request) -> bytes:
        check_media_type(request.scope["headers"])
        return await request.body()

    async def _run(self, call: Callable[[], Result]) -> Result:
        """Wait for the store in a thread; a client that goes away does not cut a transaction short."""
        return await to_thread.run_sync(call, limiter=self._threads)

    def _check_class(self, name: str | None) -> None:
        """Tell an empty queue from a class that is misspelt; one that only older bundles knew may still have tasks."""
        manifest = self._served()
        if name is not None and manifest is not None and name not in manifest.taxonomy.classes:
            raise InvalidRequest("no task asks about this class, and it is none of the served ones", field="class")

    def _other_format(self, request: Request, page: Page, query: LookQuery) -> Response:
        headers, links = {}, []
        if page.next_cursor is not None:
            headers["x-next-cursor"] = page.next_cursor
            links.append(f'<{request.url.include_query_params(cursor=page.next_cursor)}>; rel="next"')
        if query.format == "label-studio":
            links.append(f'<{request.url.replace(path=CONFIG_PATH, query="")}>; rel="describedby"')
        if links:
            headers["link"] = ", ".join(links)
        if query.format == "jsonl":
            lines = b"".join(to_json(_task(task)) + b"\n" for task in page.tasks)
            return Response(lines, media_type="application/jsonl", headers=headers)
        manifest = self._served()
        tasks = [label_studio_task(task, manifest.fields if manifest else None) for task in page.tasks]
        return Response(to_json(tasks), media_type="application/json", headers=headers)


def _present(request: Request, header: str) -> dict[str, str]:
    value = request.headers.get(header)
    return {} if value is None else {header: value}


def _lease(lease: Lease) -> dict[str, Any]:
    return {"lease_token": lease.token, "expires_at": lease.expires_at}


def _task(task: Task) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "product": task.product,
        "questions": [_question(question) for question in task.questions],
        "model_version": task.model_version,
    }


def _question(question: Question) -> dict[str, Any]:
    shown = {"class": question.class_name, "probability": question.probability, "reason": question.reason}
    return {**shown, "answers": question.answers} if question.answers else shown


def _json(content: Any) -> Response:
    return Response(to_json(content), media_type="application/json")
