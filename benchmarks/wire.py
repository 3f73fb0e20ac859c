"""Sends requests over keep-alive connections and takes answers, in one thread and with little in between.

What a generator takes over a request is in every latency it measures, several times where answers are written together
and read one after the other. When to send is left to `benchmarks.load` and `benchmarks.open_load`.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import httptools

READ_BYTES = 1 << 18


class Exchange:
    """One connection: at most one request at a time and what has come of its answer.

    Parameters
    ----------
    due : seconds of `time.perf_counter` from which the request on its way is timed
    status : of the last answer, 0 while one is on its way
    stays : whether the server takes another request after it
    """

    __slots__ = ("_parser", "due", "socket", "status", "stays")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = httptools.HttpResponseParser(self)
        self.due = 0.0
        self.status = 0
        self.stays = True

    def send(self, request: bytes, due: float) -> None:
        """Send a whole request."""
        self.due, self.status = due, 0
        self.socket.sendall(request)

    def read(self) -> None:
        """Take what has arrived.

        Raises
        ------
        ConnectionError
            If the server has closed without a complete answer.
        """
        content = self.socket.recv(READ_BYTES)
        if not content:
            raise ConnectionError("the server closed the connection before its answer was complete")
        self._parser.feed_data(content)

    def on_message_complete(self) -> None:
        """The answer is complete; called by the parser, which knows these two only now."""
        self.status = self._parser.get_status_code()
        self.stays = self._parser.should_keep_alive()


class Wire:
    """As many connections to a server of this machine as requests are on their way at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._poller = select.epoll()
        self._all: dict[int, Exchange] = {}
        self._idle: list[Exchange] = []

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close all connections."""
        for exchange in self._all.values():
            exchange.socket.close()
        self._poller.close()

    @property
    def n_on_their_way(self) -> int:
        """Requests that have no answer yet."""
        return len(self._all) - len(self._idle)

    def send(self, request: bytes, due: float) -> None:
        """Send a request on a connection that is free, or on a new one.

        Parameters
        ----------
        due : seconds of `time.perf_counter` from which it is timed
        """
        (self._idle.pop() if self._idle else self._open()).send(request, due)

    def answers(self, until: float | None = None) -> Iterator[tuple[int, float]]:
        """Status and seconds since it was due of each answer that is there, waiting for one if there is none.

        Parameters
        ----------
        until : seconds of `time.perf_counter` to wait for at most
        """
        if until is not None:  # epoll itself rounds up to milliseconds, half of which every latency would have
            select.select([self._poller], [], [], max(0.0, until - time.perf_counter()))
        for descriptor, _ in self._poller.poll(-1 if until is None else 0):
            exchange = self._all[descriptor]
            if exchange.status:  # the server has waited long enough for another request
                self._idle.remove(exchange)
                self._close(exchange)
                continue
            exchange.read()
            if exchange.status:
                seconds = time.perf_counter() - exchange.due
                self._release(exchange)
                yield exchange.status, seconds

    def _open(self) -> Exchange:
        exchange = Exchange(self._port)
        descriptor = exchange.socket.fileno()
        self._all[descriptor] = exchange
        self._poller.register(descriptor, select.EPOLLIN)
        return exchange

    def _release(self, exchange: Exchange) -> None:
        if exchange.stays:
            self._idle.append(exchange)
        else:
            self._close(exchange)

    def _close(self, exchange: Exchange) -> None:
        del self._all[exchange.socket.fileno()]
        exchange.socket.close()
