"""Starts the BentoML server of this service, in place of the running process or beside it.

What it serves is left to `service.app`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

SERVICE = "service.app:Winnow"
ROOT = Path(__file__).parent.parent  # what `service` is imported from
END_SECONDS = 30.0  # that a process may take to end when it is asked to


def serve(*, host: str = "127.0.0.1", port: int = 3000) -> NoReturn:
    """Become `bentoml serve`; Ctrl-C and signals then reach it directly.

    Parameters
    ----------
    host : address to listen on; by default this machine alone
    """
    sys.stderr.write(welcome(host, port))
    sys.stderr.flush()
    os.execve(sys.executable, command(host, port), environment(os.environ))


@contextmanager
def child(
    arguments: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends; it is asked to end then, and killed if it does not.

    Parameters
    ----------
    log : the file that takes all that it says
    """
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, env=env, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    """A port of this machine's loopback address that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def command(host: str, port: int | str) -> list[str]:
    """The server's command line."""
    return [
        *(sys.executable, "-m", "bentoml", "serve", SERVICE),
        *("--host", host, "--port", str(port), "--working-dir", str(ROOT)),
    ]


def environment(inherited: Mapping[str, str], workers: int | None = None) -> dict[str, str]:
    """The server's environment: what is inherited, no reports of use to BentoML's makers, and the workers if given."""
    chosen = {"BENTOML_DO_NOT_TRACK": "True", **inherited}
    if workers is not None:
        chosen["WINNOW_WORKERS"] = str(workers)
    return chosen


def welcome(host: str, port: int) -> str:
    """What to open once the server is up."""
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host
    url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    lines = (("overview", ""), ("documentation", "/docs"), ("ready", "/readyz"), ("metrics", "/metrics"))
    return "".join(f"{name:>14}  {url}{path}\n" for name, path in lines)
