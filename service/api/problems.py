"""Errors at the border: every refusal and failure becomes an RFC 9457 problem document.

Which error means what is left to `service.errors`; counting them is left to `service.telemetry.request_metrics`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from time import perf_counter
from typing import Any

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.page_headers import NOT_A_PAGE
from service.errors import WinnowError
from service.telemetry.request_metrics import Outcome, RequestMetrics

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
REFUSED, FAILED = 400, 500  # the least statuses that say so
PASSING = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE)

logger = logging.getLogger(__name__)


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """A problem document; `members` is what it says beyond the usual, as `errors` with the fields to blame."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}
    response = Response(to_json(body), status_code=status, media_type=MEDIA_TYPE, headers=headers)
    response.raw_headers.append(NOT_A_PAGE)
    return response


async def answer_winnow_error(_: Request, error: Exception) -> Response:
    """Turn an error of ours into its problem document."""
    if not isinstance(error, WinnowError):
        raise error
    return winnow_problem(error)


def winnow_problem(error: WinnowError) -> Response:
    """The problem document of an error of ours."""
    headers = None
    if error.status in PASSING:
        headers = {"retry-after": str(RETRY_AFTER_SECONDS)}
    elif error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers = {"connection": "close"}  # what was not read of the body must not be taken for the next request
    return problem(error.status, error.title, str(error), headers=headers, **error.members())


async def answer_http_error(_: Request, error: Exception) -> Response:
    """Turn "not found" and "method not allowed" into problem documents."""
    if not isinstance(error, HTTPException):
        raise error
    title = HTTPStatus(error.status_code).phrase.lower()
    return problem(error.status_code, title, f"{title}; /docs says what there is", headers=error.headers)


EXCEPTION_HANDLERS: dict[Any, Any] = {WinnowError: answer_winnow_error, HTTPException: answer_http_error}


class Border:
    """ASGI middleware: measures every request, and answers 500 for an error nobody foresaw, saying nothing of it.

    Parameters
    ----------
    route : of all requests that come by here, where there is but one; else the one that the router finds
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, *, route: str | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; the application's lifespan passes unmeasured."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status = 0
        self._metrics.entered()

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception:  # whatever it was, the client gets an answer and the log the cause
            logger.error("request failed", extra={"route": self._route or _route(scope)}, exc_info=True)
            if not status:
                response = problem(500, "internal error", "the request could not be answered; it was logged")
                await response(scope, receive, watched_send)
        finally:
            self._metrics.left()
            route = self._route or _route(scope)
            self._metrics.answered(route=route, outcome=_outcome(status), seconds=perf_counter() - started)


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", None) or "other"


def _outcome(status: int) -> Outcome:
    if not status or status >= FAILED:
        return "failed"
    return "refused" if status >= REFUSED else "ok"
