"""A real server: `bentoml serve` in processes of its own, on a free port of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.launch import child, command, environment, free_port

START_SECONDS = 180


@dataclass(frozen=True)
class Server:
    """A started server, its address, and where it logs."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=20)

    def post(self, path: str, body: object) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=20)

    def wait_for_log(self, text: str, *, times: int) -> None:
        """Wait until the log holds a text so many times, as when every worker has come up."""
        until = time.monotonic() + START_SECONDS
        while self.log.read_text().count(text) < times:
            assert time.monotonic() < until, f"the log holds {text!r} fewer than {times} times: {self.log.read_text()}"
            time.sleep(0.1)


@contextmanager
def running(
    home: Path,
    *,
    workers: int = 1,
    wait_for: str = "/readyz",
    served: Sequence[str] = (),
    cwd: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start a server and stop it at the end.

    Parameters
    ----------
    home : its BENTOML_HOME
    wait_for : the route whose 200 says that it is up
    served : arguments of `bentoml serve` in place of our own service's
    variables : of its environment, beside those that it always gets
    """
    port = free_port()
    arguments = command("127.0.0.1", port)
    if served:
        arguments = [sys.executable, "-m", "bentoml", "serve", *served, "--host", "127.0.0.1", "--port", str(port)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    everything = environment({**inherited, "BENTOML_HOME": str(home), **(variables or {})}, workers)
    home.mkdir(parents=True, exist_ok=True)
    log = home / f"server-{port}.log"  # several servers may share a home
    with child(arguments, env=everything, log=log, cwd=cwd) as process:
        server = Server(f"http://127.0.0.1:{port}", process, log)
        _wait(server, wait_for)
        yield server


def _wait(server: Server, path: str) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if server.process.poll() is not None:
            raise AssertionError(f"the server ended: {server.log.read_text()}")
        try:
            if server.get(path).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)  # another process starts: there is nothing else to wait on
    raise AssertionError(f"the server did not answer {path}: {server.log.read_text()}")
