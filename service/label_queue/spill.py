"""Sealed cohorts on disk, for as long as the store is away: one file each, written whole or not at all.

Who spills and when is left to `writer`. Every worker may use the same directory, and whoever comes first writes a file
to the store, also after a restart; a cohort that arrives twice is stored once.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import TypeAdapter

from service.label_queue.rows import NewCohort

ENDING = ".cohort.json"
COHORT = TypeAdapter(NewCohort)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SpilledCohort:
    """A spilled cohort that is ours to write, until the block that got it ends."""

    path: Path

    def read(self) -> NewCohort:
        """Return the cohort.

        Raises
        ------
        ValueError
            If the file was damaged since it was written.
        """
        return COHORT.validate_json(self.path.read_bytes())

    def forget(self) -> None:
        """Delete the file: the cohort is in the store, or can never be."""
        self.path.unlink(missing_ok=True)


class SpillDirectory:
    """Cohorts in a directory, which is made when the first one comes.

    Parameters
    ----------
    capacity_bytes : of all files together; workers that share the directory may each go beyond it by one cohort
    """

    def __init__(self, directory: Path, *, capacity_bytes: int) -> None:
        self._directory = directory
        self._capacity_bytes = capacity_bytes

    def put(self, cohort: NewCohort) -> bool:
        """Keep a cohort on disk, synced; return False where there is no room for it or the disk does not take it."""
        content = COHORT.dump_json(cohort)
        try:
            if self.n_bytes() + len(content) > self._capacity_bytes:
                return False
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._directory / _name(cohort), content)
        except OSError as error:
            logger.warning("cohort not spilled", extra={"reason": error.strerror})
            return False
        return True

    @contextmanager
    def oldest(self) -> Iterator[SpilledCohort | None]:
        """Have the oldest cohort that nobody else is writing to the store, for a block; None if there is none."""
        for path in self._paths():
            try:
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                continue  # another worker has just written it to the store
            try:
                if _is_ours(file):
                    yield SpilledCohort(path)
                    return
            finally:
                os.close(file)  # and with it goes the claim, as it does when the process is killed
        yield None

    def n_cohorts(self) -> int:
        """How many cohorts there are."""
        return len(self._paths())

    def n_bytes(self) -> int:
        """What they take."""
        return sum(_size(path) for path in self._paths())

    def _paths(self) -> list[Path]:
        return sorted(self._directory.glob(f"*{ENDING}"))  # a directory that is not there has none


def directory_for(root: Path, database_url: str) -> Path:
    """A directory of its own for each database, whoever signs in to it: a cohort must not arrive in another one."""
    parts = urlsplit(database_url)
    place = f"{parts.scheme.partition('+')[0]}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return root / hashlib.sha256(place.encode()).hexdigest()[:16]


def _name(cohort: NewCohort) -> str:
    digest = hashlib.sha256(cohort.id.encode()).hexdigest()
    return f"{cohort.sealed_at:%Y%m%dT%H%M%S.%f}-{digest[:16]}{ENDING}"


def _write(path: Path, content: bytes) -> None:
    """Write a file that is either absent or complete, whatever happens meanwhile."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _is_ours(file: int) -> bool:
    """Claim an open file; False if another worker has the claim, or has deleted the file since it was opened."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file).st_nlink > 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
