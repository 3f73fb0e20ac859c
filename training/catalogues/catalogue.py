"""A catalogue: its products and labels, read from the tables that its catalogue.toml names.

Product tables are left to `training.catalogues.records`, label tables to `training.catalogues.label_tables`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.bundles.bundle import Manifest
from service.contracts import FieldSpec, Product
from service.errors import CatalogueError
from service.taxonomy import Taxonomy
from training.catalogues.catalogue_file import (
    FILE_NAME,
    PartName,
    PartTables,
    ThresholdSettings,
    read_catalogue_file,
)
from training.catalogues.cells import MissingImage, Place
from training.catalogues.label_tables import check_classes, read_labels, read_rows, read_taxonomy, row_of_id
from training.catalogues.left_out import check_images
from training.catalogues.records import checked_records, without_missing
from training.catalogues.tables import Cells, column_names, count_rows, read_batches

Labels = NDArray[np.int8]  # (n_products, n_classes): 1 yes, 0 no, -1 unknown
LabelTable = Literal["merchant_labels", "truth"]


@dataclass(frozen=True)
class Part:
    """One part of a catalogue, in the order of its product table.

    Parameters
    ----------
    merchant_labels, truth : (n_products, n_classes), or None where the part has no such table
    missing_images : product id and reason, of every product whose image cell leads to no file
    n_unmatched_labels : rows of the label tables whose id is no product of this part; they are passed over
    """

    products: list[Product]
    merchant_labels: Labels | None
    truth: Labels | None
    missing_images: tuple[tuple[str, str], ...] = ()
    n_unmatched_labels: int = 0


@dataclass(frozen=True)
class Catalogue:
    """An opened catalogue: every table it names is there, with the columns it should have."""

    name: str
    directory: Path
    fields: FieldSpec
    taxonomy: Taxonomy
    tables: Mapping[PartName, PartTables]
    thresholds: ThresholdSettings

    def check_fit(self, manifest: Manifest) -> None:
        """Refuse a bundle that was trained with other fields or classes.

        Raises
        ------
        CatalogueError
            Naming what differs.
        """
        if self.fields != manifest.fields:
            raise CatalogueError(f"[fields] of {self.name} differ from those of {manifest.version}; train on it first")
        if self.taxonomy != manifest.taxonomy:
            raise CatalogueError(
                f"the classes of {self.name} differ from those of {manifest.version}; train on it first"
            )

    def check_filled(self, part: PartName, labels: LabelTable) -> None:
        """Refuse a catalogue without a product in this part, or without this label table of it, before it is read.

        Raises
        ------
        CatalogueError
            Naming what is missing.
        """
        if getattr(self._tables(part), labels) is None:
            raise CatalogueError(f'[{part}] of {self.name} names no {labels}; add {labels} = "…" to its {FILE_NAME}')
        if count_rows(self.path(part)) < 1:
            raise self._without_products(part)

    def records(self, part: PartName) -> Iterator[dict[str, Any]]:
        """Rows of a part as a feed posts them: None for null, numbers as numbers, images as bytes.

        Holds one batch in memory at a time, and so does not notice a repeated id; `read` does.

        Raises
        ------
        CatalogueError
            If the part is not there or a cell is not what its column should hold.
        """
        for record in self._records(part):
            yield without_missing(record, self.fields.image)

    def path(self, part: PartName) -> Path:
        """The table of a part's products."""
        return self.directory / self._tables(part).products

    def batches(self, part: PartName) -> Iterator[dict[str, Cells]]:
        """The product table of a part as it was read, some rows at a time; `checked` makes records of them."""
        return read_batches(self.path(part), self.fields.columns)

    def checked(self, part: PartName, batch: Mapping[str, Cells], *, first_row: int) -> list[dict[str, Any]]:
        """The records of a batch, as `records` has them.

        Raises
        ------
        CatalogueError
            If a cell is not what its column should hold.
        """
        return [without_missing(record, self.fields.image) for record in self._checked(part, batch, first_row)]

    def merchant_labels(self, part: PartName) -> tuple[dict[str, int], Labels] | None:
        """The row of each product's id, and the labels of the rows; None if the part has no merchant labels."""
        table = self._tables(part).merchant_labels
        if table is None:
            return None
        path = self.directory / table
        ids, labels = read_rows(path, self.fields.id, self.taxonomy.classes)
        return row_of_id(ids, Place(path, self.fields.id, 1)), labels

    def read(self, part: PartName) -> Part:
        """Read products and labels of a part.

        A product without a row in a label table is unknown in every class. A label row without a product, and an image
        that is not there, are passed over with a warning, unless that leaves next to nothing.

        Raises
        ------
        CatalogueError
            If the part is not there, an id is repeated, a cell is not what its column should hold, most label rows
            have no product, or all images are given by URL or in base64.
        """
        products: list[Product] = []
        missing: list[tuple[str, str]] = []
        for record in self._records(part):
            image = record[self.fields.image] if self.fields.image else None
            present = None if isinstance(image, MissingImage) else image
            products.append(self.fields.product(record, image=present))
            if isinstance(image, MissingImage):
                missing.append((products[-1].product_id, image.reason))
        if missing:
            n_images = len(missing) + sum(product.image is not None for product in products)
            check_images(f"[{part}] of {self.name}", str(self.fields.image), missing, n_images=n_images)
        tables = self._tables(part)
        row_of = row_of_id(
            [product.product_id for product in products], Place(self.directory / tables.products, self.fields.id, 1)
        )
        merchant_labels, n_unmatched = self._labels(tables.merchant_labels, row_of)
        truth, n_unmatched_truth = self._labels(tables.truth, row_of)
        return Part(products, merchant_labels, truth, tuple(missing), n_unmatched + n_unmatched_truth)

    def read_filled(self, part: PartName) -> Part:
        """The same of a part that must have a product.

        Raises
        ------
        CatalogueError
            As `read`, and if there is no product.
        """
        found = self.read(part)
        if not found.products:
            raise self._without_products(part)
        return found

    def with_truth(self, part: PartName) -> Catalogue:
        """This catalogue with the truth of a part: as its catalogue.toml names it, or else the table that lies beside.

        A catalogue to learn from merchant labels keeps the truth of its train part out of the catalogue.toml, so that
        nothing reads it by accident; `train.products.parquet` then has `train.truth.parquet` beside it.

        Raises
        ------
        CatalogueError
            If there is no such table either.
        """
        tables = self._tables(part)
        if tables.truth is not None:
            return self
        beside = _beside(tables)
        if not self.has_truth(part):
            raise CatalogueError(f'[{part}] of {self.name} names no truth; add truth = "…" to its {FILE_NAME}')
        classes = self.taxonomy.classes
        check_classes(self.directory / beside, self.fields.id, classes, of="the other label tables")
        return replace(self, tables={**self.tables, part: tables.model_copy(update={"truth": beside})})

    def has_truth(self, part: PartName) -> bool:
        """Whether `with_truth` finds one."""
        tables = self._tables(part)
        beside = _beside(tables)
        return tables.truth is not None or (beside != tables.products and (self.directory / beside).is_file())

    def _without_products(self, part: PartName) -> CatalogueError:
        return CatalogueError(f"[{part}] of {self.name} has no products; fill its table {self._tables(part).products}")

    def _tables(self, part: PartName) -> PartTables:
        if part not in self.tables:
            raise CatalogueError(f"the catalogue {self.name!r} has no {part} part; add [{part}] to its {FILE_NAME}")
        return self.tables[part]

    def _records(self, part: PartName) -> Iterator[dict[str, Any]]:
        """Records, where an image that is not there is a `MissingImage`."""
        first_row = 1
        for batch in self.batches(part):
            records = self._checked(part, batch, first_row)
            yield from records
            first_row += len(records)

    def _checked(self, part: PartName, batch: Mapping[str, Cells], first_row: int) -> list[dict[str, Any]]:
        return checked_records(self.fields, self.directory, self.path(part), batch, first_row=first_row)

    def _labels(self, table: str | None, row_of: Mapping[str, int]) -> tuple[Labels | None, int]:
        """Labels of a table in the order of the products, and how many of its rows have no product."""
        if table is None:
            return None, 0
        return read_labels(self.directory / table, self.fields.id, self.taxonomy.classes, row_of=row_of)


