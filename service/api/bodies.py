"""Request bodies: read whole, within a size and a time, or thrown away; then handed on in one message.

When a body is read, and what is answered to one that may not pass, is left to `service.api.guards`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from service.errors import BodyTimedOut, BodyTooLarge, NoRoom

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

LISTENED_BODIES = 16  # the largest bodies' worth that a refused sender may go on with before it is cut off


class Hangup(Exception):
    """The client closed the connection before its body was complete; there is nobody left to answer."""


class TimeLimit:
    """The same as `asyncio.timeout`, which costs a small request as much as reading its products does.

    It raises `TimeoutError` in place of the cancellation with which it ends what takes too long.
    """

    __slots__ = ("_is_over", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> None:
        """Start the clock for the running task."""
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self._timer = loop.call_later(self._seconds, self._end)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop the clock."""
        self._timer.cancel()
        if self._is_over and self._task is not None:
            is_ours_alone = self._task.uncancel() == 0
            if is_ours_alone and kind is asyncio.CancelledError:
                raise TimeoutError

    def _end(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()


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
            with TimeLimit(self._read_seconds):
                await self._collect(receive, chunks)
        except BaseException as error:  # cancelled or not: what was held must be let go
            self.release(sum(map(len, chunks)))
            if isinstance(error, TimeoutError):
                raise BodyTimedOut(f"the body did not arrive within {self._read_seconds:g} seconds") from error
            raise
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def listen(self, receive: Receive) -> None:
        """Let a sender that was refused come to its end, and keep nothing: many read their answer only then.

        It ends with the body or the connection, else after a bounded size and the time that any body has.
        """
        n_left = LISTENED_BODIES * self._max_body_bytes
        with suppress(TimeoutError), TimeLimit(self._read_seconds):
            while n_left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                n_left -= len(message.get("body", b""))

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


async def whole_body(receive: Receive) -> bytes:
    """A request's body; behind `Guards` it comes whole, in one message."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    return body


def replaying(content: bytes, receive: Receive) -> Receive:
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
