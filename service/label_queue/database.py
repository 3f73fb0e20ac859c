"""The one door to SQLite and PostgreSQL: connections, transactions, and driver errors turned into ours.

What is stored is left to `schema`, the statements to `store`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import QueueUnavailable, SettingsError, StorageFull
from service.label_queue.write_lock import LOCK_SECONDS, WriteLock

STATEMENT_SECONDS = 10
CONNECT_SECONDS = 3
READING = "winnow_reading"  # execution option: this transaction will not write


class Database:
    """A SQLite file or a PostgreSQL database, by URL; it connects when first used."""

    def __init__(self, url: str) -> None:
        parsed = parse_url(url)
        self.is_postgresql = parsed.get_backend_name() == "postgresql"
        self.path = None if self.is_postgresql else Path(str(parsed.database)).resolve()
        self._write_lock = None if self.path is None else WriteLock(self.path.with_name(self.path.name + ".lock"))
        self.engine = (
            _postgresql_engine(parsed)
            if self._write_lock is None
            else _sqlite_engine(parsed.set(database=str(self.path)), self._write_lock)
        )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Run a transaction that only reads, and sees one moment.

        Raises
        ------
        QueueUnavailable
            If the database does not answer.
        """
        with translated_errors(), self.engine.connect() as connection:
            connection.execution_options(**{READING: True})
            if self.is_postgresql:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run a transaction that is committed at the end of the block, or not at all.

        Raises
        ------
        QueueUnavailable
            If the database does not answer.
        StorageFull
            If its disk is full.
        """
        with translated_errors():
            if self._write_lock is None:
                with self.engine.begin() as connection:
                    yield connection
            else:
                with self._write_lock.held(), self.engine.begin() as connection:
                    yield connection

    def close(self) -> None:
        """Close every connection; closing SQLite's last one checkpoints, hence under the lock."""
        if self._write_lock is None:
            self.engine.dispose()
        else:
            with self._write_lock.held():
                self.engine.dispose()


def parse_url(url: str) -> URL:
    """Read a database URL and name the driver we use.

    Raises
    ------
    SettingsError
        If it is no URL, names another database, or a SQLite database without a file.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SettingsError("the database URL cannot be read; use sqlite:///path or postgresql://…") from error
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise SettingsError(f"the database URL names {backend}; use sqlite:///path or postgresql://…")
    if not parsed.database or parsed.database == ":memory:":
        raise SettingsError("the label queue must survive a restart: name a file, as in sqlite:///data/queue.sqlite3")
    return parsed


def _postgresql_engine(url: URL) -> Engine:
    options = (
        f"-c statement_timeout={STATEMENT_SECONDS * 1000} -c lock_timeout={STATEMENT_SECONDS * 500} -c timezone=UTC"
    )
    arguments = {"connect_timeout": CONNECT_SECONDS, "application_name": "winnow", "options": options}
    return create_engine(
        url, connect_args=arguments, pool_size=8, max_overflow=8, pool_timeout=CONNECT_SECONDS, pool_pre_ping=True
    )


def _sqlite_engine(url: URL, lock: WriteLock) -> Engine:
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver would begin a deferred transaction; we begin our own
        with lock.held():
            for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {setting}").close()

    arguments = {"timeout": LOCK_SECONDS, "check_same_thread": False}
    engine = create_engine(url, connect_args=arguments, pool_size=8, max_overflow=8)
    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get(READING, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what a driver raises into `QueueUnavailable` and `StorageFull`."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if _is_disk_full(error):
            raise StorageFull("label queue has no room left on its disk") from error
        raise QueueUnavailable("label queue did not answer; check WINNOW_DATABASE_URL and the database") from error
    except PoolTimeout as error:
        raise QueueUnavailable("label queue has no connection free") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise QueueUnavailable("label queue closed the connection") from error
        raise


def _is_disk_full(error: DBAPIError) -> bool:
    driver_error = error.orig
    return (
        getattr(driver_error, "sqlite_errorname", None) == "SQLITE_FULL"
        or getattr(driver_error, "sqlstate", None) == "53100"
    )
