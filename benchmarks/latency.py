"""How long answers take: alone, at half of capacity, before and after a burst, and at four times capacity.

Run: python -m benchmarks.latency [CATALOGUE] [--apart]. Capacity is what 64 connections that never pause get; the
rates are fractions of it, of an open loop. One product a request, without images.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.classify import CONCURRENCY, N_PRODUCTS, bundle_home, posted
from benchmarks.contenders import WINNOW
from benchmarks.load import Load, run_load
from benchmarks.open_load import run_open_load
from benchmarks.servers import ROOT, Server, apart, bentoml_home
from service.bundles.bundle_store import BundleStore
from training.catalogues.catalogue import open_catalogue


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("catalogue", nargs="?", type=Path, default=ROOT / "data" / "demo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each open-loop run")
    parser.add_argument("--requests", type=int, default=2_000, help="to find the capacity with")
    parser.add_argument("--apart", action="store_true", help="server and sender on a processor each")
    arguments = parser.parse_args()
    catalogue = open_catalogue(arguments.catalogue)
    records = list(itertools.islice(catalogue.records("test"), N_PRODUCTS))
    requests = [WINNOW.request([posted(catalogue, record, images=False)]) for record in records]
    bundle = BundleStore(bentoml_home()).load("current")
    table = _table(arguments.rounds, arguments.seconds)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        serving = WINNOW.serving(bundle, bundle_home(bundle, Path(directory)))
        server = stack.enter_context(apart(serving) if arguments.apart else serving)
        run_load(server.port, requests, n_requests=1_000, concurrency=CONCURRENCY)
        rounds = [
            _round(server, requests, arguments.requests, arguments.seconds, seed) for seed in range(arguments.rounds)
        ]
    for name in rounds[0]:
        table.add_row(name, *(_spread([one[name][place] for one in rounds]) for place in range(5)))
    Console().print(table)


Figures = tuple[float, float, float, float, float]  # rate, goodput, p50, p99, refused share


def _round(server: Server, requests: Sequence[bytes], n_requests: int, seconds: float, seed: int) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    alone = run_load(server.port, requests, n_requests=min(400, n_requests), concurrency=1)
    found["one at a time"] = _figures(alone, alone.requests_per_second)
    full = run_load(server.port, requests, n_requests=n_requests, concurrency=CONCURRENCY)
    capacity = full.requests_per_second
    found["capacity, 64 connections"] = _figures(full, capacity)
    for name, share in (
        ("a tenth of capacity", 0.1),
        ("half of capacity", 0.5),
        ("four times capacity", 4.0),
        ("a tenth, after that burst", 0.1),
    ):
        load = run_open_load(server.port, requests, rate=share * capacity, seconds=seconds, seed=seed)
        found[name] = _figures(load, share * capacity)
    return found


def _figures(load: Load, rate: float) -> Figures:
    refused = load.n_failed / load.statuses.total()
    return rate, load.requests_per_second, load.percentile(0.5) * 1e3, load.percentile(0.99) * 1e3, 100 * refused


def _table(n_rounds: int, seconds: float) -> Table:
    table = Table(title=f"latency of one product a request, {n_rounds} rounds, open loop for {seconds:g} s each")
    for heading in ("", "requests/s sent", "answered 200", "p50 ms", "p99 ms", "refused %"):
        table.add_column(heading, justify="right" if heading else "left")
    return table


def _spread(values: Sequence[float]) -> str:
    digits = 0 if max(values) >= 100 else 2
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


if __name__ == "__main__":
    main()
