"""An open-loop load generator: requests leave at their own random times, whether or not the answers before them came.

A client that waits for its answers slows down with the server, and so hides how long others would have waited. Latency
counts from the time at which a request was due, so the generator wakes as precisely as the machine can.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

MAX_CONNECTIONS = 1_000


@dataclass
class OpenLoad:
    """What came of the requests of one run.

    Parameters
    ----------
    latencies : seconds from the time at which a request was due to its answer, of those answered 200
    statuses : answers by status
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def goodput(self) -> float:
        """Requests answered 200 a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Latency in seconds that `share` of the answers did not exceed."""
        return sorted(self.latencies)[min(int(share * len(self.latencies)), len(self.latencies) - 1)]


def run_open_load(port: int, requests: Sequence[bytes], *, rate: float, seconds: float, seed: int = 0) -> OpenLoad:
    """Send requests at a mean rate, with exponential times between them (a Poisson process)."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_FineSelector())) as runner:
        return runner.run(_run(port, requests, rate, seconds, Random(seed)))


class _FineSelector(selectors.EpollSelector):
    """Waits to the microsecond, where epoll rounds up to milliseconds: half a millisecond of every latency."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, after at most so many seconds."""
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


async def _run(port: int, requests: Sequence[bytes], rate: float, seconds: float, rng: Random) -> OpenLoad:
    load = OpenLoad()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    room = asyncio.Semaphore(MAX_CONNECTIONS)

    async def one(request: bytes, due: float) -> None:
        async with room:
            reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            status, stays = await _answer(reader)
            load.statuses[status] += 1
            if status == 200:
                load.latencies.append(time.perf_counter() - due)
            if stays:
                idle.append((reader, writer))
            else:
                writer.close()

    started = time.perf_counter()
    due = started
    tasks: list[asyncio.Task[None]] = []
    while due < started + seconds:
        due += rng.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(requests[len(tasks) % len(requests)], due)))
    await asyncio.gather(*tasks)
    load.seconds = time.perf_counter() - started
    for _, writer in idle:
        writer.close()
    return load


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Status, and whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = next(int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    await reader.readexactly(length)
    return int(head[9:12]), b"connection: close" not in head
