"""Batches what waits while the last batch runs, and what comes at one moment; no timer, so nobody waits for nobody.

What a batch does is left to the function it is given; which products wait is left to `service.served`.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, Self, TypeVar

from service.errors import Overloaded


class Rows(Protocol):
    """An answer to several items that can be cut into the answers to some of them."""

    def rows(self, start: int, stop: int) -> Self:
        """The part for the items from `start` up to, not including, `stop`."""
        ...


Item = TypeVar("Item")
Answer = TypeVar("Answer", bound=Rows)


@dataclass(slots=True)
class _Piece(Generic[Item, Answer]):
    """At most a batch of one caller's items."""

    items: Sequence[Item]
    answer: asyncio.Future[Answer]
    arrived: float  # seconds of the event loop's clock
    alone: bool = False  # it was in a batch that failed: run it by itself, so that it can only fail itself


class Batcher(Generic[Item, Answer]):
    """One batch in flight, or several if full; the next takes, in order of arrival, whatever came meanwhile and fits.

    Parameters
    ----------
    run : answers a batch; what takes long in it belongs in a thread
    max_batch_size : items in a batch at most
    n_running : batches in flight at most; beside another, one starts only where enough waits to fill it
    quiet_turns : turns of the event loop without anything new before a batch starts that is not full. An item that
        comes alone waits for microseconds; of a crowd, all whose requests have arrived go together, where a batch that
        starts with the first of them leaves the others to small batches, which cost up to three times as much an item.
    patience_seconds : whoever has waited longer when their turn comes is refused, so that no work is spent on answers
        that nobody waits for any more
    on_wait : told how many seconds the first of each batch has waited
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Coroutine[Any, Any, Answer]],
        *,
        max_batch_size: int,
        n_running: int = 1,
        quiet_turns: int = 0,
        patience_seconds: float = math.inf,
        on_wait: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._on_wait = on_wait
        self._max_batch_size = max_batch_size
        self._max_running = n_running
        self._quiet_turns = quiet_turns
        self._patience_seconds = patience_seconds
        self._n_submitted = 0
        self._n_waiting = 0
        self._is_gathering = False
        self._waiting: deque[_Piece[Item, Answer]] = deque()
        self._n_running = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._waiting and not self._n_running

    async def submit(self, items: Sequence[Item]) -> list[Answer]:
        """Answer some items, in pieces of at most a batch, in order; raise what the batch raised.

        Raises
        ------
        Overloaded
            If they have waited for too long.
        """
        loop = asyncio.get_running_loop()
        size = self._max_batch_size
        pieces: list[_Piece[Item, Answer]] = [
            _Piece(items[start : start + size], loop.create_future(), loop.time())
            for start in range(0, len(items), size)
        ]
        self._waiting.extend(pieces)
        self._n_submitted += len(items)
        self._n_waiting += len(items)
        self._gather(loop)
        if len(pieces) == 1:
            return [await pieces[0].answer]
        return await asyncio.gather(*(piece.answer for piece in pieces))

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start a batch as soon as it is full, or so many turns have brought nothing new."""
        max_running = self._max_running if self._n_waiting >= self._max_batch_size else 1
        if self._is_gathering or self._n_running >= max_running:
            return
        self._is_gathering = True
        self._look(loop, self._n_submitted, self._quiet_turns)

    def _look(self, loop: asyncio.AbstractEventLoop, n_before: int, n_turns: int) -> None:
        n_turns = self._quiet_turns if self._n_submitted > n_before else n_turns
        if n_turns and self._n_waiting < self._max_batch_size:
            loop.call_soon(self._look, loop, self._n_submitted, n_turns - 1)
        else:
            self._is_gathering = False
            self._start(loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._take(loop.time() - self._patience_seconds)
        if not batch:
            return
        items = batch[0].items if len(batch) == 1 else [item for piece in batch for item in piece.items]
        self._on_wait(loop.time() - batch[0].arrived)
        self._n_running += 1
        running = loop.create_task(self._run(items))
        running.add_done_callback(partial(self._finish, batch))
        if self._waiting:
            self._gather(loop)

    def _take(self, arrived_after: float) -> list[_Piece[Item, Answer]]:
        batch: list[_Piece[Item, Answer]] = []
        room = self._max_batch_size
        while self._waiting:
            piece = self._waiting[0]
            if piece.arrived < arrived_after:
                _fail(piece, Overloaded("too much waited before this request; send it again later"))
            if not piece.answer.done():  # else its caller has gone
                if batch and (piece.alone or len(piece.items) > room):
                    break
                batch.append(piece)
                room = 0 if piece.alone else room - len(piece.items)
            self._n_waiting -= len(self._waiting.popleft().items)
        return batch

    def _finish(self, batch: Sequence[_Piece[Item, Answer]], running: asyncio.Future[Answer]) -> None:
        self._n_running -= 1
        error = asyncio.CancelledError() if running.cancelled() else running.exception()
        if error is None:
            _hand_out(batch, running.result())
        elif len(batch) == 1:
            _fail(batch[0], error)
        else:
            for piece in reversed(batch):
                piece.alone = True
                self._waiting.appendleft(piece)
                self._n_waiting += len(piece.items)
        self._gather(asyncio.get_running_loop())


def _hand_out(batch: Sequence[_Piece[Item, Answer]], answer: Answer) -> None:
    start = 0
    for piece in batch:
        stop = start + len(piece.items)
        if not piece.answer.done():
            piece.answer.set_result(answer.rows(start, stop))
        start = stop


def _fail(piece: _Piece[Item, Answer], error: BaseException) -> None:
    if not piece.answer.done():
        piece.answer.set_exception(error)
