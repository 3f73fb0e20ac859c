"""An open-loop load generator: requests leave at their own random times, whether or not the answers before them came.

A client that waits for its answers slows down with the server, and so hides how long others would have waited. Latency
counts from the time at which a request was due, so the generator wakes as precisely as the machine can.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from random import Random

from benchmarks.load import Load
from benchmarks.wire import Wire

MAX_CONNECTIONS = 1_000


def run_open_load(port: int, requests: Sequence[bytes], *, rate: float, seconds: float, seed: int = 0) -> Load:
    """Send requests at a mean rate, with exponential times between them (a Poisson process)."""
    load = Load()
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
                load.add(status, latency)
    load.seconds = time.perf_counter() - started
    return load
