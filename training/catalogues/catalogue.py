"""A catalogue: its products and labels, read from the tables that its catalogue.toml names.

The formats are left to `training.catalogues.tables`, single cells to `training.catalogues.cells`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.bundles.bundle import Manifest
from service.contracts import FieldSpec, Product
from service.errors import CatalogueError, UnreadableImage
from service.features.image import decode_image
from service.taxonomy import Taxonomy
from training.catalogues.catalogue_file import (
    FILE_NAME,
    CatalogueFile,
    PartName,
    PartTables,
    ThresholdSettings,
    read_catalogue_file,
)
from training.catalogues.cells import (
    NOTHING,
    NUMBERS,
    TEXTS,
    UNKNOWN,
    MissingImage,
    Place,
    category_cell,
    id_cell,
    image_cell,
    label_column,
    number_cell,
    plain_column,
    text_cell,
)
from training.catalogues.tables import Cells, column_names, read_batches

Labels = NDArray[np.int8]  # (n_products, n_classes): 1 yes, 0 no, -1 unknown


@dataclass(frozen=True)
class Part:
    """One part of a catalogue, in the order of its product table.

    Parameters
    ----------
    merchant_labels, truth : (n_products, n_classes), or None where the part has no such table
    missing_images : product id and reason, of every product whose image path leads to no file
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

    def has(self, part: PartName) -> bool:
        """Whether the catalogue has this part."""
        return part in self.tables

    def records(self, part: PartName) -> Iterator[dict[str, Any]]:
        """Rows of a part as a feed posts them: None for null, numbers as numbers, images as bytes.

        Holds one batch in memory at a time, and so does not notice a repeated id; `read` does.

        Raises
        ------
        CatalogueError
            If the part is not there or a cell is not what its column should hold.
        """
        for record in self._records(part):
            yield _without_missing(record)

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
        return [_without_missing(record) for record in self._checked(self.path(part), batch, first_row)]

    def merchant_labels(self, part: PartName) -> tuple[dict[str, int], Labels] | None:
        """The row of each product's id, and the labels of the rows; None if the part has no merchant labels."""
        table = self._tables(part).merchant_labels
        if table is None:
            return None
        path = self.directory / table
        ids, labels = _label_rows(path, self.fields.id, self.taxonomy.classes)
        return _row_of_id(ids, Place(path, self.fields.id, 1)), labels

    def read(self, part: PartName) -> Part:
        """Read products and labels of a part.

        A product without a row in a label table is unknown in every class. A label row without a product is counted
        and passed over, unless no row has one.

        Raises
        ------
        CatalogueError
            If the part is not there, an id is repeated, or a cell is not what its column should hold.
        """
        products: list[Product] = []
        missing: list[tuple[str, str]] = []
        for record in self._records(part):
            image = record[self.fields.image] if self.fields.image else None
            present = None if isinstance(image, MissingImage) else image
            products.append(self.fields.product(record, image=present))
            if isinstance(image, MissingImage):
                missing.append((products[-1].product_id, image.reason))
        tables = self._tables(part)
        row_of = _row_of_id(
            [product.product_id for product in products], Place(self.directory / tables.products, self.fields.id, 1)
        )
        merchant_labels, n_unmatched = self._labels(tables.merchant_labels, row_of)
        truth, n_unmatched_truth = self._labels(tables.truth, row_of)
        return Part(products, merchant_labels, truth, tuple(missing), n_unmatched + n_unmatched_truth)

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
        _check_same(
            _classes(self.directory / beside, self.fields.id), self.taxonomy.classes, "the other label tables", beside
        )
        return replace(self, tables={**self.tables, part: tables.model_copy(update={"truth": beside})})

    def has_truth(self, part: PartName) -> bool:
        """Whether `with_truth` finds one."""
        tables = self._tables(part)
        beside = _beside(tables)
        return tables.truth is not None or (beside != tables.products and (self.directory / beside).is_file())

    def _tables(self, part: PartName) -> PartTables:
        if part not in self.tables:
            raise CatalogueError(f"the catalogue {self.name!r} has no {part} part; add [{part}] to its {FILE_NAME}")
        return self.tables[part]

    def _records(self, part: PartName) -> Iterator[dict[str, Any]]:
        """Records, where an image that is not there is a `MissingImage`."""
        first_row = 1
        for batch in self.batches(part):
            records = self._checked(self.path(part), batch, first_row)
            yield from records
            first_row += len(records)

    def _checked(self, path: Path, batch: Mapping[str, Cells], first_row: int) -> list[dict[str, Any]]:
        checks = self._checks()
        plain = self._plain()
        columns = [
            cells
            if plain_column(cells, kinds=plain.get(column, NOTHING))
            else [checks[column](cell, Place(path, column, row)) for row, cell in enumerate(cells, first_row)]
            for column, cells in batch.items()
        ]
        return [dict(zip(batch, row, strict=True)) for row in zip(*columns, strict=True)]

    def _checks(self) -> dict[str, Callable[[object, Place], object]]:
        fields = self.fields
        checks: dict[str, Callable[[object, Place], object]] = {fields.id: id_cell}
        checks |= dict.fromkeys(fields.text, text_cell) | dict.fromkeys(fields.numerical, number_cell)
        checks |= {field.column: category_cell for field in fields.categorical}
        if fields.image:
            checks[fields.image] = partial(image_cell, self.directory)
        return checks

    def _plain(self) -> dict[str, frozenset[type]]:
        """Types of cells that need no check of their own, by column; an id always needs one."""
        fields = self.fields
        plain = dict.fromkeys(fields.text, TEXTS) | dict.fromkeys(fields.numerical, NUMBERS)
        return plain | {field.column: TEXTS for field in fields.categorical} | {fields.id: frozenset()}

    def _labels(self, table: str | None, row_of: Mapping[str, int]) -> tuple[Labels | None, int]:
        """Labels of a table in the order of the products, and how many of its rows have no product."""
        if table is None:
            return None, 0
        path = self.directory / table
        ids, given = _label_rows(path, self.fields.id, self.taxonomy.classes)
        _row_of_id(ids, Place(path, self.fields.id, 1))
        rows = np.array([row_of.get(product_id, -1) for product_id in ids], dtype=np.int64)
        matched = rows >= 0
        if ids and row_of and not matched.any():
            raise CatalogueError(
                f"{path.name}: none of its ids is a product of this part; check the column {self.fields.id!r}"
            )
        labels = np.full((len(row_of), len(self.taxonomy)), UNKNOWN, dtype=np.int8)
        labels[rows[matched]] = given[matched]
        return labels, int(len(ids) - matched.sum())


