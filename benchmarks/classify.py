"""Requests per second and server CPU per request of `POST /classify`, beside raw onnxruntime and a plain FastAPI app.

Run: python -m benchmarks.classify [CATALOGUE]. All three answer from the same bundle (the current one in the model
store) on the same products, without images, interleaved round by round; the table gives medians and the spread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.load import request_bytes, run_load
from benchmarks.servers import ROOT, Server, bentoml_home, peer_python, serving, winnow_command
from service.bundle import Bundle, read_bundle
from service.bundle_store import BundleStore
from service.ensemble import Ensemble
from service.features.encoder import Encoder, collate
from training.catalogue import Catalogue, open_catalogue

FASTAPI = ("fastapi", "uvicorn", "uvloop", "httptools", "onnxruntime", "numpy", "pydantic", "pillow")
N_PRODUCTS = 512
RAW_BATCH = 32
CONCURRENCY = 64


@dataclass(frozen=True)
class Measured:
    """One contender's figures, one entry a round."""

    products_per_second: list[float]
    cpu_microseconds: list[float]  # of the server's process tree, a product


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("catalogue", nargs="?", type=Path, default=ROOT / "data" / "demo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4_000, help="a round and contender")
    arguments = parser.parse_args()
    catalogue = open_catalogue(arguments.catalogue)
    directory = BundleStore(bentoml_home()).load("current")
    for n_together in (1, 64):
        n_requests = max(100, arguments.requests // n_together)
        measured = _measure(directory, catalogue, arguments.rounds, n_requests, n_together)
        Console().print(_table(measured, n_together, arguments.rounds, n_requests))


def _measure(
    directory: Path, catalogue: Catalogue, n_rounds: int, n_requests: int, n_together: int
) -> dict[str, Measured]:
    records = [_without_image(catalogue, record) for record in itertools.islice(catalogue.records("test"), N_PRODUCTS)]
    requests = [
        request_bytes("/classify", json.dumps({"products": records[start : start + n_together]}).encode())
        for start in range(0, len(records) - n_together + 1, n_together)
    ]
    python = peer_python("fastapi", FASTAPI)
    peer = [str(python), "-m", "uvicorn", "benchmarks.peers.fastapi_app:app", "--port", "{port}", "--no-access-log"]
    environment = {"PEER_BUNDLE": str(directory), "OMP_NUM_THREADS": "1"}
    with (
        serving("Winnow", winnow_command(), ready="/readyz", environment={}) as winnow,
        serving("FastAPI", peer, ready="/ready", environment=environment) as fastapi,
    ):
        raw = _raw(read_bundle(directory), catalogue, records)
        contenders: dict[str, Callable[[], tuple[float, float]]] = {
            "raw onnxruntime": raw,
            "Winnow": lambda: _served(winnow, requests, n_requests, n_together),
            "FastAPI": lambda: _served(fastapi, requests, n_requests, n_together),
        }
        return _interleaved(contenders, n_rounds)


def _interleaved(contenders: dict[str, Callable[[], tuple[float, float]]], n_rounds: int) -> dict[str, Measured]:
    measured = {name: Measured([], []) for name in contenders}
    for round_number in range(-1, n_rounds):  # the first round warms up and is not counted
        for name, contender in contenders.items():
            products_per_second, cpu_microseconds = contender()
            if round_number >= 0:
                measured[name].products_per_second.append(products_per_second)
                measured[name].cpu_microseconds.append(cpu_microseconds)
    return measured


def _served(server: Server, requests: Sequence[bytes], n_requests: int, n_together: int) -> tuple[float, float]:
    before = server.cpu_seconds()
    load = run_load(server.port, requests, n_requests=n_requests, concurrency=CONCURRENCY)
    if load.n_failed:
        raise RuntimeError(f"{server.name} answered {load.n_failed} of {n_requests} requests with an error")
    n_products = n_requests * n_together
    return n_products / load.seconds, (server.cpu_seconds() - before) / n_products * 1e6


def _raw(bundle: Bundle, catalogue: Catalogue, records: Sequence[dict[str, Any]]) -> Callable[[], tuple[float, float]]:
    """The limit: batches encoded beforehand, one thread, nothing but the graph."""
    encoder, ensemble = Encoder(bundle.encoding), Ensemble(bundle)
    encoded = [encoder.encode(catalogue.fields.product(record), None) for record in records]
    batches = [collate(encoded[start : start + RAW_BATCH]) for start in range(0, len(encoded), RAW_BATCH)]

    def run() -> tuple[float, float]:
        started, cpu = time.perf_counter(), time.process_time()
        for batch in batches * 4:
            ensemble.predict(batch)
        n_products = 4 * len(encoded)
        return n_products / (time.perf_counter() - started), (time.process_time() - cpu) / n_products * 1e6

    return run


def _table(measured: dict[str, Measured], n_together: int, n_rounds: int, n_requests: int) -> Table:
    products = "product" if n_together == 1 else "products"
    table = Table(
        title=f"{n_together} {products} a request, {CONCURRENCY} connections, {n_rounds} rounds of {n_requests}"
    )
    for heading in ("", "products/s", "CPU µs a product", "raw CPU / its CPU"):
        table.add_column(heading, justify="right" if heading else "left")
    raw = measured["raw onnxruntime"].cpu_microseconds
    for name, figures in measured.items():
        ratios = [limit / own for limit, own in zip(raw, figures.cpu_microseconds, strict=True)]
        table.add_row(name, _spread(figures.products_per_second), _spread(figures.cpu_microseconds), _spread(ratios, 2))
    return table


def _spread(values: Sequence[float], digits: int = 0) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def _without_image(catalogue: Catalogue, record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != catalogue.fields.image}


if __name__ == "__main__":
    main()
