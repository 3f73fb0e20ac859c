"""Goodput under overload, on a real server: what is answered at four times the load that it can bear.

Run: python -m benchmarks.goodput [CATALOGUE] [--rounds 3]. It serves the promoted bundle of BENTOML_HOME from a copy
with one worker. Each round measures the capacity (connections that never pause), then sends that many requests a second
and four times as many, each on a connection of its own, whether the earlier ones were answered or not. Rounds are
interleaved and the median ratio counts, because the machine may be busy; server and sender have a processor each.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.claims import Claim, conclude
from benchmarks.load import run_load
from benchmarks.servers import ROOT, Server, apart, bentoml_home, serving, winnow_command
from benchmarks.traffic import classify_request, groups, stand_in, stream
from training.catalogues.catalogue import open_catalogue

N_TOGETHER = 32  # products a request, so that the generator costs little beside the server
N_CONNECTIONS = 32
N_CAPACITY = 200  # requests that measure it
TIMES = 4
LOAD_SECONDS = 8.0
DEADLINE_SECONDS = 20.0  # of a client: an answer later than this is none
WANTED = 0.9


@dataclass(frozen=True)
class Offered:
    """What came of requests at one rate."""

    statuses: Counter[int]  # 0 where there was none in time
    seconds: float
    cpu_seconds: float  # of the server

    @property
    def goodput(self) -> float:
        """Requests answered with 200, a second."""
        return self.statuses[200] / self.seconds


def main() -> int:
    """Measure in rounds, and say whether overload costs goodput."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("catalogue", nargs="?", type=Path, default=ROOT / "data" / "demo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=LOAD_SECONDS, help="of each load")
    parser.add_argument("--stand-in", action="store_true", help="a tiny bundle and made-up products")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="winnow-goodput-") as temporary:
        directory = Path(temporary)
        if arguments.stand_in:
            home, catalogue = stand_in(directory, n_products=500)
        else:
            home, catalogue = directory / "home", open_catalogue(arguments.catalogue)
            shutil.copytree(bentoml_home() / "models", home / "models")
        requests = [classify_request(records) for records in groups(stream(catalogue, 500).records, N_TOGETHER)]
        environment = {"BENTOML_HOME": str(home), "WINNOW_WORKERS": "1"}
        winnow = serving("winnow", winnow_command(), ready="/readyz", environment=environment)
        with apart(winnow) as server:  # four times the load costs its sender four times as much, too
            rounds = [_round(server, requests, arguments.seconds) for _ in range(arguments.rounds)]
    return conclude(f"Goodput, {N_TOGETHER} products a request, one worker", list(_claims(rounds)))


def _round(server: Server, requests: Sequence[bytes], seconds: float) -> tuple[float, Offered, Offered]:
    capacity = run_load(server.port, requests, n_requests=N_CAPACITY, concurrency=N_CONNECTIONS).requests_per_second
    at, over = (_offer(server, requests, rate=times * capacity, seconds=seconds) for times in (1, TIMES))
    return capacity, at, over


def _offer(server: Server, requests: Sequence[bytes], *, rate: float, seconds: float) -> Offered:
    cpu, started = server.cpu_seconds(), time.perf_counter()
    statuses = asyncio.run(_send(server.port, requests, rate=rate, seconds=seconds))
    return Offered(statuses, time.perf_counter() - started, server.cpu_seconds() - cpu)


async def _send(port: int, requests: Sequence[bytes], *, rate: float, seconds: float) -> Counter[int]:
    """Send at a rate; the time counts until the last answer."""
    started = time.perf_counter()
    sent: list[asyncio.Task[int]] = []
    while (elapsed := time.perf_counter() - started) < seconds:
        while len(sent) < elapsed * rate:
            sent.append(asyncio.create_task(_one(port, requests[len(sent) % len(requests)])))
        await asyncio.sleep(0.005)
    return Counter(await asyncio.gather(*sent))


async def _one(port: int, request: bytes) -> int:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                return int((await reader.readline()).split()[1])
            finally:
                writer.transport.abort()
    except (TimeoutError, OSError, IndexError):
        return 0


def _claims(rounds: Sequence[tuple[float, Offered, Offered]]) -> list[Claim]:
    ratios = [over.goodput / at.goodput for _, at, over in rounds]
    per_cpu = [(over.statuses[200] / over.cpu_seconds) / (at.statuses[200] / at.cpu_seconds) for _, at, over in rounds]
    found = "; ".join(
        f"capacity {capacity:.0f}/s: {at.goodput:.1f} a second, at {TIMES} times {over.goodput:.1f} "
        f"({_said(over.statuses)})"
        for capacity, at, over in rounds
    )
    others = sum((over.statuses for *_, over in rounds), Counter[int]())
    return [
        Claim(f"goodput at {TIMES} times the load is at least {WANTED:.0%} of that at capacity",
              f"median ratio {statistics.median(ratios):.2f}; {found}", statistics.median(ratios) >= WANTED),
        Claim("a request answered costs as little processor time", f"median ratio {statistics.median(per_cpu):.2f}",
              statistics.median(per_cpu) >= WANTED),
        Claim("whoever is not served is told to come again", _said(others), set(others) <= {200, 429, 503}),
    ]  # fmt: skip


def _said(statuses: Counter[int]) -> str:
    return ", ".join(f"{n} x {status or 'nothing'}" for status, n in sorted(statuses.items()))


if __name__ == "__main__":
    raise SystemExit(main())
