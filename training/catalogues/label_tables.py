"""Label tables of a catalogue: a row a product, matched by its id, and a column a class.

The formats are left to `training.catalogues.tables`, single cells to `training.catalogues.cells`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.errors import CatalogueError
from service.taxonomy import Taxonomy
from training.catalogues.catalogue_file import FILE_NAME, CatalogueFile
from training.catalogues.cells import UNKNOWN, Place, id_cell, label_column
from training.catalogues.left_out import check_matched
from training.catalogues.tables import column_names, read_batches


def read_taxonomy(directory: Path, content: CatalogueFile) -> Taxonomy:
    """Classes of the first label table; the others must have the same ones, in whatever order.

    Raises
    ------
    CatalogueError
        If there is no label table, its columns are no classes, or another table differs.
    """
    names = [table for tables in content.parts.values() for table in tables.label_tables]
    if not names:
        raise CatalogueError(f"{FILE_NAME}: no part has labels; give at least one part merchant_labels or truth")
    classes = _classes(directory / names[0], content.fields.id)
    for name in names[1:]:
        check_classes(directory / name, content.fields.id, classes, of=names[0])
    try:
        return Taxonomy(classes=classes)
    except ValidationError as error:
        raise CatalogueError(f"{names[0]}: {error.errors()[0]['msg']}") from error


def check_classes(path: Path, id_column: str, classes: Sequence[str], *, of: str) -> None:
    """Refuse a label table whose classes differ from others.

    Parameters
    ----------
    of : where the others come from, for the message

    Raises
    ------
    CatalogueError
        Naming a class that is in only one of both.
    """
    differing = sorted(set(_classes(path, id_column)) ^ set(classes))
    if differing:
        raise CatalogueError(
            f"{path.name}: the class {differing[0]!r} is in only one of it and {of}; "
            "give all label tables the same classes"
        )


def read_rows(path: Path, id_column: str, classes: Sequence[str]) -> tuple[list[str], NDArray[np.int8]]:
    """Ids and labels, (n_rows, n_classes), in the order of the table.

    Raises
    ------
    CatalogueError
        If a cell is no id or no label.
    """
    ids: list[str] = []
    blocks = [np.empty((0, len(classes)), dtype=np.int8)]
    for batch in read_batches(path, (id_column, *classes)):
        row = len(ids) + 1
        ids += [id_cell(cell, Place(path, id_column, place)) for place, cell in enumerate(batch[id_column], row)]
        blocks.append(np.stack([label_column(batch[name], Place(path, name, row)) for name in classes], axis=1))
    return ids, np.concatenate(blocks)


def read_labels(
    path: Path, id_column: str, classes: Sequence[str], *, row_of: Mapping[str, int]
) -> tuple[NDArray[np.int8], int]:
    """Labels of a table in the order of some products, (n_products, n_classes), and how many of its rows have none.

    Parameters
    ----------
    row_of : of each product's id; a product without a row in the table is unknown in every class

    Raises
    ------
    CatalogueError
        If a cell is no id or no label, an id is repeated, or too few rows have a product.
    """
    ids, given = read_rows(path, id_column, classes)
    row_of_id(ids, Place(path, id_column, 1))
    rows = np.array([row_of.get(product_id, -1) for product_id in ids], dtype=np.int64)
    matched = rows >= 0
    if ids and row_of and not matched.any():
        raise CatalogueError(f"{path.name}: none of its ids is a product of this part; check the column {id_column!r}")
    unmatched = [ids[row] for row in np.flatnonzero(~matched).tolist()]
    check_matched(path, ids, unmatched, n_products=len(row_of))
    labels = np.full((len(row_of), len(classes)), UNKNOWN, dtype=np.int8)
    labels[rows[matched]] = given[matched]
    return labels, len(unmatched)


def row_of_id(ids: Sequence[str], first: Place) -> dict[str, int]:
    """Row of each id, from 0.

    Parameters
    ----------
    first : where the first id stands

    Raises
    ------
    CatalogueError
        If an id stands there twice.
    """
    row_of: dict[str, int] = {}
    for row, product_id in enumerate(ids):
        if row_of.setdefault(product_id, row) != row:
            place = first._replace(row=row + first.row)
            raise place.error(f"the id is that of row {row_of[product_id] + first.row} again; give every row its own")
    return row_of


def _classes(path: Path, id_column: str) -> tuple[str, ...]:
    columns = column_names(path)
    if id_column not in columns:
        raise CatalogueError(f"{path.name}: there is no id column {id_column!r}; label rows are joined on it")
    if "" in columns:
        raise CatalogueError(
            f"{path.name}: column {columns.index('') + 1} has no name; give it that of its class, or remove it "
            "(pandas writes its index so, without index=False)"
        )
    return tuple(column for column in columns if column != id_column)
