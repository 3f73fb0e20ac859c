"""A load generator whose connections never pause, bounded in requests: it counts and times, nothing else."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.wire import Wire

OK = 200


@dataclass
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
    load = Load(0, 0.0, [])
    unsent = itertools.islice(itertools.cycle(requests), n_requests)
    started = time.perf_counter()
    with Wire(port) as wire:
        for request in itertools.islice(unsent, concurrency):
            wire.send(request, time.perf_counter())
        while wire.n_on_their_way:
            for status, seconds in wire.answers():
                load.latencies.append(seconds)
                load.n_failed += status != OK
                if request := next(unsent, b""):
                    wire.send(request, time.perf_counter())
    load.seconds = time.perf_counter() - started
    return load
