"""A fair lock between the threads and processes of one machine, for whoever writes to a SQLite file.

SQLite before 3.51.3 can damage a write-ahead log when one connection writes while another checkpoints, and its own lock
is free between a commit and the checkpoint that follows; so `database` holds this one around both.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import QueueUnavailable

LOCK_SECONDS = 10.0  # patience for another process that is writing to the same SQLite file
POLL_SECONDS = 0.001  # a file's lock cannot be waited for with a time limit


class WriteLock:
    """A lock with a gate before it, between threads and again between processes; re-entrant within a thread.

    One waits for the lock while holding the gate, and leaves the gate on taking the lock. Whoever gives the lock back
    and wants it again at once finds the gate taken by one who waits; a lock without a gate would be theirs again before
    the waiting one has woken up, for as long as they like.
    """

    def __init__(self, path: Path, *, patience_seconds: float = LOCK_SECONDS) -> None:
        self._path = path
        self._gate_path = path.with_suffix(".gate")
        self._patience_seconds = patience_seconds
        self._thread_gate = threading.Lock()
        self._thread_lock = threading.Lock()
        self._owner: int | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for a block.

        Raises
        ------
        QueueUnavailable
            If others hold it for longer than the patience.
        """
        if self._owner == threading.get_ident():  # nobody else writes our number there
            yield
            return
        deadline = time.monotonic() + self._patience_seconds
        with self._thread_turn(deadline), self._process_turn(deadline):
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None

    @contextmanager
    def _thread_turn(self, deadline: float) -> Iterator[None]:
        _acquire(self._thread_gate, deadline)
        try:
            _acquire(self._thread_lock, deadline)
        finally:
            self._thread_gate.release()
        try:
            yield
        finally:
            self._thread_lock.release()

    @contextmanager
    def _process_turn(self, deadline: float) -> Iterator[None]:
        gate = _locked_file(self._gate_path, deadline)
        try:
            file = _locked_file(self._path, deadline)
        finally:
            os.close(gate)
        try:
            yield
        finally:
            os.close(file)  # and with it goes the lock, as it does when the process is killed


def _acquire(lock: threading.Lock, deadline: float) -> None:
    if not lock.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
        raise QueueUnavailable("label queue is busy: other threads have been writing for too long")


def _locked_file(path: Path, deadline: float) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise QueueUnavailable(f"{path} cannot be opened: {error.strerror}") from error
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                os.close(file)
                raise QueueUnavailable("label queue is busy: another process has been writing for too long") from error
            time.sleep(POLL_SECONDS)
        else:
            return file
