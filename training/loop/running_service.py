"""The service in a process of its own, as `winnow loop` runs it: started on a free port, waited for, ended."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from service.errors import WinnowError
from service.launch import child, command, environment, free_port
from training.loop.client import Client, ServiceRefused

START_SECONDS = 90.0
POLL_SECONDS = 0.2
DRIFT = re.compile(r'^winnow_drift_index\{[^}]*kind="(?P<kind>\w+)"[^}]*\} (?P<index>\S+)$', re.MULTILINE)


class LoopFailed(WinnowError):
    """The service did not start, did not seal its cohort, or did not take over a promoted bundle in time."""

    status = 504
    title = "loop failed"


@contextmanager
def running_service(variables: Mapping[str, str], *, log: Path) -> Iterator[str]:
    """Run it on a free port of this machine until the block ends, and yield its address.

    Raises
    ------
    LoopFailed
        If it does not come up.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with child(command("127.0.0.1", port), env=environment(variables, 1), log=log) as process:
        wait_until(lambda: _is_up(process, url), seconds=START_SECONDS, what=f"the service did not start; see {log}")
        yield url


def wait_until(happened: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Look again and again.

    Raises
    ------
    LoopFailed
        If it has not happened in time.
    """
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise LoopFailed(f"{what} within {seconds:.0f} s")
        time.sleep(POLL_SECONDS)


def drift(url: str) -> dict[str, float]:
    """The greatest stability index of each kind (class, field, missing) in the metrics; empty until enough was served.

    Raises
    ------
    LoopFailed
        If the service does not show its metrics.
    """
    try:
        with urlopen(f"{url}/metrics", timeout=10) as answer:  # our own service, on loopback
            text = answer.read().decode()
    except URLError as error:
        raise LoopFailed(f"the service does not show its metrics: {error.reason}") from error
    highest: dict[str, float] = {}
    for found in DRIFT.finditer(text):
        highest[found["kind"]] = max(highest.get(found["kind"], 0.0), float(found["index"]))
    return highest


def _is_up(process: subprocess.Popen[bytes], url: str) -> bool:
    if process.poll() is not None:
        raise LoopFailed(f"the service ended at once with status {process.returncode}; see its log")
    try:
        Client(url).call("GET", "/model")
    except ServiceRefused:
        return False
    return True