def _without_missing(record: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(cell, MissingImage) else cell for name, cell in record.items()}


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
    taxonomy = _taxonomy(directory, content)
    foreign = sorted(set(content.thresholds.classes) - set(taxonomy.classes))
    if foreign:
        raise CatalogueError(
            f"{file.name}: [thresholds.classes] names {foreign[0]!r}, which is no class of the catalogue"
        )
    return Catalogue(content.name, directory, content.fields, taxonomy, content.parts, content.thresholds)


def _beside(tables: PartTables) -> str:
    """Where the truth of a part lies if its catalogue.toml does not say."""
    return tables.products.replace("products", "truth")


def check_images(part: Part, size: int) -> list[tuple[str, str]]:
    """Product id and reason of every image that cannot be decoded, and of every one whose file is missing.

    Parameters
    ----------
    size : pixels a side to which the images are decoded
    """
    bad = list(part.missing_images)
    for product in part.products:
        if product.image is not None:
            try:
                decode_image(product.image, size)
            except UnreadableImage as error:
                bad.append((product.product_id, str(error)))
    return bad


def _check_columns(path: Path, fields: FieldSpec) -> None:
    have = column_names(path)
    absent = [column for column in fields.columns if column not in have]
    if absent:
        raise CatalogueError(
            f"{path.name}: there is no column {absent[0]!r}, which [fields] names; it has {', '.join(have)}"
        )


def _taxonomy(directory: Path, content: CatalogueFile) -> Taxonomy:
    """Classes of the first label table; the others must have the same ones, in whatever order."""
    names = [table for tables in content.parts.values() for table in tables.label_tables]
    if not names:
        raise CatalogueError(f"{FILE_NAME}: no part has labels; give at least one part merchant_labels or truth")
    classes = _classes(directory / names[0], content.fields.id)
    for name in names[1:]:
        _check_same(_classes(directory / name, content.fields.id), classes, names[0], name)
    try:
        return Taxonomy(classes=classes)
    except ValidationError as error:
        raise CatalogueError(f"{names[0]}: {error.errors()[0]['msg']}") from error


def _check_same(found: Sequence[str], classes: Sequence[str], first: str, name: str) -> None:
    differing = sorted(set(found) ^ set(classes))
    if differing:
        raise CatalogueError(
            f"{name}: the class {differing[0]!r} is in only one of it and {first}; "
            "give all label tables the same classes"
        )


def _classes(path: Path, id_column: str) -> tuple[str, ...]:
    columns = column_names(path)
    if id_column not in columns:
        raise CatalogueError(f"{path.name}: there is no id column {id_column!r}; label rows are joined on it")
    return tuple(column for column in columns if column != id_column)


def _label_rows(path: Path, id_column: str, classes: Sequence[str]) -> tuple[list[str], Labels]:
    """Ids and labels, (n_rows, n_classes), in the order of the table."""
    ids: list[str] = []
    blocks = [np.empty((0, len(classes)), dtype=np.int8)]
    for batch in read_batches(path, (id_column, *classes)):
        row = len(ids) + 1
        ids += [id_cell(cell, Place(path, id_column, place)) for place, cell in enumerate(batch[id_column], row)]
        blocks.append(np.stack([label_column(batch[name], Place(path, name, row)) for name in classes], axis=1))
    return ids, np.concatenate(blocks)


def _row_of_id(ids: Sequence[str], first: Place) -> dict[str, int]:
    """Row of each id, from 0; every id stands there once."""
    row_of: dict[str, int] = {}
    for row, product_id in enumerate(ids):
        if row_of.setdefault(product_id, row) != row:
            place = first._replace(row=row + first.row)
            raise place.error(f"the id is that of row {row_of[product_id] + first.row} again; give every row its own")
    return row_of
