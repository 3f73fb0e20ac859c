"""Runs `winnow` commands and kills one, as `kill -9` would, just before the step that it is told.

A step is whatever a kill can fall between: making, opening, writing, flushing, syncing, renaming or removing something
below BENTOML_HOME, taking a lock there, or committing to a database. Steps are seen from outside, by an audit hook and
a profiler in the command's process; nothing of the command is replaced. What a kill may leave behind is left to
`benchmarks.kills`.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

EVENTS = frozenset(
    {
        "fcntl.flock", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink",
        "os.truncate", "shutil.copyfile", "sqlite3.connect",
    }
)  # fmt: skip
CALLS = frozenset({"commit", "flush", "truncate", "write"})  # of files and connections, written in C
WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, negative for a signal, and the steps it came to."""

    status: int
    steps: list[str]

    @property
    def was_killed(self) -> bool:
        """Whether it did not get to its end."""
        return self.status == -signal.SIGKILL


class Commands:
    """Runs commands one after the other, each in a process of its own that has everything imported already."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, *arguments: str, kill_before: int = 0) -> Ended:
        """Run one to its end, or to the step before which it is killed, from 1; 0 is none."""
        self._to.write(json.dumps({"arguments": arguments, "kill_before": kill_before}) + "\n")
        self._to.flush()
        answer = self._from.readline()
        if not answer:
            raise RuntimeError("the process that runs the commands has ended")
        return Ended(**json.loads(answer))

    @property
    def _to(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _from(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout


@contextmanager
def commands(home: Path, *, log: Path, directory: Path, modules: Sequence[str] = ()) -> Iterator[Commands]:
    """Run commands on a BENTOML_HOME.

    Parameters
    ----------
    log : where what they say is appended
    directory : in which they run
    modules : to import once for all of them, beside the command line itself
    """
    environment: Mapping[str, str] = {**os.environ, "BENTOML_HOME": str(home.absolute()), "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-m", "benchmarks.killed", str(log.absolute()), "training.cli", *modules]
    process = subprocess.Popen(
        program, cwd=directory, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Commands(process)
    finally:
        process.communicate(timeout=60)  # closes its input, at whose end it ends


class Killer:
    """Counts the steps of this process, and kills it before one of them.

    Parameters
    ----------
    steps : descriptor that the steps are written to, one a line
    """

    def __init__(self, home: Path, *, kill_before: int, steps: int) -> None:
        self._home = f"{home}{os.sep}"
        self._kill_before = kill_before
        self._steps = steps
        self._n_steps = 0

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an event of the interpreter."""
        if event in EVENTS or (event == "open" and _writes(arguments[1], arguments[2])):
            paths = [path for argument in arguments if (path := self._within(argument))]
            if paths:
                self._step(event, *paths)

    def profile(self, _frame: FrameType, event: str, function: Any) -> None:
        """Take a call of a function that is written in C."""
        if event != "c_call":
            return
        owner = getattr(function, "__self__", None)
        if function is os.fsync:
            self._step("fsync")
        elif getattr(function, "__name__", None) in CALLS:
            path = self._within(getattr(owner, "name", None))
            if path:
                self._step(function.__name__, path)
            elif type(owner).__module__ == "sqlite3":
                self._step(f"sqlite3.{function.__name__}")

    def _within(self, path: object) -> str | None:
        """The path, relative to the home, if it is of something in it."""
        if isinstance(path, int):
            link = Path(f"/proc/self/fd/{path}")
            path = link.readlink() if link.is_symlink() else None
        if not isinstance(path, (str, os.PathLike)):
            return None
        whole = str(Path(path).absolute())
        return whole.removeprefix(self._home) if whole.startswith(self._home) else None

    def _step(self, *words: str) -> None:
        self._n_steps += 1
        os.write(self._steps, f"{' '.join(words)}\n".encode())
        if self._n_steps == self._kill_before:
            os.kill(os.getpid(), signal.SIGKILL)


def _writes(mode: object, flags: object) -> bool:
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & WRITING_FLAGS)


def _serve(log: Path) -> None:
    """Read commands from standard input, run each in a fork, and say how it ended."""
    for line in sys.stdin:
        wanted = json.loads(line)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            _become(wanted["arguments"], kill_before=wanted["kill_before"], steps=write, log=log)
        os.close(write)
        with os.fdopen(read) as steps:
            seen = steps.read().splitlines()  # ends with the child
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "steps": seen}), flush=True)  # noqa: T201  the answer


def _become(arguments: Sequence[str], *, kill_before: int, steps: int, log: Path) -> NoReturn:
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(said, stream.fileno())
    killer = Killer(Path(os.environ["BENTOML_HOME"]), kill_before=kill_before, steps=steps)
    sys.argv = ["winnow", *arguments]
    status: object = 1
    try:
        sys.addaudithook(killer.audit)
        threading.setprofile(killer.profile)
        sys.setprofile(killer.profile)
        importlib.import_module("training.cli").main()
        status = 0
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.setprofile(None)
        sys.stdout.flush()
        os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    _serve(Path(sys.argv[1]))
