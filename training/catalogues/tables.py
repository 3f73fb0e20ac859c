"""Tables on disk, read by columns in bounded batches: Parquet, JSON Lines or CSV, as the file's suffix says.

What the cells mean is left to `training.catalogues.catalogue`. Only Parquet goes through pyarrow: its JSON reader turns
text that looks like a date into a timestamp, and neither of its text readers says which row is wrong.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import CatalogueError

BATCH_ROWS = 1024
MAX_CSV_CELL = 10_000_000  # characters; more of them are most likely a quote that nothing closes

Cells = list[object]  # one column of a batch: str, number, bool, bytes, list or None
Row = TypeVar("Row")


@dataclass(frozen=True)
class _Format:
    names: Callable[[Path], Sequence[str]]
    batches: Callable[[Path, Sequence[str]], Iterator[dict[str, Cells]]]
    write: Callable[[Path, Mapping[str, Sequence[object]]], None]


def column_names(path: Path) -> tuple[str, ...]:
    """Names of the columns, in order; of JSON Lines, every key that some row has.

    Raises
    ------
    CatalogueError
        If the file is missing, has an unknown suffix, cannot be read, or names a column twice.
    """
    form = _format(path)
    if not path.is_file():
        raise CatalogueError(f"{path.name}: there is no such file in {path.parent}; correct the path in catalogue.toml")
    names = tuple(form.names(path))
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise CatalogueError(f"{path.name}: the column {repeated[0]!r} stands there more than once; rename one of them")
    return names


def read_batches(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Cells]]:
    """Cells of the named columns, at most `BATCH_ROWS` rows at a time; an empty CSV cell is None.

    Raises
    ------
    CatalogueError
        If the content is not what the suffix says; the message names the row.
    """
    return _format(path).batches(path, columns)


def count_rows(path: Path) -> int:
    """How many rows a table has; of CSV at most so many, for a cell may hold a line break."""
    if path.suffix.lower() == ".parquet":
        try:
            return int(pq.read_metadata(path).num_rows)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, "Parquet") from error
    with path.open("rb") as file:
        n_lines = sum(not line.isspace() for line in file)
    return n_lines - (path.suffix.lower() == ".csv")  # its header is none


def write_table(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    """Write columns of equal length in the format that the suffix names; None is null."""
    _format(path).write(path, columns)


def _format(path: Path) -> _Format:
    formats = {
        ".parquet": _Format(_parquet_names, _parquet_batches, _write_parquet),
        ".jsonl": _Format(_json_names, _json_batches, _write_json),
        ".csv": _Format(_csv_names, _csv_batches, _write_csv),
    }
    form = formats.get(path.suffix.lower())
    if form is None:
        raise CatalogueError(f"{path.name}: the format is not known by its suffix; use {', '.join(formats)}")
    return form


def _parquet_names(path: Path) -> Sequence[str]:
    try:
        names: list[str] = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, "Parquet") from error
    return names


def _parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Cells]]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
                yield {name: batch.column(name).to_pylist() for name in columns}
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, "Parquet") from error


def _write_parquet(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    pq.write_table(pa.table({name: pa.array(cells) for name, cells in columns.items()}), path, compression="zstd")


def _json_names(path: Path) -> Sequence[str]:
    names: dict[str, None] = {}
    for row in _json_rows(path):
        names.update(dict.fromkeys(row))
    return tuple(names)


def _json_batches(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Cells]]:
    for rows in _batched(_json_rows(path)):
        yield {name: [row.get(name) for row in rows] for name in columns}


def _json_rows(path: Path) -> Iterator[dict[str, object]]:
    with path.open("rb") as file:
        lines = (line for line in file if not line.isspace())
        for row_number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CatalogueError(f"{path.name}, row {row_number}: not JSON; write one object a line") from error
            if not isinstance(row, dict):
                raise CatalogueError(f"{path.name}, row {row_number}: not a JSON object; write one object a line")
            yield row


def _write_json(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in zip(*columns.values(), strict=True):
            file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")


def _csv_names(path: Path) -> Sequence[str]:
    return next(_csv_rows(path), [])


def _csv_batches(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Cells]]:
    rows = _csv_rows(path)
    header = next(rows, [])
    places = {name: header.index(name) for name in columns}
    for batch in _batched(rows):
        yield {name: [row[place] or None for row in batch] for name, place in places.items()}


def _csv_rows(path: Path) -> Iterator[list[str]]:
    """The header, then each row of as many cells; lines without anything are passed over."""
    row_number, n_columns = 0, 0
    csv.field_size_limit(MAX_CSV_CELL)  # of the whole process, in which nothing else reads CSV
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row_number, row in enumerate(filter(None, csv.reader(file, strict=True))):
                n_columns = n_columns or len(row)
                if len(row) != n_columns:
                    raise CatalogueError(
                        f"{path.name}, row {row_number}: {len(row)} cells where the header has {n_columns}; "
                        "quote cells that hold a comma or a line break"
                    )
                yield row
    except (csv.Error, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path.name}, after row {row_number}: {_csv_fault(error)}") from error


def _csv_fault(error: Exception) -> str:
    if "field limit" in str(error):
        return f"a cell of more than {MAX_CSV_CELL:,} characters; shorten it, or close its quote"
    return "not CSV in UTF-8; save it so, quotes doubled"


def _write_csv(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _batched(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, BATCH_ROWS)):
        yield batch


def _unreadable(path: Path, form: str) -> CatalogueError:
    return CatalogueError(f"{path.name}: not a readable {form} file; write it anew or correct its suffix")
