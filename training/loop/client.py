"""A client of a running service, over HTTP like any other.

What simulated users do with it is left to `training.loop.simulate`.
"""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from service.errors import WinnowError

TIMEOUT_SECONDS = 60.0


class ServiceRefused(WinnowError):
    """The running service answered a simulated user with an error, or not at all.

    Parameters
    ----------
    reason : the answer's status, as "status 503", or the kind of error that there was in place of an answer
    """

    status = 502
    title = "service refused"

    def __init__(self, detail: str, *, reason: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Client:
    """A connection that is kept open, for one thread."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._connection: http.client.HTTPConnection | None = None

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send one request and return the answer.

        Raises
        ------
        ServiceRefused
            If the answer is no 200, or there is none.
        """
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection = self._connection = self._connection or http.client.HTTPConnection(
                self._host, timeout=TIMEOUT_SECONDS
            )
            connection.request(method, path, body=content, headers=headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            kind = type(error).__name__
            raise ServiceRefused(f"{method} {path}: no answer ({kind})", reason=kind) from error
        if response.status != http.client.OK:
            detail = f"{method} {path}: {response.status} {_said(answer)}"
            raise ServiceRefused(detail, reason=f"status {response.status}")
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _said(answer: bytes) -> str:
    """The detail of a problem document, or else how the answer begins."""
    try:
        return str(json.loads(answer)["detail"])
    except (ValueError, KeyError, TypeError):
        return answer[:300].decode(errors="replace")
