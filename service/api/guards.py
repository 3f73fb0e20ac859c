"""What stands before the application: a body within a size and a time, then a slot to work in, or a quick refusal.

A body is read completely before its request takes a slot, so senders that dawdle starve nobody. What the body says is
left to the application, who may send it to `service.api.access`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from service.errors import BodyTimedOut, BodyTooLarge, NoRoom, Overloaded, TooManyRequests, TurnedAway

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Reason = Literal["body_timed_out", "body_too_large", "hung_up", "line_full", "waited_too_long", "no_room"]
REASON_OF: dict[type[TurnedAway], Reason] = {
    BodyTimedOut: "body_timed_out",
    BodyTooLarge: "body_too_large",
    TooManyRequests: "line_full",
    Overloaded: "waited_too_long",
    NoRoom: "no_room",
}
REASONS: tuple[Reason, ...] = (*REASON_OF.values(), "hung_up")
BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


class Hangup(Exception):
    """The client closed the connection before its body was complete; there is nobody left to answer."""


class Admission:
    """Slots to work in, and a bounded line before them.

    Parameters
    ----------
    n_running : requests at work at one time
    n_waiting : requests that may stand in line
    wait_seconds : how long one may stand there
    """

    def __init__(self, *, n_running: int, n_waiting: int, wait_seconds: float) -> None:
        self._slots = asyncio.Semaphore(n_running)
        self._max_waiting = n_waiting
        self._wait_seconds = wait_seconds
        self._n_waiting = 0
        self._n_running = 0

    @property
    def n_waiting(self) -> int:
        """Requests in line now."""
        return self._n_waiting

    @property
    def n_running(self) -> int:
        """Requests at work now."""
        return self._n_running

    def check_room(self) -> None:
        """Raise `TooManyRequests` if the line is full."""
        if self._slots.locked() and self._n_waiting >= self._max_waiting:
            raise TooManyRequests("more requests are waiting than this replica can serve soon; send it again later")

    async def enter(self) -> None:
        """Take a slot, to be given back by `leave`.

        Raises
        ------
        TooManyRequests
            If the line is full.
        Overloaded
            If no slot came free in time.
        """
        self.check_room()
        if self._slots.locked():
            await self._wait()
        else:
            await self._slots.acquire()
        self._n_running += 1

    def leave(self) -> None:
        """Give a slot back."""
        self._n_running -= 1
        self._slots.release()

    async def _wait(self) -> None:
        self._n_waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Overloaded("no slot came free in time; send the request again later") from error
        finally:
            self._n_waiting -= 1


class BodyReader:
    """Reads request bodies completely, within a cap for each, a cap for all together, and a deadline.

    Parameters
    ----------
    max_body_bytes : of one body
    max_total_bytes : of all bodies held at one time
    read_seconds : from the first byte wanted to the last byte read
    """

    def __init__(self, *, max_body_bytes: int, max_total_bytes: int, read_seconds: float) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_total_bytes = max_total_bytes
        self._read_seconds = read_seconds
        self._n_held_bytes = 0

    @property
    def n_held_bytes(self) -> int:
        """Bytes of all bodies held now."""
        return self._n_held_bytes

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """Read a body, which counts as held until it is given to `release`.

        Raises
        ------
        BodyTooLarge, BodyTimedOut, NoRoom, Hangup
        """
        self._check_declared(scope)
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self._read_seconds):
                await self._collect(receive, chunks)
        except BaseException as error:
            self.release(sum(map(len, chunks)))
            if isinstance(error, TimeoutError):
                raise BodyTimedOut(f"the body did not arrive within {self._read_seconds:g} seconds") from error
            raise
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def release(self, n_bytes: int) -> None:
        """Count what was read as held no longer."""
        self._n_held_bytes -= n_bytes

    def _check_declared(self, scope: Scope) -> None:
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not declared.isdigit() or int(declared[:20]) > self._max_body_bytes:
            raise self._too_large()

    async def _collect(self, receive: Receive, chunks: list[bytes]) -> None:
        """Take the body in; without room it is read to its end all the same, or its sender would miss the answer."""
        size = 0
        more_body = has_room = True
        while more_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Hangup
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > self._max_body_bytes:
                raise self._too_large()
            if has_room and self._n_held_bytes + len(chunk) > self._max_total_bytes:
                has_room = False
                self.release(sum(map(len, chunks)))
                chunks.clear()
            if has_room:
                self._n_held_bytes += len(chunk)
                chunks.append(chunk)
            more_body = message.get("more_body", False)
        if not has_room:
            raise NoRoom("there is no room for another body now; send the request again later")

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"a request may have at most {self._max_body_bytes} bytes; send fewer products at a time")


class Guards:
    """ASGI middleware: an admission check, the body, a slot, then the application.

    Parameters
    ----------
    needs_slot : whether a request, by method and path, is work that takes a slot; probes and metrics never should
    on_refusal : told the reason of each refusal, for a metric
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        bodies: BodyReader,
        admission: Admission,
        needs_slot: Callable[[str, str], bool],
        on_refusal: Callable[[Reason], None],
    ) -> None:
        self._app = app
        self._bodies = bodies
        self._admission = admission
        self._needs_slot = needs_slot
        self._on_refusal = on_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it with a problem document."""
        if scope["type"] != "http" or scope["method"] in BODILESS:
            await self._app(scope, receive, send)
            return
        takes_slot = self._needs_slot(scope["method"], scope["path"])
        try:
            if takes_slot:
                self._admission.check_room()  # before a byte of the body is read: refusing must stay cheap
            content = await self._bodies.read(scope, receive)
        except Hangup:
            self._on_refusal("hung_up")
        except TurnedAway as refusal:
            await self._refuse(send, refusal)
        else:
            n_bytes, replay = len(content), _replaying(content, receive)
            del content  # the application may let go of it before it answers
            try:
                await (self._run if takes_slot else self._app)(scope, replay, send)
            finally:
                self._bodies.release(n_bytes)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._admission.enter()
        except TurnedAway as refusal:
            await self._refuse(send, refusal)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._admission.leave()

    async def _refuse(self, send: Send, refusal: TurnedAway) -> None:
        self._on_refusal(REASON_OF[type(refusal)])
        await refuse(send, refusal)


async def refuse(send: Send, refusal: TurnedAway) -> None:
    """Answer with an RFC 9457 problem document, without the help of any framework."""
    problem = {"type": "about:blank", "title": refusal.title, "status": refusal.status, "detail": refusal.detail}
    content = json.dumps(problem).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(content)).encode()),
        *((name.encode(), value.encode()) for name, value in refusal.headers),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def whole_body(receive: Receive) -> bytes:
    """A request's body; behind `Guards` it comes whole, in one message."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    return body


def _replaying(content: bytes, receive: Receive) -> Receive:
    """Give the body in one message, then whatever the server says: that the client has gone."""
    first: Message | None = {"type": "http.request", "body": content, "more_body": False}
    del content

    async def replay() -> Message:
        nonlocal first
        if first is None:
            return await receive()
        message, first = first, None
        return message

    return replay
