"""Stores to be stopped or filled up: a PostgreSQL server of one's own, and a small file system."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.label_queue.queue_postgres import NOBODY, PostgresServer

DISK = "16m"


@contextmanager
def throwaway_postgres(programs: Path) -> Iterator[PostgresServer]:
    """A server of our own with an empty database, queue."""
    with tempfile.TemporaryDirectory(prefix="winnow-postgres-") as temporary:
        directory = Path(temporary)
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
        server = PostgresServer(programs, directory)
        server.create()
        server.start()
        try:
            server.execute("CREATE DATABASE queue")
            yield server
        finally:
            server.stop("immediate")


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of 16 MB, mounted for a block; needs root."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def fill(path: Path) -> None:
    """Write until nothing more fits, to the last byte."""
    with path.open("wb", buffering=0) as ballast:
        for size in (2**20, 2**12, 1):
            try:
                while ballast.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue
