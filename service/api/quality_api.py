"""`GET /quality`: how good what is served is, as JSON for programs and as a page for people.

The estimates are left to `service.quality.quality_course`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from service.bundles.bundle import Manifest
from service.errors import NoBundle
from service.label_queue.store import LabelQueue
from service.pages.quality import quality_page
from service.quality.quality_course import QualityCourse, quality_course

KEPT_SECONDS = 10.0  # an estimate reads every answer there is: it is not made anew for everyone who looks


class QualityApi:
    """The estimates of the bundle that is served."""

    def __init__(self, queue: LabelQueue, *, served: Callable[[], Manifest | None]) -> None:
        self._queue = queue
        self._served = served
        self._making = asyncio.Lock()
        self._made: tuple[float, QualityCourse] | None = None

    def routes(self) -> list[Route]:
        """One route; browsers, which ask for HTML, get the page."""
        return [Route("/quality", self.quality, methods=["GET"])]

    async def quality(self, request: Request) -> Response:
        """Answer with precision and recall, in all and over time.

        Raises
        ------
        NoBundle
            If no model is loaded.
        QueueUnavailable
            If the label queue does not answer.
        """
        course = await self._course()
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(quality_page(course))
        return Response(to_json(course.to_json(), inf_nan_mode="null"), media_type="application/json")

    async def _course(self) -> QualityCourse:
        manifest = self._served()
        if manifest is None:
            raise NoBundle("no model is loaded; train one with `winnow train`")
        async with self._making:
            made = self._made
            if made is None or made[1].version != manifest.version or monotonic() - made[0] > KEPT_SECONDS:
                course = await asyncio.to_thread(read_course, self._queue, manifest)
                made = self._made = (monotonic(), course)
        return made[1]


def read_course(queue: LabelQueue, manifest: Manifest) -> QualityCourse:
    """Read every cohort and answer, and estimate.

    Raises
    ------
    QueueUnavailable
        If the label queue does not answer.
    """
    cohorts, tasks = queue.cohorts(), queue.answered_questions()
    known = {one.id for one in cohorts}  # a cohort may have come between the two
    own = [task for task in tasks if task.cohort_id in known]
    return quality_course(cohorts, own, version=manifest.version, classes=manifest.taxonomy.classes)
