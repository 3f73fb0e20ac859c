"""One replica owns a SQLite label queue: its workers share the file, a second replica is refused."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from service.errors import SecondReplica

REMEDY = "SQLite serves one replica; stop the other one, or set WINNOW_DATABASE_URL to a PostgreSQL database"


def replica_name() -> str:
    """What all workers of one deployment have in common: the host and the process that started them."""
    return f"{socket.gethostname()}:{os.getppid()}"


class ReplicaClaim:
    """A shared lock on a file beside the database, which names the replica; the kernel drops it with the process."""

    def __init__(self, database: Path, replica: str) -> None:
        self._path = database.with_name(database.name + ".replica")
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._claim(replica)
        except BaseException:  # whatever it was, nobody else could close the file
            os.close(self._file)
            raise

    def release(self) -> None:
        """Let another replica have the file."""
        os.close(self._file)

    def _claim(self, replica: str) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # somebody is here: see below who
        else:
            os.truncate(self._file, 0)
            os.pwrite(self._file, replica.encode(), 0)
        fcntl.flock(self._file, fcntl.LOCK_SH)  # waits for nothing longer than another worker's two lines above
        owner = os.pread(self._file, 1000, 0).decode(errors="replace")
        if owner != replica:  # changing a lock's kind is not atomic, so this holds for the one who wrote, too
            raise SecondReplica(f"label queue {self._path.stem} belongs to replica {owner}. {REMEDY}")