def open_catalogue(path: Path) -> Catalogue:
    """Open a catalogue: its directory, or the catalogue.toml in it.

    Raises
    ------
    CatalogueError
        If the catalogue.toml is not valid, a table or column is missing, or label tables differ in their classes.
    """
    file = path / FILE_NAME if path.is_dir() else path
    content = read_catalogue_file(file)
    directory = file.parent
    for tables in content.parts.values():
        _check_columns(directory / tables.products, content.fields)
    taxonomy = read_taxonomy(directory, content)
    foreign = sorted(set(content.thresholds.classes) - set(taxonomy.classes))
    if foreign:
        raise CatalogueError(
            f"{file.name}: [thresholds.classes] names {foreign[0]!r}, which is no class of the catalogue"
        )
    return Catalogue(content.name, directory, content.fields, taxonomy, content.parts, content.thresholds)


def _check_columns(path: Path, fields: FieldSpec) -> None:
    have = column_names(path)
    absent = [column for column in fields.columns if column not in have]
    if absent:
        raise CatalogueError(
            f"{path.name}: there is no column {absent[0]!r}, which [fields] names; it has {', '.join(have)}"
        )


def _beside(tables: PartTables) -> str:
    """Where the truth of a part lies if its catalogue.toml does not say."""
    return tables.products.replace("products", "truth")
