"""The write lock of a SQLite file: one at a time, and everybody gets a turn."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from service.errors import QueueUnavailable
from service.label_queue.write_lock import WriteLock

ROOT = Path(__file__).parents[2]
N_TURNS = 100


def turns(directory: Path, *, n_processes: int, n_threads: int) -> list[str]:
    """Let processes write for all they are worth, and return whose turn it was, one after the other."""
    log = directory / "turns"
    log.touch()
    arguments = [str(directory / "queue.lock"), str(log), str(n_threads), str(N_TURNS)]
    command = [sys.executable, "-m", "tests.label_queue.writing_process", *arguments]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(n_processes)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
    assert [process.wait(timeout=60) for process in processes] == [0] * n_processes
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    return log.read_text().split()


@pytest.mark.parametrize(("n_processes", "n_threads"), [(4, 1), (2, 2)])
def test_none_of_many_writers_is_kept_out_by_the_others(tmp_path: Path, n_processes: int, n_threads: int) -> None:
    log = turns(tmp_path, n_processes=n_processes, n_threads=n_threads)

    assert set(Counter(log).values()) == {N_TURNS}
    contested = log[: min(len(log) - log[::-1].index(writer) for writer in set(log))]  # while all of them want it
    assert len(set(contested)) == n_processes * n_threads
    assert min(Counter(contested).values()) > N_TURNS / 4, Counter(contested)
    processes = itertools.groupby(writer.partition("-")[0] for writer in contested)
    longest = max(len(list(in_a_row)) for _, in_a_row in processes)
    assert longest < N_TURNS / 4, f"one process had {longest} turns in a row"


def test_a_thread_that_holds_the_lock_may_take_it_again(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path / "queue.lock", patience_seconds=0.01)

    with lock.held():
        with lock.held():
            pass
        with pytest.raises(QueueUnavailable), WriteLock(tmp_path / "queue.lock", patience_seconds=0.01).held():
            pass


def test_a_thread_that_waits_too_long_is_told_so_and_leaves_the_way_free(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path / "queue.lock", patience_seconds=0.01)
    refusals: list[str] = []

    def want() -> None:
        try:
            with lock.held():
                refusals.append("none")
        except QueueUnavailable as error:
            refusals.append(str(error))

    with lock.held():
        waiting = threading.Thread(target=want)
        waiting.start()
        waiting.join()
    want()

    assert refusals == ["label queue is busy: other threads have been writing for too long", "none"]
