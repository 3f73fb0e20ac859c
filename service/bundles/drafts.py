"""Directories in which something grows before it is whole: of one process each, and swept up after a killed one.

Who owns a draft is known by a lock on a file in it, which the system lets go of however the process ends: process ids
mean nothing to another container. Moving what is whole to its place is left to the owner.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import IO

PREFIX = "winnow-draft-"  # nothing else in a temporary directory begins so
LOCK = "owner.lock"


@contextmanager
def new_draft(parent: Path) -> Iterator[Path]:
    """A directory of this process's own until the block ends; what is still in it then is removed.

    Parameters
    ----------
    parent : made if it is not there
    """
    parent.mkdir(parents=True, exist_ok=True)
    directory, lock = _locked_directory(parent)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        lock.close()


def sweep_drafts(parent: Path) -> None:
    """Remove the drafts that no live process owns; those of other users stay."""
    for directory in parent.glob(f"{PREFIX}*"):
        try:
            with (directory / LOCK).open("ab") as lock:
                flock(lock, LOCK_EX | LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
        except OSError:  # its owner lives, has just removed it, or is another user; or it is no directory
            continue


def _locked_directory(parent: Path) -> tuple[Path, IO[bytes]]:
    while True:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = _lock(directory / LOCK)
        if lock is not None:
            return directory, lock


def _lock(path: Path) -> IO[bytes] | None:
    """Take the lock of a directory that was just made; None where a sweep came first and has removed it."""
    try:
        lock = path.open("ab")
    except FileNotFoundError:
        return None
    flock(lock, LOCK_EX)
    try:
        if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
            return lock
    except FileNotFoundError:
        pass
    lock.close()
    return None
