"""The directory of one server's metrics: its own, fresh, and without what dead workers said of the present."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.telemetry.metrics_directory import CLIENTS_DIRECTORY, DIRECTORY, forget_dead_workers, join_directory

ROOT = Path(__file__).parent.parent


@pytest.fixture
def dead_pid() -> int:
    """Of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(timeout=60)
    return ended.pid


def test_each_server_has_a_directory_of_its_own_and_takes_it_along() -> None:
    program = "import os; from service.telemetry.metrics_directory import open_directory as o\n"
    program += "d = [o(os.environ), o(os.environ)]\nassert d[0] != d[1]\nprint(d[0], os.environ['" + DIRECTORY + "'])"

    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()

    assert len(set(said)) == 2
    assert not any(Path(directory).exists() for directory in said)


def test_a_worker_joins_its_server_and_no_other(tmp_path: Path) -> None:
    joined = {DIRECTORY: str(tmp_path), CLIENTS_DIRECTORY: "/elsewhere"}
    alone = {CLIENTS_DIRECTORY: "/elsewhere"}

    join_directory(joined)
    join_directory(alone)

    assert joined[CLIENTS_DIRECTORY] == str(tmp_path)
    assert alone == {CLIENTS_DIRECTORY: "/elsewhere"}


def test_of_a_dead_worker_the_counts_stay_and_the_present_goes(tmp_path: Path, dead_pid: int) -> None:
    names = [
        f"{kind}_{pid}.db" for kind in ("counter", "gauge_livesum", "gauge_all") for pid in (os.getpid(), dead_pid)
    ]
    for name in names:
        (tmp_path / name).touch()

    forget_dead_workers(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == set(names) - {f"gauge_livesum_{dead_pid}.db"}
