"""A Starlette application with one route that comes before its layers, which cost more than a small request does.

What stands before the application is left to `service.api.guards`, what the route answers to the application given for
it.
"""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send


class FirstRoute(Starlette):
    """Starlette, passed by for one method and path.

    Parameters
    ----------
    method, path : of the route; its path holds no parameters
    first : answers it, its own errors included; nothing of Starlette's is around it
    """

    def __init__(self, *, method: str, path: str, first: ASGIApp, **starlette: Any) -> None:
        super().__init__(**starlette)
        self._method = method
        self._path = path
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, by the short way or the usual one."""
        if scope["type"] == "http" and scope["path"] == self._path and scope["method"] == self._method:
            await self._first(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
