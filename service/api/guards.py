"""What stands before the application: a body within a size and a time, then a slot to work in, or a quick refusal.

A body is read completely before its request takes a slot, so senders that dawdle starve nobody. Reading it is left to
`service.api.bodies`, what it says to the application, who may send it to `service.api.access`.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from service.api.bodies import BodyReader, Hangup, replaying
from service.api.page_headers import NOT_A_PAGE
from service.errors import BodyTimedOut, BodyTooLarge, NoRoom, Overloaded, TooManyRequests, TurnedAway

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

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


class Admission:
    """Slots to work in, and a bounded line before them.

    Parameters
    ----------
    n_running : requests at work at one time
    n_waiting : requests that may stand in line
    wait_seconds : how long one may stand there
    """

    def __init__(self, *, n_running: int, n_waiting: int, wait_seconds: float) -> None:
        self._max_running = n_running
        self._max_waiting = n_waiting
        self._wait_seconds = wait_seconds
        self._n_running = 0
        self._n_waiting = 0
        self._line: deque[asyncio.Future[None]] = deque()  # turns, also of those who have left

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
        if self._n_running >= self._max_running and self._n_waiting >= self._max_waiting:
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
        if self._n_running < self._max_running:
            self._n_running += 1
        else:
            await self._wait()

    def leave(self) -> None:
        """Give a slot back: to the first in line, so that nobody who comes later takes it, or to whoever comes."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._n_running -= 1

    async def _wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        self._n_waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as error:  # cancelled or too late: a slot that came all the same must go back
            if turn.done() and not turn.cancelled():
                self.leave()  # the slot came in the moment of giving up
            if isinstance(error, TimeoutError):
                raise Overloaded("no slot came free in time; send the request again later") from error
            raise
        finally:
            self._n_waiting -= 1


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
        except BodyTooLarge as refusal:
            self._on_refusal("body_too_large")
            await refuse(send, refusal, before_closing=partial(self._bodies.listen, receive))
        except TurnedAway as refusal:
            await self._refuse(send, refusal)
        else:
            n_bytes, replay = len(content), replaying(content, receive)
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


async def refuse(
    send: Send, refusal: TurnedAway, *, before_closing: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Answer with an RFC 9457 problem document, without the help of any framework.

    Parameters
    ----------
    before_closing : awaited when the whole answer has been sent and the connection is still open
    """
    problem = {"type": "about:blank", "title": refusal.title, "status": refusal.status, "detail": refusal.detail}
    content = json.dumps(problem).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        NOT_A_PAGE,
        (b"content-length", str(len(content)).encode()),
        *((name.encode(), value.encode()) for name, value in refusal.headers),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": before_closing is not None})
    if before_closing is not None:
        await before_closing()
        await send({"type": "http.response.body", "body": b""})
