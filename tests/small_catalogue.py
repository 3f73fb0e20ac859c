"""A catalogue of two products, of which a test may spoil any part."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image

from service.errors import CatalogueError
from tests.catalogues import Columns
from training.catalogues.catalogue import open_catalogue
from training.catalogues.tables import write_table

TOML = """
name = "shop"
[fields]
id = "sku"
text = ["title"]
categorical = ["brand", { column = "path", separator = ">" }]
numerical = ["price"]
image = "photo"
[train]
products = "products.SUFFIX"
merchant_labels = "labels.SUFFIX"
"""
PRODUCTS: Columns = {
    "sku": ["007", "8"],
    "title": ["Mug, large\nblue", None],
    "brand": ["Kilnley", "Ravel"],
    "path": ["Home > Kitchen", None],
    "price": [12.5, None],
    "photo": ["mug.png", None],
}
LABELS: Columns = {"sku": ["8", "007"], "home": [0, 1], "fragile": [None, 1]}
OUTSIDE = "the path leads outside the catalogue; use one relative to the catalogue.toml, without '..'"


def png(colour: str = "navy") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


def make_catalogue(
    directory: Path,
    suffix: str = "csv",
    *,
    products: Mapping[str, Sequence[object]] = PRODUCTS,
    labels: Mapping[str, Sequence[object]] = LABELS,
    toml: str = TOML,
) -> Path:
    (directory / "mug.png").write_bytes(png())
    write_table(directory / f"products.{suffix}", products)
    write_table(directory / f"labels.{suffix}", labels)
    (directory / "catalogue.toml").write_text(toml.replace("SUFFIX", suffix))
    return directory


def message(directory: Path) -> str:
    with pytest.raises(CatalogueError) as caught:
        open_catalogue(directory).read("train")
    return str(caught.value)
