"""A catalogue's products as a shop's backend posts them, and its truth as an annotator without faults answers."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.load import request_bytes
from benchmarks.servers import bentoml_home
from service.bundles.bundle_store import BundleStore
from service.label_queue.rows import Answer
from tests.tiny_bundle import CLASSES, write_tiny_bundle
from training.catalogues.catalogue import Catalogue, open_catalogue
from training.catalogues.catalogue_file import PartName
from training.catalogues.tables import write_table

Answers = Mapping[str, Mapping[str, Answer]]  # product id -> class -> answer
Record = Mapping[str, Any]

SAID: Mapping[int, Answer] = {1: "yes", 0: "no", -1: "unsure"}
WORDS = ("black", "dress", "leather", "boots", "red", "shirt", "cotton", "sale")
TURN = "~"  # between a product's id and the number of its turn
STAND_IN = """name = "stand-in"
[fields]
id = "product_id"
text = ["title", "description"]
categorical = ["brand", { column = "merchant_category", separator = "," }]
numerical = ["price", "n_images"]
image = "image"
[stream]
products = "stream.jsonl"
truth = "truth.jsonl"
"""


@dataclass(frozen=True)
class Posted:
    """Products of one part of a catalogue, and what is true of them."""

    records: list[Record]
    truth: Answers
    id_field: str


def stream(catalogue: Catalogue, n_products: int, *, part: PartName = "stream") -> Posted:
    """The first products of a part, in its order, with images in base64; unknown truth is "unsure"."""
    records = [postable(record) for record in itertools.islice(catalogue.records(part), n_products)]
    content = catalogue.read(part)
    if content.truth is None:
        raise SystemExit(f"[{part}] of {catalogue.name} has no truth; nobody could play the annotator")
    classes = catalogue.taxonomy.classes
    truth = {
        product.product_id: dict(zip(classes, (SAID[int(answer)] for answer in row), strict=True))
        for product, row in zip(content.products[:n_products], content.truth, strict=False)
    }
    return Posted(records, truth, catalogue.fields.id)


def postable(record: Mapping[str, Any]) -> Record:
    """A record as JSON can hold it."""
    return {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in record.items()
    }


def renewed(record: Record, *, id_field: str, turn: str) -> Record:
    """The same product under a new id, which makes it a new product."""
    return {**record, id_field: f"{record[id_field]}{TURN}{turn}"}


def original_id(product_id: str) -> str:
    """The id in the catalogue of a renewed product."""
    return product_id.partition(TURN)[0]


def classify_request(records: Sequence[Record]) -> bytes:
    """The bytes of one classify request."""
    return request_bytes("/classify", json.dumps({"products": records}).encode())


def groups(records: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    """The records, some at a time."""
    return (records[start : start + size] for start in range(0, len(records), size))


def stand_in(directory: Path, *, n_products: int) -> tuple[Path, Catalogue]:
    """A tiny bundle in a model store of its own and a catalogue to go with it, where no trained bundle is at hand.

    Returns
    -------
    BENTOML_HOME, and the catalogue
    """
    home = directory / "bentoml"
    write_tiny_bundle(directory / "tiny")
    store = BundleStore(home)
    store.promote(store.save(directory / "tiny"))
    rng = Random(0)
    rows = [_product(number, rng) for number in range(n_products)]
    truth = [{name: rng.choice((1, 0, 0, None)) for name in CLASSES} for _ in rows]
    ids = {"product_id": [row["product_id"] for row in rows]}
    write_table(directory / "stream.jsonl", {name: [row[name] for row in rows] for name in rows[0]})
    write_table(directory / "truth.jsonl", ids | {name: [row[name] for row in truth] for name in CLASSES})
    (directory / "catalogue.toml").write_text(STAND_IN)
    return home, open_catalogue(directory)


def copied_home(directory: Path, *, tiny: bool) -> Path:
    """A BENTOML_HOME of one's own, with the bundles of the usual one, or with a tiny bundle."""
    source = stand_in(directory, n_products=1)[0] if tiny else bentoml_home()
    home = directory / "own-home"
    shutil.copytree(source / "models", home / "models")
    return home


def _product(number: int, rng: Random) -> dict[str, Any]:
    return {
        "product_id": f"p-{number}",
        "title": " ".join(rng.choices(WORDS, k=4)),
        "description": " ".join(rng.choices(WORDS, k=12)),
        "brand": rng.choice(("acme", "nord", "other")),
        "merchant_category": ",".join(rng.sample(("shoes", "sale", "dresses"), 2)),
        "price": round(rng.uniform(5, 200), 2),
        "n_images": rng.randrange(4),
        "image": None,
    }
