"""`winnow score` beside the graph alone: CPU and wall time a product, and memory as the catalogue grows.

Run: python -m benchmarks.bulk [CATALOGUE]. The products are those of the stream, without images, repeated under new
ids until there are enough. CPU and memory are those of the whole process tree; CPU of the smaller run is taken off
that of the larger, so that starting up does not count.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.classify import raw
from benchmarks.servers import ROOT, bentoml_home
from benchmarks.watched import Took, unshared_bytes, watched
from service.bundles.bundle import read_bundle
from service.bundles.bundle_store import BundleStore
from training.catalogues.catalogue import Catalogue, open_catalogue
from training.catalogues.tables import write_table


@dataclass(frozen=True)
class Run:
    """What one run of the command took."""

    n_products: int
    took: Took


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("catalogue", nargs="?", type=Path, default=ROOT / "data" / "demo")
    parser.add_argument("--sizes", type=int, nargs=2, default=(17_000, 200_000))
    parser.add_argument("--suffix", choices=("parquet", "jsonl"), default="parquet")
    arguments = parser.parse_args()
    catalogue = open_catalogue(arguments.catalogue)
    bundle = read_bundle(BundleStore(bentoml_home()).load("current"))
    records = list(itertools.islice(catalogue.records("stream"), 512))
    alone = dict(raw(bundle, catalogue, records, images=False))
    limit = min(statistics.median(measure()[1] for _ in range(5)) for measure in alone.values())
    runs = [_run(catalogue, n_products, arguments.suffix) for n_products in arguments.sizes]
    Console().print(_table(runs, limit))


def _run(catalogue: Catalogue, n_products: int, suffix: str) -> Run:
    with tempfile.TemporaryDirectory() as directory:
        grown, out = _grown(catalogue, n_products, Path(directory) / "catalogue"), Path(directory) / f"scores.{suffix}"
        command = [sys.executable, "-m", "training.cli", "score", str(grown), "--out", str(out)]
        return Run(n_products, watched(command, cwd=ROOT, memory=unshared_bytes))


def _grown(catalogue: Catalogue, n_products: int, directory: Path) -> Path:
    """The same catalogue with so many products in its stream."""
    shutil.copytree(catalogue.directory, directory)
    id_field, image = catalogue.fields.id, catalogue.fields.image
    rows = list(itertools.islice(_repeated(list(catalogue.records("stream")), id_field, image), n_products))
    write_table(
        directory / catalogue.tables["stream"].products, {name: [row[name] for row in rows] for name in rows[0]}
    )
    return directory


def _repeated(records: list[dict[str, Any]], id_field: str, image: str | None) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(itertools.cycle(records)):
        yield {**record, id_field: f"{record[id_field]}~{number}"} | ({image: None} if image else {})


def _table(runs: list[Run], limit: float) -> Table:
    small, large = runs
    each = (large.took.cpu_seconds - small.took.cpu_seconds) / (large.n_products - small.n_products) * 1e6
    table = Table(title=f"winnow score on {os.cpu_count()} cores; the graph alone takes {limit:.0f} CPU µs a product")
    for heading in ("products", "wall s", "CPU s", "peak memory MB"):
        table.add_column(heading, justify="right")
    for run in runs:
        table.add_row(
            f"{run.n_products:,}",
            f"{run.took.wall_seconds:.1f}",
            f"{run.took.cpu_seconds:.1f}",
            f"{run.took.peak_bytes / 1e6:.0f}",
        )
    table.caption = f"{each:.0f} CPU µs for each product more: the graph's CPU / its CPU is {limit / each:.2f}"
    return table


if __name__ == "__main__":
    main()
