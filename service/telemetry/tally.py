"""What a worker counts of each request, kept in memory for a turn of the event loop and then written together.

Workers share their numbers in files, and one number costs a microsecond or two to write; the requests of one batch are
answered in one turn. What the numbers are called is left to the modules that count.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter as Count
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol


class Sum(Protocol):
    """A counter or a gauge of prometheus_client."""

    def inc(self, amount: float = 1) -> None:
        """Add to it."""
        ...


class Histogram(Protocol):
    """A histogram of prometheus_client, with what is inside: it has no way in for several values at once."""

    _upper_bounds: Any
    _buckets: Any
    _sum: Any


class Tally:
    """Numbers that wait to be written; all calls come from one thread."""

    def __init__(self) -> None:
        self._counts: defaultdict[Sum, int] = defaultdict(int)
        self._observed: defaultdict[Histogram, list[float]] = defaultdict(list)
        self._is_due = False

    def count(self, counter: Sum, amount: int = 1) -> None:
        """Add to a counter or a gauge."""
        self._counts[counter] += amount
        self._write_soon()

    def observe(self, histogram: Histogram, value: float) -> None:
        """Add a value to a histogram."""
        self._observed[histogram].append(value)
        self._write_soon()

    def write(self) -> None:
        """Write what waits."""
        self._is_due = False
        counts, self._counts = self._counts, defaultdict(int)
        observed, self._observed = self._observed, defaultdict(list)
        for counter, amount in counts.items():
            if amount:
                counter.inc(amount)
        for histogram, values in observed.items():
            observe_all(histogram, values)

    def _write_soon(self) -> None:
        if self._is_due:
            return
        self._is_due = True
        try:
            asyncio.get_running_loop().call_soon(self.write)
        except RuntimeError:  # no event loop: nothing would write it later
            self.write()


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """The same as `histogram.observe` for each value, at hardly more than the price of one."""
    places = Count(bisect_left(histogram._upper_bounds, value) for value in values)  # the last bound is infinite
    for place, n_values in places.items():
        histogram._buckets[place].inc(n_values)
    histogram._sum.inc(sum(values))
