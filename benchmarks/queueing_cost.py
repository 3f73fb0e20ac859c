"""What sampling for the label queue costs `/classify`: throughput, server CPU and memory, with it and without.

Run: python -m benchmarks.queueing_cost [CATALOGUE]. Two servers of the same bundle, one with WINNOW_QUEUE=false, take
turns on the same products, each product new to its cohort. Then many requests go to the one that samples, and its
memory is read along the way. Fails below 95 % of the throughput, or where memory grows.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from rich.console import Console
from rich.table import Table

from benchmarks.claims import Claim, conclude
from benchmarks.load import run_load
from benchmarks.servers import ROOT, Server, bentoml_home, serving, winnow_command
from benchmarks.traffic import Posted, classify_request, groups, stand_in, stream
from training.catalogues.catalogue import open_catalogue

LEAST_SHARE = 0.95
MOST_GROWTH = 1.05  # of memory, from a tenth of the requests to the end
CONCURRENCY = 32
N_RECORDS = 1_024
N_READINGS = 20  # of memory
MARK = b"~000000000"  # in every product id; replaced by a number of the same width
MEBIBYTE = 2**20


class NewProducts(Sequence[bytes]):
    """Requests without end, taken in turn from some templates, with product ids that never come again."""

    def __init__(self, templates: Sequence[bytes], *, first: int) -> None:
        self._templates = templates
        self._first = first

    def __len__(self) -> int:
        """More than anybody sends."""
        return sys.maxsize

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        """One request."""
        if isinstance(index, slice):
            raise TypeError("one request at a time")
        number = self._first + index
        return self._templates[number % len(self._templates)].replace(MARK, b"~%09d" % number)


@dataclass
class Rounds:
    """Figures of one server, one entry a round."""

    products_per_second: list[float] = field(default_factory=list)
    cpu_microseconds: list[float] = field(default_factory=list)  # of the process tree, a product


def main() -> int:
    """Measure, print, and say whether the promises were kept."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="winnow-cost-") as temporary:
        directory = Path(temporary)
        if arguments.stand_in:
            home, catalogue = stand_in(directory, n_products=N_RECORDS)
        else:
            home, catalogue = bentoml_home(), open_catalogue(arguments.catalogue)
        posted = stream(catalogue, N_RECORDS)
        shared = {"BENTOML_HOME": str(home), "WINNOW_WORKERS": str(arguments.workers)}
        queue = {"WINNOW_DATABASE_URL": f"sqlite:///{directory / 'queue.sqlite3'}"}
        without = {"WINNOW_DATABASE_URL": f"sqlite:///{directory / 'unused.sqlite3'}", "WINNOW_QUEUE": "false"}
        claims = []
        with ExitStack() as stack:
            on = stack.enter_context(serving("on", winnow_command(), ready="/readyz", environment=shared | queue))
            if arguments.only != "memory":
                off_server = serving("off", winnow_command(), ready="/readyz", environment=shared | without)
                with off_server as off:
                    for n_together in (1, 64):
                        requests = templates(posted, n_together, image=arguments.images)
                        claims.append(_compare(on, off, requests, n_together, arguments))
            if arguments.only != "throughput":
                requests = templates(posted, arguments.memory_together, image=arguments.images)
                claims.append(_remember(on, requests, arguments.memory_requests, arguments.memory_together))
    return conclude("What sampling for the label queue costs", claims)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("catalogue", nargs="?", type=Path, default=ROOT / "data" / "demo")
    parser.add_argument("--stand-in", action="store_true", help="a tiny bundle and made-up products")
    parser.add_argument("--only", choices=("throughput", "memory"), help="one half")
    parser.add_argument("--images", action="store_true", help="send the products' images, too")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--products", type=int, default=4_000, help="a round and server")
    parser.add_argument("--memory-requests", type=int, default=200_000, help="requests while memory is read")
    parser.add_argument("--memory-together", type=int, default=1, help="products in each of them")
    return parser.parse_args()


def templates(posted: Posted, n_together: int, *, image: bool) -> list[bytes]:
    """Requests with a mark in every product id."""
    marked = [
        {
            name: f"{value}{MARK.decode()}" if name == posted.id_field else value
            for name, value in record.items()
            if image or name != "image"
        }
        for record in posted.records
    ]
    return [classify_request(group) for group in groups(marked, n_together) if len(group) == n_together]


def _compare(
    on: Server, off: Server, requests: Sequence[bytes], n_together: int, arguments: argparse.Namespace
) -> Claim:
    n_requests = max(50, arguments.products // n_together)
    rounds = {on: Rounds(), off: Rounds()}
    for number in range(-2, arguments.rounds):  # the first two warm up
        for server in (on, off) if number % 2 else (off, on):
            figures = _round(server, NewProducts(requests, first=(number + 2) * n_requests), n_requests, n_together)
            if number >= 0:
                rounds[server].products_per_second.append(figures[0])
                rounds[server].cpu_microseconds.append(figures[1])
    with_it, without = rounds[on], rounds[off]
    throughput = _ratios(with_it.products_per_second, without.products_per_second)
    cpu = _ratios(with_it.cpu_microseconds, without.cpu_microseconds)
    Console().print(_table(rounds, throughput, cpu, n_together, n_requests))
    share = statistics.median(throughput)
    sentence = f"with {n_together} a request, throughput is at least {LEAST_SHARE:.0%} of that without sampling"
    return Claim(sentence, f"{share:.1%}, CPU {statistics.median(cpu):.1%}", share >= LEAST_SHARE)


def _round(server: Server, requests: Sequence[bytes], n_requests: int, n_together: int) -> tuple[float, float]:
    before = server.cpu_seconds()
    load = run_load(server.port, requests, n_requests=n_requests, concurrency=CONCURRENCY)
    if load.n_failed:
        raise RuntimeError(f"the server with queueing {server.name} failed {load.n_failed} of {n_requests} requests")
    n_products = n_requests * n_together
    return n_products / load.seconds, (server.cpu_seconds() - before) / n_products * 1e6


def _ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    return [numerator / denominator for numerator, denominator in zip(numerators, denominators, strict=True)]


def _remember(server: Server, requests: Sequence[bytes], n_requests: int, n_together: int) -> Claim:
    """Read the memory while new products keep coming."""
    readings = [server.resident_bytes()]
    n_failed, seconds = 0, 0.0
    for reading in range(N_READINGS):
        first = 500_000_000 + reading * (n_requests // N_READINGS)
        load = run_load(
            server.port,
            NewProducts(requests, first=first),
            n_requests=n_requests // N_READINGS,
            concurrency=CONCURRENCY,
        )
        n_failed, seconds = n_failed + load.n_failed, seconds + load.seconds
        readings.append(server.resident_bytes())
    shown = ", ".join(f"{value / MEBIBYTE:.1f}" for value in readings)
    Console().print(f"memory of the process tree in MiB, every {n_requests // N_READINGS:,} requests: {shown}")
    growth = readings[-1] / readings[N_READINGS // 10]
    return Claim(
        f"memory is flat over {n_requests:,} requests of {n_together}, none of which fails",
        f"{growth - 1:+.1%} from a tenth of them to the end, {n_failed} failed, {n_requests / seconds:,.0f} requests/s",
        growth <= MOST_GROWTH and not n_failed,
    )


def _table(
    rounds: dict[Server, Rounds], throughput: Sequence[float], cpu: Sequence[float], n_together: int, n_requests: int
) -> Table:
    n_rounds = len(throughput)
    table = Table(
        title=f"{n_together} a request, {CONCURRENCY} connections, {n_rounds} rounds of {n_requests} requests"
    )
    for heading in ("queueing", "products/s", "CPU µs a product"):
        table.add_column(heading, justify="left" if heading == "queueing" else "right")
    for server, figures in rounds.items():
        table.add_row(server.name, _spread(figures.products_per_second), _spread(figures.cpu_microseconds))
    table.add_row("on / off", _spread(throughput, ".3f"), _spread(cpu, ".3f"))
    return table


def _spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:{form}} ({low:{form}}–{high:{form}})"


if __name__ == "__main__":
    sys.exit(main())
