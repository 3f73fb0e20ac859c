"""Rows of different lengths in one array: what a batch is before it is padded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows one after the other.

    Parameters
    ----------
    values : of all rows
    starts : (n_rows + 1,), where each row begins, and where the last one ends
    """

    values: Ids
    starts: Ids

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        """Rows that are at hand one by one."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        starts = _starts(lengths)
        return cls(np.fromiter(chain.from_iterable(rows), np.int64, int(starts[-1])), starts)

    @classmethod
    def distinct(cls, values: Ids, row_of: Ids, n_rows: int, n_values: int) -> Ragged:
        """The distinct values of each row, in rising order.

        Parameters
        ----------
        values : from 0 up to, not including, `n_values`
        row_of : the row of each value
        """
        keys = row_of * n_values + values
        keys.sort()
        if len(keys):
            keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
        rows = keys // max(n_values, 1)
        return cls(keys - rows * n_values, _starts(np.bincount(rows, minlength=n_rows)))

    @property
    def lengths(self) -> Ids:
        """(n_rows,)."""
        return np.diff(self.starts)

    def padded(self, rows: Ids) -> tuple[Ids, NDArray[np.bool_]]:
        """Some rows, filled up with 0 to the longest of them and to one column at least; and which cells are real."""
        begin = self.starts[rows]
        lengths = self.starts[rows + 1] - begin
        columns = np.arange(max(1, int(lengths.max(initial=0))))
        real = columns < lengths[:, None]
        padded = np.zeros(real.shape, dtype=np.int64)
        padded[real] = self.values[(begin[:, None] + columns)[real]]
        return padded, real


def ranges(starts: Ids, lengths: Ids) -> Ids:
    """The whole numbers from each start on, so many each, one after the other."""
    ends = lengths.cumsum()
    shifts: Ids = np.repeat(starts - ends + lengths, lengths)
    return shifts + np.arange(len(shifts))


def numbers_of(values: Iterable[int], n_values: int) -> Ids:
    """So many whole numbers as an array."""
    return np.fromiter(values, np.int64, n_values)


def _starts(lengths: NDArray[Any]) -> Ids:
    starts = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts
