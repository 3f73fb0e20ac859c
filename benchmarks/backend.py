"""A shop's backend that classifies products without pause while something goes wrong, and counts the answers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Self

import httpx

from benchmarks.traffic import Posted, Record, groups, renewed

TRIES = 50  # of one request, while connections break
PAUSE_SECONDS = 0.1  # between two of them


class Backend:
    """Posts the records in turn, each time round as new products.

    Parameters
    ----------
    name : in the products' ids, so that several backends post different products
    pause_seconds : between two requests

    Attributes
    ----------
    statuses : answers by status
    n_broken : requests whose connection broke before the answer; they were sent again
    n_unanswered : requests that got no answer however often they were sent
    n_products : in requests answered 200
    calls : when each answered request was first sent, by the monotonic clock, and the seconds until its answer
    """

    def __init__(
        self, url: str, posted: Posted, *, name: str = "", n_together: int = 16, pause_seconds: float = 0.02
    ) -> None:
        self.name = name
        self.statuses: Counter[int] = Counter()
        self.n_broken = 0
        self.n_unanswered = 0
        self.n_products = 0
        self.calls: list[tuple[float, float]] = []
        self._client = httpx.Client(base_url=url, timeout=30)
        self._posted = posted
        self._n_together = n_together
        self._pause_seconds = pause_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def n_failed(self) -> int:
        """Requests without the answer 200."""
        return self.n_unanswered + self.statuses.total() - self.statuses[httpx.codes.OK]

    @property
    def slowest_seconds(self) -> float:
        """The longest wait for an answer."""
        return max((seconds for _, seconds in self.calls), default=0.0)

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Post for the time of the block."""
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()

    def _run(self) -> None:
        for turn in count():
            for records in groups(self._posted.records, self._n_together):
                if self._stop.wait(self._pause_seconds):
                    return
                id_field = self._posted.id_field
                self._post([renewed(record, id_field=id_field, turn=f"{self.name}{turn}") for record in records])

    def _post(self, records: list[Record]) -> None:
        started = time.monotonic()
        for _ in range(TRIES):
            try:
                answer = self._client.post("/classify", json={"products": records})
            except httpx.TransportError:
                self.n_broken += 1
                time.sleep(PAUSE_SECONDS)
            else:
                self.calls.append((started, time.monotonic() - started))
                self._note(answer.status_code, len(records))
                return
        self.n_unanswered += 1

    def _note(self, status: int, n_products: int) -> None:
        self.statuses[status] += 1
        if status == httpx.codes.OK:
            self.n_products += n_products
