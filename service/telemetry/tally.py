"""What a worker counts of each request, kept in memory for a moment and then written together.

Workers share their numbers in files, and one number costs a microsecond or two to write. Whoever reads them has what
waits written first. What the numbers are called is left to the modules that count.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter as Count
from collections import defaultdict, deque
from collections.abc import Sequence
from threading import Lock
from typing import Any, Protocol, TypeVar

DELAY_SECONDS = 0.05


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


Series = TypeVar("Series", Sum, Histogram)
Value = TypeVar("Value", int, float)


class Tally:
    """Numbers that wait to be written; they may come from any thread."""

    def __init__(self) -> None:
        self._counts: deque[tuple[Sum, int]] = deque()
        self._observed: deque[tuple[Histogram, float]] = deque()
        self._is_due = False
        self._writing = Lock()

    def count(self, counter: Sum, amount: int = 1) -> None:
        """Add to a counter or a gauge."""
        self._counts.append((counter, amount))
        self._write_soon()

    def observe(self, histogram: Histogram, value: float) -> None:
        """Add a value to a histogram."""
        self._observed.append((histogram, value))
        self._write_soon()

    def write(self) -> None:
        """Write what waits."""
        self._is_due = False
        with self._writing:
            for counter, amounts in _taken(self._counts).items():
                if amount := sum(amounts):
                    counter.inc(amount)
            for histogram, values in _taken(self._observed).items():
                observe_all(histogram, values)

    def _write_soon(self) -> None:
        if self._is_due:
            return
        self._is_due = True
        try:
            asyncio.get_running_loop().call_later(DELAY_SECONDS, self.write)
        except RuntimeError:  # no event loop here: nothing would write it later
            self.write()


def _taken(waiting: deque[tuple[Series, Value]]) -> dict[Series, list[Value]]:
    """All that waits, by its series; what comes meanwhile may stay."""
    taken: defaultdict[Series, list[Value]] = defaultdict(list)
    while waiting:
        series, value = waiting.popleft()
        taken[series].append(value)
    return taken


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """The same as `histogram.observe` for each value, at hardly more than the price of one."""
    places = Count(bisect_left(histogram._upper_bounds, value) for value in values)  # the last bound is infinite
    for place, n_values in places.items():
        histogram._buckets[place].inc(n_values)
    histogram._sum.inc(sum(values))
