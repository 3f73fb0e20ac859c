"""Starts servers on a free port of this machine, waits until they answer, counts their CPU time, and stops them."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from service.launch import command as launch_command
from service.launch import free_port

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "build" / "peers"
START_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    port: int
    process: psutil.Process

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def tree(self) -> list[psutil.Process]:
        """The process that was started, and all that it started."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """CPU time, user and system, of the whole process tree so far."""
        return sum(float(times.user + times.system) for times in (process.cpu_times() for process in self.tree()))

    def resident_bytes(self) -> int:
        """Memory of the whole process tree; pages that processes share count once for each."""
        return sum(int(process.memory_info().rss) for process in self.tree())


@contextmanager
def serving(
    name: str,
    command: Sequence[str],
    *,
    ready: str,
    environment: Mapping[str, str],
    log: Path = Path(os.devnull),
    start_seconds: float = START_SECONDS,
) -> Iterator[Server]:
    """Run a server for the time of the block; `{port}` in the command is replaced by a free port."""
    port = free_port()
    spelled = [word.replace("{port}", str(port)) for word in command]
    with log.open("ab") as output:
        started = subprocess.Popen(
            spelled, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    server = Server(name, port, psutil.Process(started.pid))
    try:
        _wait_until_ready(server, ready, start_seconds)
        yield server
    finally:
        _stop(server)
        started.wait(timeout=20)


@contextmanager
def apart(start: AbstractContextManager[Server]) -> Iterator[Server]:
    """Serve on one processor and send from another, so that neither takes the other's time."""
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, processors[:1])  # the server and its threads inherit it
    try:
        with start as server:
            os.sched_setaffinity(0, processors[-1:])
            yield server
    finally:
        os.sched_setaffinity(0, processors)


def peer_python(name: str, requirements: Sequence[str]) -> Path:
    """Python of a peer's own environment under build/peers, made on first use; of our own pins it has onnxruntime's."""
    directory = PEERS / name
    python = directory / "bin" / "python"
    stamp = directory / "installed"
    if not stamp.exists():
        venv.create(directory, with_pip=True, clear=True)
        pinned = (line.split(";")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
        shared = [line for line in pinned if line.startswith("onnxruntime==")] + ["numpy", "pydantic", "pillow"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *shared, *requirements], check=True)
        stamp.touch()
    return python


def winnow_command() -> list[str]:
    """The command that serves Winnow with this interpreter."""
    return launch_command("127.0.0.1", "{port}")


def bentoml_home() -> Path:
    """The directory in which BentoML keeps its model store."""
    return Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")


def _wait_until_ready(server: Server, path: str, start_seconds: float) -> None:
    deadline = time.monotonic() + start_seconds
    while time.monotonic() < deadline:
        if not server.process.is_running() or server.process.status() == psutil.STATUS_ZOMBIE:
            raise RuntimeError(f"{server.name} ended before it answered {path}")
        if _answers(server.port, path):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{server.name} did not answer {path} within {start_seconds:.0f} s")


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _stop(server: Server) -> None:
    tree = server.tree() if server.process.is_running() else []
    for process in tree[:1]:
        process.terminate()
    _, alive = psutil.wait_procs(tree, timeout=15)
    for process in alive:
        process.kill()
