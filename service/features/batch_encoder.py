"""From records to the named inputs of the graph, many at once: what serving and bulk scoring use.

It says the same as `service.features.encoder`, which takes products one by one, and costs a fraction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.contracts import MODALITIES, CategoricalField, FieldSpec
from service.features.categorical import NOT_READ
from service.features.encoder import Encoding, images_of
from service.features.numerical import CLIP, NumericalEncoding, magnified, signed_log
from service.features.ragged import Ids, Ragged
from service.features.text_batch import TextBatchEncoder

ROOM = 4_000_000  # of the categorical cells that are kept with their ids, in bytes and roughly
CELL_BYTES = 200  # beside its characters

Record = Mapping[str, Any]
Image = NDArray[np.uint8]
Inputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """Products as numbers, before padding.

    Parameters
    ----------
    numbers : (n_products, 2 n_numerical), float32
    images : per product its picture or None
    present : (n_products, n_modalities), float32
    """

    token_ids: Ragged
    bag_ids: Ragged
    category_ids: Ragged
    numbers: NDArray[np.float32]
    images: Sequence[Image | None]
    present: NDArray[np.float32]

    def __len__(self) -> int:
        """How many products there are."""
        return len(self.present)

    def by_length(self) -> Ids:
        """The rows in an order in which neighbours need little padding."""
        return np.lexsort((self.bag_ids.lengths, self.token_ids.lengths))

    def inputs(self, rows: Ids) -> Inputs:
        """The graph's inputs for some products; shapes and types are those of `service.features.encoder.collate`."""
        token_ids, _ = self.token_ids.padded(rows)
        bag_ids, is_bag = self.bag_ids.padded(rows)
        lengths = is_bag.sum(axis=1)
        values = 1.0 / np.sqrt(np.maximum(lengths, 1))
        category_ids, _ = self.category_ids.padded(rows)
        images, image_rows = images_of([self.images[row] for row in rows.tolist()])
        return {
            "token_ids": token_ids,
            "bag_ids": bag_ids,
            "bag_values": (is_bag * values[:, None]).astype(np.float32),
            "category_ids": category_ids,
            "numbers": self.numbers[rows],
            "images": images,
            "image_rows": image_rows,
            "present": self.present[rows],
        }


class BatchEncoder:
    """Encodes records of one bundle's fields. Not for several threads."""

    def __init__(self, fields: FieldSpec, encoding: Encoding) -> None:
        self._text_columns = fields.text
        self._text = TextBatchEncoder(encoding.text)
        self._n_ids = encoding.categorical.n_ids
        self._categories = [
            (field.column, _Cells(field, known, unknown))
            for field, known, unknown in zip(
                fields.categorical, encoding.categorical.values, encoding.categorical.unknown, strict=True
            )
        ]
        self._number_columns = fields.numerical
        self._numerical = encoding.numerical

    def encode(self, records: Sequence[Record], images: Sequence[Image | None]) -> EncodedBatch:
        """Encode records, whose values have the right types or are None or absent.

        Parameters
        ----------
        images : per record its decoded picture, (image_size, image_size, 3), or None
        """
        columns = self._text_columns
        token_ids, bag_ids = self._text([[record.get(column) or "" for column in columns] for record in records])
        category_ids = self._category_ids(records)
        raw = np.asarray(
            [[record.get(column) for column in self._number_columns] for record in records], dtype=np.float64
        ).reshape(len(records), len(self._number_columns))
        present = np.zeros((len(records), len(MODALITIES)), dtype=np.float32)
        for place, have in enumerate(
            (
                token_ids.lengths > 0,
                [image is not None for image in images],
                category_ids.lengths > 0,
                ~np.isnan(raw).all(axis=1),
            )
        ):
            present[:, place] = have
        return EncodedBatch(token_ids, bag_ids, category_ids, _scaled(self._numerical, raw), images, present)

    def _category_ids(self, records: Sequence[Record]) -> Ragged:
        columns = [
            [ids[cell] if cell is None or isinstance(cell, str) else ids.look_up(cell) for cell in cells]
            for ids, cells in ((ids, [record.get(column) for record in records]) for column, ids in self._categories)
        ]
        rows = [tuple(chain.from_iterable(cells)) for cells in zip(*columns, strict=True)] or [()] * len(records)
        whole = Ragged.of(rows)
        return Ragged.distinct(
            whole.values, np.repeat(np.arange(len(records)), whole.lengths), len(records), self._n_ids
        )


class _Cells(dict[str | None, tuple[int, ...]]):
    """Ids of the cells of one categorical column, kept once they were met, as most come again."""

    def __init__(self, field: CategoricalField, known: Mapping[str, int], unknown: int) -> None:
        self._field, self._known, self._unknown = field, known, unknown
        self._room = ROOM

    def __missing__(self, cell: str | None) -> tuple[int, ...]:
        """Look a cell up that comes for the first time."""
        ids = self.look_up(cell)
        self._room -= CELL_BYTES + (4 * len(cell) if cell else 0)
        if self._room < 0:
            self.clear()
            self._room = ROOM
        self[cell] = ids
        return ids

    def look_up(self, cell: object) -> tuple[int, ...]:
        """Ids of a cell of any form."""
        ids = (self._known.get(value.casefold(), self._unknown) for value in self._field.values(cell))
        return tuple([one for one in ids if one != NOT_READ])


def _scaled(encoding: NumericalEncoding, raw: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scaled values, 0 where missing, followed by one flag a field that is 1 where it is missing."""
    is_missing = np.isnan(raw)
    means, deviations = np.asarray(encoding.means), np.asarray(encoding.deviations)
    scaled = ((signed_log(magnified(raw, encoding.factors)) - means) / deviations).clip(-CLIP, CLIP)
    return np.concatenate([np.where(is_missing, 0.0, scaled), is_missing], axis=1, dtype=np.float32, casting="unsafe")
