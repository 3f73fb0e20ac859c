"""A small HTTP/1.1 load generator on keep-alive connections, bounded in requests; it counts and times, nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What one run of requests gave.

    Parameters
    ----------
    latencies : seconds, one a request, in the order they ended
    """

    n_failed: int
    seconds: float
    latencies: list[float]

    @property
    def requests_per_second(self) -> float:
        """Answered requests over wall time."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Latency in seconds that `share` of the requests did not exceed."""
        return sorted(self.latencies)[min(int(share * len(self.latencies)), len(self.latencies) - 1)]


def request_bytes(path: str, body: bytes) -> bytes:
    """Spell one POST of JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    return head.encode() + b"\r\n" + body


def run_load(port: int, requests: Sequence[bytes], *, n_requests: int, concurrency: int) -> Load:
    """Send `n_requests`, taken in turn from `requests`, over `concurrency` connections that never pause."""
    return asyncio.run(_run(port, requests, n_requests, concurrency))


async def _run(port: int, requests: Sequence[bytes], n_requests: int, concurrency: int) -> Load:
    numbers = iter(range(n_requests))
    latencies: list[float] = []
    failures: list[int] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            started = time.perf_counter()
            writer.write(requests[number % len(requests)])
            status = await _read_answer(reader)
            latencies.append(time.perf_counter() - started)
            if status != 200:
                failures.append(status)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(concurrency)))
    return Load(len(failures), time.perf_counter() - started, latencies)


async def _read_answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if b"content-length" in fields:
        await reader.readexactly(int(fields[b"content-length"]))
    else:  # in chunks, the last of which is empty
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    return int(head[9:12])
