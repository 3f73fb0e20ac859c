"""Records of a catalogue's product table: every cell checked to be what its column should hold.

What a cell may hold is left to `training.catalogues.cells`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from service.contracts import FieldSpec
from training.catalogues.cells import (
    NOTHING,
    NUMBERS,
    TEXTS,
    MissingImage,
    Place,
    category_cell,
    id_cell,
    image_cell,
    number_cell,
    plain_column,
    plain_ids,
    text_cell,
)
from training.catalogues.tables import Cells

Record = dict[str, Any]


def checked_records(
    fields: FieldSpec, directory: Path, table: Path, batch: Mapping[str, Cells], *, first_row: int
) -> list[Record]:
    """Records of a batch, in which an image that is not there is a `MissingImage`.

    Parameters
    ----------
    directory : of the catalogue, where paths of images begin
    table : that the batch comes from
    first_row : of the batch in the table, from 1

    Raises
    ------
    CatalogueError
        If a cell is not what its column should hold.
    """
    checks = _checks(fields, directory)
    plain = _plain(fields)
    columns = [
        cells
        if (plain_ids(cells) if column == fields.id else plain_column(cells, kinds=plain.get(column, NOTHING)))
        else [checks[column](cell, Place(table, column, row)) for row, cell in enumerate(cells, first_row)]
        for column, cells in batch.items()
    ]
    return [dict(zip(batch, row, strict=True)) for row in zip(*columns, strict=True)]


def without_missing(record: Record, image_field: str | None) -> Record:
    """The record as a feed posts it: None for an image that is not there."""
    is_missing = image_field is not None and isinstance(record[image_field], MissingImage)
    return {**record, image_field: None} if image_field and is_missing else record


def _checks(fields: FieldSpec, directory: Path) -> dict[str, Callable[[object, Place], object]]:
    checks: dict[str, Callable[[object, Place], object]] = {fields.id: id_cell}
    checks |= dict.fromkeys(fields.text, text_cell) | dict.fromkeys(fields.numerical, number_cell)
    checks |= {field.column: category_cell for field in fields.categorical}
    if fields.image:
        checks[fields.image] = partial(image_cell, directory)
    return checks


def _plain(fields: FieldSpec) -> dict[str, frozenset[type]]:
    """Types of cells that need no check of their own, by column."""
    plain = dict.fromkeys(fields.text, TEXTS) | dict.fromkeys(fields.numerical, NUMBERS)
    return plain | {field.column: TEXTS for field in fields.categorical}
