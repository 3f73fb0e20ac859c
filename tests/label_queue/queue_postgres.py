"""A PostgreSQL server for the tests, without root and without a container."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

NOBODY = 65534


@dataclass(frozen=True)
class PostgresServer:
    """A throwaway server that listens on a Unix socket in its own directory."""

    programs: Path
    directory: Path

    def url(self, database: str) -> str:
        return f"postgresql://winnow@/{database}?host={self.directory}"

    def start(self, *, fsync: bool = False) -> None:
        sync = "on" if fsync else "off"
        options = f"-k {self.directory} -c listen_addresses='' -c fsync={sync} -c max_connections=100"
        log = str(self.directory / "log")
        self._run("pg_ctl", "-D", str(self.directory / "data"), "-w", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self.directory / "data"), "-w", "-m", mode, "stop")

    def create(self) -> None:
        data = str(self.directory / "data")
        self._run("initdb", "-D", data, "-U", "winnow", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)  # names are ours

    def _run(self, program: str, *arguments: str) -> None:
        root = os.geteuid() == 0  # the server refuses to run as root
        become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if root else []
        command = [*become, str(self.programs / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.directory)


def find_programs() -> Path | None:
    """Where initdb and pg_ctl are: on PATH, or where Debian puts the newest."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((path for path in reversed(found) if (path / "initdb").exists()), None)


@contextmanager
def running_postgres(programs: Path, database: str) -> Iterator[PostgresServer]:
    """A server of one's own until the block ends, with an empty database."""
    with tempfile.TemporaryDirectory(prefix="winnow-postgres-") as temporary:
        directory = Path(temporary)
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
        server = PostgresServer(programs, directory)
        server.create()
        server.start()
        try:
            server.execute(f"CREATE DATABASE {database}")
            yield server
        finally:
            server.stop("immediate")
