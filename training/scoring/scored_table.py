"""Scored products as files: one small file a chunk while a catalogue is scored, and the whole at the end.

Parquet or JSON Lines, as the suffix says; both hold the same of a product. What is said is left to
`training.scoring.scoring`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic_core import to_json

from service.errors import CatalogueError
from service.scored import rounded

SUFFIXES = (".parquet", ".jsonl")
NAMES = ["positive.list.element", "abstained.list.element"]  # few different ones, unlike all other values
GROUP_ROWS = 65_536  # in a row group of the whole Parquet file, at least


@dataclass(frozen=True)
class ScoredRows:
    """What is said of some products, one row each.

    Parameters
    ----------
    ids : of the products
    probabilities : (n_products, n_classes), float32
    positive : (n_products, n_classes), the served yes/no
    uncertainty, disagreement : (n_products,), in bits, each the highest of its classes
    weight : (n_products,), the sampling weight: what a person's answers about the product would teach
    present : (n_products, n_members), False where a member abstains
    """

    ids: Sequence[str]
    probabilities: NDArray[np.float32]
    positive: NDArray[np.bool_]
    uncertainty: NDArray[np.float64]
    disagreement: NDArray[np.float64]
    weight: NDArray[np.float64]
    present: NDArray[np.bool_]


def check_suffix(path: Path) -> None:
    """Refuse a file of another format.

    Raises
    ------
    CatalogueError
        Naming those that there are.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise CatalogueError(f"{path.name}: scores are written as {' or '.join(SUFFIXES)}; give the file that ending")


def write_rows(path: Path, rows: ScoredRows, *, id_field: str, classes: Sequence[str], members: Sequence[str]) -> None:
    """Write some rows in the format that the suffix names; the file appears whole or not at all, also after a kill."""
    write = _write_parquet if path.suffix.lower() == ".parquet" else _write_json
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    write(draft, rows, id_field, classes, members)
    _publish(draft, path)


def join(parts: Iterable[Path], path: Path, *, draft: Path) -> None:
    """Write the rows of all parts, in their order, to one file, which appears whole or not at all.

    Parameters
    ----------
    draft : where the file grows, on the same disk
    """
    if path.suffix.lower() == ".parquet":
        _join_parquet(parts, draft)
    else:
        with draft.open("wb") as whole:
            for part in parts:
                with part.open("rb") as file:
                    shutil.copyfileobj(file, whole)
    _publish(draft, path)


def _write_parquet(path: Path, rows: ScoredRows, id_field: str, classes: Sequence[str], members: Sequence[str]) -> None:
    n_products = len(rows.ids)
    probabilities = [pa.array(np.ascontiguousarray(column)) for column in rows.probabilities.T]
    columns = {
        id_field: pa.array(rows.ids, pa.string()),
        "probabilities": pa.StructArray.from_arrays(probabilities, list(classes)),
        "positive": _names(rows.positive, classes, n_products),
        "uncertainty": pa.array(rows.uncertainty.astype(np.float32)),
        "disagreement": pa.array(rows.disagreement.astype(np.float32)),
        "weight": pa.array(rows.weight.astype(np.float32)),
        "abstained": _names(~rows.present, members, n_products),
    }
    pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False)  # it is soon read again


def _names(said: NDArray[np.bool_], names: Sequence[str], n_products: int) -> pa.ListArray:
    """Per product, the names of the columns that are True."""
    rows, columns = np.nonzero(said)
    offsets = np.searchsorted(rows, np.arange(n_products + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(names, pa.string()).take(pa.array(columns)))


def _write_json(path: Path, rows: ScoredRows, id_field: str, classes: Sequence[str], members: Sequence[str]) -> None:
    with path.open("wb") as file:
        for row in _json_rows(rows, id_field, classes, members):
            file.write(to_json(row) + b"\n")


def _json_rows(
    rows: ScoredRows, id_field: str, classes: Sequence[str], members: Sequence[str]
) -> Iterable[dict[str, Any]]:
    columns = (
        rows.ids,
        rounded(rows.probabilities).tolist(),
        rows.positive.tolist(),
        rounded(rows.uncertainty).tolist(),
        rounded(rows.disagreement).tolist(),
        rounded(rows.weight).tolist(),
        rows.present.tolist(),
    )
    for product_id, probabilities, positive, uncertainty, disagreement, weight, present in zip(*columns, strict=True):
        yield {
            id_field: product_id,
            "probabilities": dict(zip(classes, probabilities, strict=True)),
            "positive": [name for name, is_positive in zip(classes, positive, strict=True) if is_positive],
            "uncertainty": uncertainty,
            "disagreement": disagreement,
            "weight": weight,
            "abstained": [name for name, is_present in zip(members, present, strict=True) if not is_present],
        }


def _join_parquet(parts: Iterable[Path], path: Path) -> None:
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    try:
        for part in parts:
            waiting.append(pq.read_table(part))
            if writer is None:
                writer = pq.ParquetWriter(path, waiting[0].schema, compression="lz4", use_dictionary=NAMES)
            if sum(table.num_rows for table in waiting) >= GROUP_ROWS:
                writer.write_table(pa.concat_tables(waiting))
                waiting = []
        if writer is not None and waiting:
            writer.write_table(pa.concat_tables(waiting))
    finally:
        if writer is not None:
            writer.close()


def _publish(draft: Path, path: Path) -> None:
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)
