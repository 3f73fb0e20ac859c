"""An open-loop load generator: requests leave at their own random times, whether or not the answers before them came.

A client that waits for its answers slows down with the server, and so hides how long others would have waited. Latency
counts from the time at which a request was due, so the generator wakes as precisely as the machine can.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from benchmarks.load import OK
from benchmarks.wire import Wire

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
    load = OpenLoad()
    rng = Random(seed)
    unsent = itertools.cycle(requests)
    started = time.perf_counter()
    due, end = started + rng.expovariate(rate), started + seconds
    with Wire(port) as wire:
        while due < end or wire.n_on_their_way:
            now = time.perf_counter()
            while due <= min(now, end) and wire.n_on_their_way < MAX_CONNECTIONS:
                wire.send(next(unsent), due)
                due += rng.expovariate(rate)
            may_send = due < end and wire.n_on_their_way < MAX_CONNECTIONS
            for status, latency in wire.answers(until=due if may_send else None):
                load.statuses[status] += 1
                if status == OK:
                    load.latencies.append(latency)
    load.seconds = time.perf_counter() - started
    return load
