"""An application that reads a body and answers with a document that never changes: what HTTP costs at least."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

ANSWER = b'{"results": [' + b" " * 900 + b"]}"  # as long as one product's
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request; there is nothing to start or to stop."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
