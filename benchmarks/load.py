"""A load generator whose connections never pause, bounded in requests: it counts and times, nothing else."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.wire import Wire

OK = 200


@dataclass
class Load:
    """What came of the requests of one run.

    Parameters
    ----------
    latencies : seconds, one a request that was answered 200, in the order they ended
    statuses : answers by status
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def add(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self.statuses[status] += 1
        if status == OK:
            self.latencies.append(seconds)

    @property
    def n_failed(self) -> int:
        """Requests that were answered otherwise than 200."""
        return self.statuses.total() - self.statuses[OK]

    @property
    def requests_per_second(self) -> float:
        """Requests answered 200 over wall time."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Latency in seconds that `share` of the answers did not exceed."""
        return sorted(self.latencies)[min(int(share * len(self.latencies)), len(self.latencies) - 1)]


def request_bytes(path: str, body: bytes) -> bytes:
    """Spell one POST of JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    return head.encode() + b"\r\n" + body


def run_load(port: int, requests: Sequence[bytes], *, n_requests: int, concurrency: int) -> Load:
    """Send `n_requests`, taken in turn from `requests`, over `concurrency` connections that never pause."""
    load = Load()
    unsent = itertools.islice(itertools.cycle(requests), n_requests)
    started = time.perf_counter()
    with Wire(port) as wire:
        for request in itertools.islice(unsent, concurrency):
            wire.send(request, time.perf_counter())
        while wire.n_on_their_way:
            for status, seconds in wire.answers():
                load.add(status, seconds)
                if request := next(unsent, b""):
                    wire.send(request, time.perf_counter())
    load.seconds = time.perf_counter() - started
    return load
