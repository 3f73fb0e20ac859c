"""Sealed cohorts on their way to the store: `/classify` hands them over and never waits, a thread writes them.

What waits is bounded in bytes and tasks. While the store is away the thread tries again and again, and what waits goes
to disk (`spill`), from where it arrives afterwards, if need be after a restart. What finds no room there either is
dropped and counted, so that everybody can see it and nobody has to feel it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from service.errors import QueueUnavailable
from service.label_queue.rows import NewCohort
from service.label_queue.spill import SpillDirectory
from service.label_queue.store import LabelQueue

logger = logging.getLogger(__name__)

CAPACITY_BYTES = 256 * 1024 * 1024
CAPACITY_TASKS = 100_000
GROUP_TASKS = 2_000  # written in one transaction at most, if one cohort has no more
FIRST_RETRY_SECONDS = 0.25
LAST_RETRY_SECONDS = 10.0
LOOK_SECONDS = 60.0  # between two looks for what a worker spilled that has ended since
TASK_BYTES = 2_000  # a task without its product, with its questions

Outcome = Literal["written", "spilled", "dropped", "refused"]


@dataclass(frozen=True, slots=True)
class WriterCounts:
    """What became of the cohorts and tasks that were offered; all but the three of now only rise.

    What was spilled counts as written, too, once it is in the store.
    """

    written_cohorts: int = 0
    written_tasks: int = 0
    spilled_cohorts: int = 0  # put on disk, because the store was away
    spilled_tasks: int = 0
    dropped_cohorts: int = 0  # no room left in memory, or at the end on disk
    dropped_tasks: int = 0
    refused_cohorts: int = 0  # the store cannot hold them, however often it is tried
    refused_tasks: int = 0
    failures: int = 0  # attempts that found the store away
    waiting_cohorts: int = 0  # now
    waiting_tasks: int = 0  # now
    waiting_bytes: int = 0  # now


class QueueWriter:
    """A bounded buffer before a `LabelQueue`, and the thread that empties it in groups.

    Parameters
    ----------
    spill : where cohorts go while the store is away; None keeps them in memory
    now : tells the time; called from the thread
    """

    def __init__(
        self,
        queue: LabelQueue,
        *,
        spill: SpillDirectory | None = None,
        capacity_bytes: int = CAPACITY_BYTES,
        capacity_tasks: int = CAPACITY_TASKS,
        first_retry_seconds: float = FIRST_RETRY_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._queue = queue
        self._spill = spill
        self._may_have_spilled = spill is not None  # by others before us; the thread's alone
        self._capacity_bytes = capacity_bytes
        self._capacity_tasks = capacity_tasks
        self._first_retry_seconds = first_retry_seconds
        self._now = now
        self._changed = threading.Condition()  # guards all below; whoever holds it may take it again
        self._waiting: deque[_Sized] = deque()
        self._counts = WriterCounts()
        self._deadline: float | None = None  # monotonic; set by close
        self._thread = threading.Thread(target=self._run, name="label-queue-writer", daemon=True)
        self._thread.start()

    def offer(self, cohort: NewCohort) -> bool:
        """Take a sealed cohort over, or drop and count it when there is no room; return which. Never waits."""
        sized = _Sized(cohort, n_tasks=len(cohort.tasks), n_bytes=sum(_size(task.product) for task in cohort.tasks))
        with self._changed:
            if self._deadline is not None or not self._has_room(sized):
                self._count(dropped_cohorts=1, dropped_tasks=sized.n_tasks)
                return False
            self._waiting.append(sized)
            self._count(waiting_cohorts=1, waiting_tasks=sized.n_tasks, waiting_bytes=sized.n_bytes)
            self._changed.notify_all()
            return True

    def counts(self) -> WriterCounts:
        """Return the counts of this moment."""
        with self._changed:
            return self._counts

    def wait_for(self, reached: Callable[[WriterCounts], bool], *, timeout_seconds: float) -> bool:
        """Wait until the counts are as wished; return whether that happened in time."""
        with self._changed:
            return self._changed.wait_for(lambda: reached(self._counts), timeout_seconds)

    def n_spilled(self) -> int:
        """How many cohorts wait on disk now, whoever spilled them."""
        return 0 if self._spill is None else self._spill.n_cohorts()

    def close(self, *, timeout_seconds: float = 10.0) -> WriterCounts:
        """Take nothing more, write what waits, and return the counts; what is not written in time is spilled."""
        with self._changed:
            self._deadline = time.monotonic() + timeout_seconds
            self._changed.notify_all()
        self._thread.join(timeout_seconds)
        self._spill_waiting()
        with self._changed:
            if self._waiting:
                logger.error("cohorts lost at shutdown", extra={"n_cohorts": len(self._waiting)})
                self._finish(tuple(self._waiting), "dropped")
            return self._counts

    def _run(self) -> None:
        retry_seconds = self._first_retry_seconds
        while self._wait_for_work():
            try:
                self._write_some()
            except QueueUnavailable as error:
                self._spill_waiting()
                self._wait_before_retry(retry_seconds, error)
                retry_seconds = min(2 * retry_seconds, LAST_RETRY_SECONDS)
            else:
                retry_seconds = self._first_retry_seconds

    def _wait_for_work(self) -> bool:
        """Return once there is something to write; False at the end, or out of time."""
        with self._changed:
            anything = self._changed.wait_for(
                lambda: self._waiting or self._may_have_spilled or self._deadline is not None,
                None if self._spill is None else LOOK_SECONDS,
            )
            self._may_have_spilled |= not anything
            return self._deadline is None or (bool(self._waiting) and time.monotonic() <= self._deadline)

    def _write_some(self) -> None:
        """Write a group of what waits in memory, or one spilled cohort where nothing does."""
        group = self._next_group()
        if not group:
            self._write_spilled()
            return
        try:
            self._queue.enqueue([sized.cohort for sized in group], now=self._now())
        except QueueUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a cohort does to the store, the thread goes on
            self._separate(group, error)
        else:
            self._finish(group, "written")

    def _next_group(self) -> list[_Sized]:
        """Return the oldest of what waits in memory, as many as fit one transaction."""
        with self._changed:
            group: list[_Sized] = []
            n_tasks = 0
            for sized in self._waiting:
                n_tasks += sized.n_tasks
                if group and (sized.alone or group[0].alone or n_tasks > GROUP_TASKS):
                    break
                group.append(sized)
            return group

    def _write_spilled(self) -> None:
        if self._spill is None:
            return
        with self._spill.oldest() as spilled:
            if spilled is None:
                self._may_have_spilled = False
                return
            n_tasks = 0
            try:
                cohort = spilled.read()
                n_tasks = len(cohort.tasks)
                self._queue.enqueue([cohort], now=self._now())
                counted = {"written_cohorts": 1, "written_tasks": n_tasks}
            except QueueUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - damaged, or refused by the store: it must not hold up the others
                logger.error("spilled cohort given up", extra={"kind": type(error).__name__})
                counted = {"refused_cohorts": 1, "refused_tasks": n_tasks}
            spilled.forget()
        with self._changed:
            self._count(**counted)
            self._changed.notify_all()

    def _spill_waiting(self) -> None:
        """Move what waits in memory to disk, the oldest first, as far as there is room."""
        while self._spill is not None:
            with self._changed:
                if not self._waiting:
                    return
                sized = self._waiting[0]
            if not self._spill.put(sized.cohort):
                return
            self._may_have_spilled = True
            self._finish([sized], "spilled")

    def _wait_before_retry(self, seconds: float, error: QueueUnavailable) -> None:
        with self._changed:
            self._count(failures=1)
            self._changed.notify_all()
            logger.warning(
                "label queue did not take cohorts",
                extra={"reason": error.title, "n_cohorts": len(self._waiting), "retry_seconds": seconds},
            )
            if self._deadline is not None:
                self._changed.wait(min(max(self._deadline - time.monotonic(), 0.0), self._first_retry_seconds))
                return
        until = time.monotonic() + seconds
        while self._rest(until):
            self._spill_waiting()

    def _rest(self, until: float) -> bool:
        """Wait, and return True when cohorts came that could go to disk, False once the time is over."""
        with self._changed:
            n_waiting = len(self._waiting)
            self._changed.wait_for(
                lambda: self._deadline is not None or (self._spill is not None and len(self._waiting) > n_waiting),
                max(until - time.monotonic(), 0.0),
            )
            return self._deadline is None and time.monotonic() < until

    def _separate(self, group: Sequence[_Sized], error: Exception) -> None:
        """Find the cohort that the store refuses: alone it is given up, so that it does not hold up the others."""
        if len(group) == 1:
            logger.error("label queue refused a cohort", extra={"kind": type(error).__name__})
            self._finish(group, "refused")
            return
        with self._changed:
            for sized in group:
                sized.alone = True

    def _finish(self, group: Sequence[_Sized], outcome: Outcome) -> None:
        """Count those of a group that still wait, and let go of them.

        At the end two threads are at it: what the other one has written, spilled or dropped is counted already.
        """
        with self._changed:
            for sized in group:
                if sized in self._waiting:
                    self._waiting.remove(sized)
                    self._count(waiting_cohorts=-1, waiting_tasks=-sized.n_tasks, waiting_bytes=-sized.n_bytes)
                    self._count(**{f"{outcome}_cohorts": 1, f"{outcome}_tasks": sized.n_tasks})
            self._changed.notify_all()

    def _has_room(self, sized: _Sized) -> bool:
        return (
            self._counts.waiting_bytes + sized.n_bytes <= self._capacity_bytes
            and self._counts.waiting_tasks + sized.n_tasks <= self._capacity_tasks
        )

    def _count(self, **changes: int) -> None:
        self._counts = replace(
            self._counts, **{name: getattr(self._counts, name) + change for name, change in changes.items()}
        )


@dataclass(eq=False, slots=True)  # one is itself alone: the same cohort may wait twice
class _Sized:
    cohort: NewCohort
    n_tasks: int
    n_bytes: int
    alone: bool = False  # written in a transaction of its own, because a group with it was refused


def _size(product: Mapping[str, Any]) -> int:
    """Bytes of memory, roughly: its texts, the image above all."""
    return TASK_BYTES + sum(len(value) for value in product.values() if isinstance(value, (str, bytes)))
