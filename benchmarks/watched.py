"""Runs a command to its end, and says what it took: wall time, CPU time and memory of the whole process tree."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

LOOK_SECONDS = 0.2  # between two looks at the memory


@dataclass(frozen=True)
class Took:
    """What a command took."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def watched(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None, memory: Callable[[psutil.Process], int]
) -> Took:
    """Run a command to its end.

    Parameters
    ----------
    memory : of a process and its children, in bytes: `resident_bytes` or `unshared_bytes`

    Raises
    ------
    CalledProcessError
        If it fails.
    """
    before, started, peak = _used(), time.perf_counter(), 0
    process = psutil.Popen(command, cwd=cwd, env=env)
    while process.poll() is None:
        peak = max(peak, memory(process))
        time.sleep(LOOK_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Took(time.perf_counter() - started, _used() - before, peak)


def resident_bytes(process: psutil.Process) -> int:
    """Memory that is held; pages that processes share count once for each."""
    return _summed(process, lambda one: int(one.memory_info().rss))


def unshared_bytes(process: psutil.Process) -> int:
    """Memory that no other process shares."""
    return _summed(process, lambda one: int(one.memory_full_info().uss))


def _summed(process: psutil.Process, of: Callable[[psutil.Process], int]) -> int:
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += of(one)
    except psutil.Error:  # one ended while it was looked at
        return total
    return total


def _used() -> float:
    """CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
