"""One at a time among all who use a label queue, on whatever machine: a lock that goes with the process that holds it.

On PostgreSQL it is an advisory lock of a connection, on SQLite, which lives on one machine, a lock on a file beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from sqlalchemy import Connection, text

from service.errors import AlreadyRunning
from service.label_queue.database import Database, translated_errors

Check = Callable[[], None]


@contextmanager
def exclusive(database: Database, name: str) -> Iterator[Check]:
    """Hold the lock of this name, and yield a check that it is still held, for before a step that cannot be undone.

    Raises
    ------
    AlreadyRunning
        If another process holds it.
    QueueUnavailable
        If the database does not answer; from the check, too, when the connection that holds the lock is gone.
    """
    if database.path is None:
        with _advisory(database, name) as check:
            yield check
    else:
        with _on_file(database.path.with_name(f"{database.path.name}.{name}.lock"), name):
            yield lambda: None


@contextmanager
def _advisory(database: Database, name: str) -> Iterator[Check]:
    with translated_errors():
        connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        if not _answer(connection, "SELECT pg_try_advisory_lock(:key)", name):
            raise _taken(name)
        yield lambda: _still(connection, name)
    finally:
        connection.invalidate()  # closed rather than given back: the lock goes with it
        connection.close()


def _still(connection: Connection, name: str) -> None:
    """Take it once more, which a connection that holds it always may."""
    if not _answer(connection, "SELECT pg_try_advisory_lock(:key)", name):
        raise _taken(name)


def _answer(connection: Connection, statement: str, name: str) -> bool:
    key = int.from_bytes(hashlib.blake2b(f"winnow {name}".encode(), digest_size=8).digest(), "big", signed=True)
    with translated_errors():
        return bool(connection.execute(text(statement), {"key": key}).scalar_one())


@contextmanager
def _on_file(path: Path, name: str) -> Iterator[None]:
    with path.open("a") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise _taken(name) from error
        yield


def _taken(name: str) -> AlreadyRunning:
    return AlreadyRunning(f"a {name} is running on this label queue, perhaps on another machine; wait for it to end")
