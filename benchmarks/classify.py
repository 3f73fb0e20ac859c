"""Server CPU a product and requests a second of `POST /classify`, beside the graph alone and beside its peers.

Run: python -m benchmarks.classify [CATALOGUE] [--only NAME]. All answer from the current bundle of the model store
about the same products, interleaved round by round; the tables give medians and the spread. CPU is that of the whole
process tree of a server, so that the load generator beside it does not count.
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import CONTENDERS, EMPTY, SAME_ON_UVICORN, WINNOW, Contender
from benchmarks.load import run_load
from benchmarks.servers import ROOT, Server, bentoml_home
from service.bundles.bundle import Bundle, read_bundle
from service.bundles.bundle_store import BundleStore
from service.ensemble import Ensemble
from service.features.encoder import Encoder, collate
from training.catalogues.catalogue import Catalogue, open_catalogue

N_PRODUCTS = 512
RAW_BATCHES = (32, 64, 128)  # the best of them is the limit
CONCURRENCY = 64

Measure = Callable[[], tuple[float, float]]
Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Shape:
    """What one table measures.

    Parameters
    ----------
    n_together : products a request
    image_side : pixels to which the longer side of each image is brought first; as it is in the catalogue by default
    """

    title: str
    n_together: int = 1
    images: bool = False
    image_side: int | None = None


SHAPES = {
    "1": Shape("one product a request"),
    "64": Shape("64 products a request", n_together=64),
    "images": Shape("one product with its image a request", images=True),
    "photos": Shape("one product with an image of 600 pixels a request", images=True, image_side=600),
}


@dataclass(frozen=True)
class Measured:
    """One contender's figures, one entry a round."""

    products_per_second: list[float]
    cpu_microseconds: list[float]  # of the server's process tree, a product


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("catalogue", nargs="?", type=Path, default=ROOT / "data" / "demo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2_000, help="a round and contender")
    parser.add_argument("--shape", choices=SHAPES, action="append", help="a table to make; all by default")
    parser.add_argument("--only", action="append", help="a contender beside Winnow; all by default")
    arguments = parser.parse_args()
    catalogue = open_catalogue(arguments.catalogue)
    directory = BundleStore(bentoml_home()).load("current")
    for name in arguments.shape or SHAPES:
        shape = SHAPES[name]
        n_requests = max(60, arguments.requests // shape.n_together)
        measured = _measure(
            directory, catalogue, shape, n_rounds=arguments.rounds, n_requests=n_requests, only=arguments.only
        )
        Console().print(_table(measured, shape, arguments.rounds, n_requests))


def _measure(
    directory: Path,
    catalogue: Catalogue,
    shape: Shape,
    *,
    n_rounds: int,
    n_requests: int,
    only: Sequence[str] | None,
) -> dict[str, Measured]:
    records = list(itertools.islice(catalogue.records("test"), N_PRODUCTS))
    if side := shape.image_side:
        records = [_with_side(record, catalogue.fields.image, side) for record in records]
    bodies = [posted(catalogue, record, images=shape.images) for record in records]
    with ExitStack() as stack:
        measures: dict[str, Measure] = dict(raw(read_bundle(directory), catalogue, records, images=shape.images))
        for contender in _chosen(shape, only):
            home = bundle_home(directory, Path(stack.enter_context(tempfile.TemporaryDirectory())))
            server = stack.enter_context(contender.serving(directory, home))
            measures[contender.name] = _served(server, contender, bodies, n_requests, shape.n_together)
        return _interleaved(measures, n_rounds)


def _chosen(shape: Shape, only: Sequence[str] | None) -> list[Contender]:
    """With images our application alone, as the peers are given none; an empty answer beside one product's alone."""
    some = (WINNOW, SAME_ON_UVICORN, EMPTY) if shape.images else CONTENDERS
    return [
        contender
        for contender in some
        if contender is WINNOW
        or ((only is None or contender.name in only) and not (contender is EMPTY and shape.n_together > 1))
    ]


def bundle_home(bundle: Path, directory: Path) -> Path:
    """Make a model store of a server's own in which a bundle is current."""
    store = BundleStore(directory)
    store.promote(store.save(shutil.copytree(bundle, directory / "draft")))
    return directory


def _interleaved(measures: Mapping[str, Measure], n_rounds: int) -> dict[str, Measured]:
    measured = {name: Measured([], []) for name in measures}
    for round_number in range(-1, n_rounds):  # the first round warms up and is not counted
        for name in Random(round_number).sample(list(measures), len(measures)):  # so that nobody always comes first
            products_per_second, cpu_microseconds = measures[name]()
            if round_number >= 0:
                measured[name].products_per_second.append(products_per_second)
                measured[name].cpu_microseconds.append(cpu_microseconds)
    return measured


def _served(server: Server, contender: Contender, records: Records, n_requests: int, n_together: int) -> Measure:
    starts = range(0, len(records) - n_together + 1, n_together)
    requests = [contender.request(records[start : start + n_together]) for start in starts]

    def run() -> tuple[float, float]:
        before = server.cpu_seconds()
        load = run_load(server.port, requests, n_requests=n_requests, concurrency=CONCURRENCY)
        if load.n_failed:
            raise RuntimeError(f"{server.name} answered {load.n_failed} of {n_requests} requests with an error")
        n_products = n_requests * n_together
        return n_products / load.seconds, (server.cpu_seconds() - before) / n_products * 1e6

    return run


def raw(bundle: Bundle, catalogue: Catalogue, records: Records, *, images: bool) -> list[tuple[str, Measure]]:
    """The limit: batches encoded beforehand, one thread, nothing but the graph and, with images, Pillow."""
    encoder, ensemble, column = Encoder(bundle.encoding), Ensemble(bundle), catalogue.fields.image
    contents = [record[column] if images and column else None for record in records]
    products = [catalogue.fields.product(record) for record in records]

    def pixels(content: bytes | None) -> NDArray[np.uint8] | None:
        return None if content is None else _square_by_pillow(content, bundle.encoding.image_size)

    encoded = [encoder.encode(product, pixels(content)) for product, content in zip(products, contents, strict=True)]

    def limit(batch_size: int) -> Measure:
        batches = [collate(encoded[start : start + batch_size]) for start in range(0, len(encoded), batch_size)]

        def run() -> tuple[float, float]:
            started, cpu = time.perf_counter(), time.process_time()
            for content in contents:
                pixels(content)
            for batch in batches:
                ensemble.predict(batch)
            n_products = len(encoded)
            return n_products / (time.perf_counter() - started), (time.process_time() - cpu) / n_products * 1e6

        return run

    return [(f"graph alone, batches of {batch_size}", limit(batch_size)) for batch_size in RAW_BATCHES]


def _with_side(record: dict[str, Any], column: str | None, side: int) -> dict[str, Any]:
    if not column or record[column] is None:
        return record
    with Image.open(io.BytesIO(record[column])) as image:
        scale = side / max(image.size)
        width, height = (round(length * scale) for length in image.size)
        large, buffer = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC), io.BytesIO()
    large.save(buffer, "JPEG", quality=85)
    return {**record, column: buffer.getvalue()}


def _square_by_pillow(content: bytes, size: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (size, size))
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def _table(measured: dict[str, Measured], shape: Shape, n_rounds: int, n_requests: int) -> Table:
    table = Table(title=f"{shape.title}, {CONCURRENCY} connections, {n_rounds} rounds of {n_requests}")
    for heading in ("", "products/s", "CPU µs a product", "graph's CPU / its CPU", "its CPU / Winnow's"):
        table.add_column(heading, justify="right" if heading else "left")
    alone = [measured[name].cpu_microseconds for name in measured if name.startswith("graph alone")]
    limit = min(alone, key=statistics.median)
    winnow = measured[WINNOW.name].cpu_microseconds
    for name, figures in measured.items():
        cpu = figures.cpu_microseconds
        table.add_row(
            name, _spread(figures.products_per_second), _spread(cpu), _ratios(limit, cpu), _ratios(cpu, winnow)
        )
    return table


def _ratios(above: Sequence[float], below: Sequence[float]) -> str:
    return _spread([one / other for one, other in zip(above, below, strict=True)], 2)


def _spread(values: Sequence[float], digits: int = 0) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def posted(catalogue: Catalogue, record: Mapping[str, Any], *, images: bool) -> dict[str, Any]:
    """A record as a backend posts it, with its image in base64 or without one."""
    column = catalogue.fields.image
    body = {name: value for name, value in record.items() if name != column}
    if images and column and record[column] is not None:
        body[column] = base64.b64encode(record[column]).decode()
    return body


if __name__ == "__main__":
    main()
