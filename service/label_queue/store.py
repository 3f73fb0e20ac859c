"""The label queue: tasks go in by cohorts, annotators lease and answer them, labels accumulate.

The same statements run on SQLite and PostgreSQL. What a submission does is in `submitting`, reading in `reading`, and
what training and estimates need in `exports`.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Update, delete, exists, insert, select, update

from service.errors import LeaseLost, QueueUnavailable
from service.label_queue import enqueuing, exports, reading, statements, submitting
from service.label_queue.database import Database
from service.label_queue.exclusive import exclusive
from service.label_queue.migrate import migrate
from service.label_queue.reading import Filters
from service.label_queue.replica import ReplicaClaim
from service.label_queue.rows import (
    LabelledProduct,
    Lease,
    NewCohort,
    Page,
    SampledTask,
    Stats,
    StoredCohort,
    Submission,
    TaskLabels,
)
from service.label_queue.schema import label_task, product
from service.label_queue.schema import lease as leases
from service.label_queue.schema import submission as submissions
from service.quality.annotator_error import Agreement

logger = logging.getLogger(__name__)


class LabelQueue:
    """Label tasks, their questions, leases and labels, in one database. Every method is safe to call from any thread.

    Every method raises `QueueUnavailable` when the database does not answer, and those that write raise `StorageFull`
    when its disk is full; then nothing of the call has been stored.
    """

    def __init__(self, database: Database, *, lease_seconds: float, claim: ReplicaClaim | None = None) -> None:
        self.database = database
        self._lease_time = timedelta(seconds=lease_seconds)
        self._claim = claim
        self._migrating = threading.Lock()
        self._migrated = False

    def enqueue(self, cohorts: Sequence[NewCohort], *, now: datetime) -> int:
        """Store sealed cohorts with their tasks, all or none; one that is already there is left alone.

        A product that already has a task keeps it: new questions are added, answered ones are not asked again but
        count for the new cohort, too.

        Returns
        -------
        How many of the cohorts were new.
        """
        with self._write() as connection:
            return enqueuing.enqueue(connection, cohorts, now=now, is_postgresql=self.database.is_postgresql)

    def lease(self, *, annotator: str, n_tasks: int, now: datetime, overlap: int = 1) -> Lease:
        """Grant the best free tasks to an annotator: first those with a surprising answer of somebody else.

        Parameters
        ----------
        overlap : how many annotators each question should get; with 2 it also grants what another one has answered
        """
        token, expires_at = secrets.token_urlsafe(24), now + self._lease_time
        granted = {"lease_token": token, "lease_expires_at": expires_at}
        how: dict[str, Any] = {"annotator": annotator, "now": now, "granted": granted}
        with self._write() as connection:
            doubted = connection.execute(statements.leasing_doubted(n_tasks=n_tasks, **how)).scalars().all()
            leasing = statements.leasing(n_tasks=n_tasks - len(doubted), overlap=overlap, **how)
            task_ids = [*doubted, *connection.execute(leasing).scalars().all()]
            if task_ids:
                self._remember_annotator(connection, annotator, now)
                row = {"token": token, "annotator": annotator, "granted_at": now, "overlap": overlap}
                connection.execute(insert(leases).values(**row))
            wanted = statements.is_wanted(annotator=annotator, overlap=overlap)
            tasks = reading.tasks(connection, label_task.c.id.in_(task_ids), questions=wanted)
        return Lease(token=token, annotator=annotator, expires_at=expires_at, tasks=tasks)

    def extend(self, *, annotator: str, lease_token: str, now: datetime) -> Lease:
        """Start the lease's time anew for the tasks it still holds, and return them with what is left to ask.

        Raises
        ------
        LeaseLost
            If it holds none any more, was never granted, or belongs to another annotator.
        """
        expires_at = now + self._lease_time
        extending = (
            update(label_task)
            .where(label_task.c.lease_token == lease_token)
            .values(lease_expires_at=expires_at)
            .returning(label_task.c.id)
        )
        with self._write() as connection:
            overlap = submitting.check_lease(connection, annotator=annotator, lease_token=lease_token)
            task_ids = connection.execute(extending).scalars().all()
            if not task_ids:
                raise LeaseLost("this lease holds no task any more; lease again")
            wanted = statements.is_wanted(annotator=annotator, overlap=overlap)
            tasks = reading.tasks(connection, label_task.c.id.in_(task_ids), questions=wanted)
        return Lease(token=lease_token, annotator=annotator, expires_at=expires_at, tasks=tasks)

    def release(self, *, annotator: str, lease_token: str, task_ids: Collection[str] | None = None) -> int:
        """Give tasks back, all that the lease holds or some of them, and return how many.

        Raises
        ------
        LeaseLost
            If the lease was never granted, or belongs to another annotator.
        """
        releasing = update(label_task).where(label_task.c.lease_token == lease_token)
        if task_ids is not None:
            releasing = releasing.where(label_task.c.id.in_(task_ids))
        with self._write() as connection:
            submitting.check_lease(connection, annotator=annotator, lease_token=lease_token)
            return connection.execute(releasing.values(lease_token=None, lease_expires_at=None)).rowcount

    def submit(self, submission: Submission, *, now: datetime) -> tuple[TaskLabels, ...]:
        """Store an annotator's labels, all or none, and return the answers among them that were not there before.

        Answers are events: a later one by the same annotator stands instead of the earlier one, which is kept. Sent
        again, the same answer stores nothing. Tasks with every question answered are completed; skipped ones are
        withdrawn. Labels of an expired lease are kept as long as nobody else holds the task.

        Raises
        ------
        LeaseLost
            If somebody else holds one of the tasks, or the lease was never granted to this annotator.
        UnknownTask, UnknownClass, KeyReused
            If the submission names what does not exist, or its key has come with another content.
        """
        with self._write() as connection:
            self._remember_annotator(connection, submission.annotator, now)
            return submitting.submit(connection, submission, now=now, is_postgresql=self.database.is_postgresql)

    def look(self, filters: Filters, *, limit: int, cursor: str | None = None, now: datetime) -> Page:
        """Return tasks by falling priority, without leasing them."""
        with self._read() as connection:
            return reading.look(connection, filters, limit=limit, cursor=cursor, now=now)

    def stats(self, *, now: datetime) -> Stats:
        """Count tasks, questions and answers."""
        with self._read() as connection:
            return reading.stats(connection, now=now)

    def agreements(self) -> tuple[Agreement, ...]:
        """How often every two annotators who answered the same questions said the same."""
        with self._read() as connection:
            return tuple(Agreement(*row) for row in connection.execute(statements.agreements()))

    def delete_product(self, product_id: str) -> int:
        """Forget a product as posted, withdraw its open tasks, and return how many records went; labels stay."""
        mine = label_task.c.product_id == product_id
        with self._write() as connection:
            connection.execute(_withdrawing("deleted").where(mine, label_task.c.state == "open"))
            found = select(label_task.c.id).where(mine)
            return connection.execute(delete(product).where(product.c.task_id.in_(found))).rowcount

    def purge(self, *, stored_before: datetime) -> int:
        """Forget products stored before a time, and the idempotency keys of then; return how many products went."""
        old = product.c.stored_at < stored_before
        with self._write() as connection:
            is_old = exists().where(product.c.task_id == label_task.c.id, old)
            connection.execute(_withdrawing("expired").where(is_old, label_task.c.state == "open"))
            connection.execute(delete(submissions).where(submissions.c.submitted_at < stored_before))
            return connection.execute(delete(product).where(old)).rowcount

    def labels_for_training(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[LabelledProduct]:
        """Yield products with their settled labels, whose newest answer lies in [since, until); no conflicts."""
        with self._read() as connection:
            yield from exports.labels_for_training(connection, since=since, until=until)

    def cohorts(self, bundle_version: str | None = None) -> list[StoredCohort]:
        """Return the cohorts of a bundle version, or all, oldest first."""
        with self._read() as connection:
            return exports.cohorts(connection, bundle_version)

    def answered_questions(self, bundle_version: str | None = None) -> list[SampledTask]:
        """Return the sampled tasks of those cohorts, by falling q, with all that a weighted estimate needs."""
        with self._read() as connection:
            return exports.sampled_tasks(connection, bundle_version)

    @contextmanager
    def exclusive(self, name: str) -> Iterator[Callable[[], None]]:
        """Hold a lock that only one process may have, on whatever machine; see `exclusive.exclusive`."""
        with exclusive(self.database, name) as check:
            yield check

    def check(self) -> None:
        """Raise `QueueUnavailable` unless the database answers."""
        with self._read() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        """Close every connection and let another replica have the file."""
        self.database.close()
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def prepare(self) -> None:
        """Migrate the tables, once; every other method does so when it comes first."""
        if not self._migrated:
            with self._migrating:
                if not self._migrated:
                    migrate(self.database)
                    self._migrated = True

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        self.prepare()
        with self.database.read() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        self.prepare()
        with self.database.write() as connection:
            yield connection

    def _remember_annotator(self, connection: Connection, name: str, now: datetime) -> None:
        submitting.remember_annotator(connection, name, now=now, is_postgresql=self.database.is_postgresql)


def open_store(url: str, *, lease_seconds: float, replica: str | None = None) -> LabelQueue:
    """Open the label queue at a database URL.

    A database that does not answer yet is no error: the service has to start without it, and each call tries again.

    Parameters
    ----------
    lease_seconds : how long an annotator may hold tasks without a sign of life
    replica : what all workers of one deployment have in common (`replica.replica_name()`); None for a command that
        works beside the service on the same machine

    Raises
    ------
    SettingsError
        If the URL names no database that we know.
    SecondReplica
        If it is a SQLite file that another replica owns.
    """
    database = Database(url)
    claim = None
    if database.path is not None:
        database.path.parent.mkdir(parents=True, exist_ok=True)
        claim = ReplicaClaim(database.path, replica) if replica is not None else None
    queue = LabelQueue(database, lease_seconds=lease_seconds, claim=claim)
    try:
        queue.prepare()
    except QueueUnavailable as error:
        logger.warning("label queue does not answer yet", extra={"reason": str(error)})
    return queue


def _withdrawing(reason: str) -> Update:
    values = {"state": "withdrawn", "withdrawal": reason, "lease_token": None, "lease_expires_at": None}
    return update(label_task).values(**values)
