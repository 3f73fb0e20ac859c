"""One at a time on one label queue: refused while held, free after the holder ends or dies, noticed when lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import AlreadyRunning, QueueUnavailable
from service.label_queue.store import LabelQueue, open_store
from tests.label_queue.queue_postgres import PostgresServer

ROOT = Path(__file__).parent.parent.parent
HOLDER = """
import sys
from service.label_queue.store import open_store
with open_store(sys.argv[1], lease_seconds=60).exclusive("retraining"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_one_is_refused_until_the_first_has_ended(queue: LabelQueue, queue_url: str) -> None:
    other = open_store(queue_url, lease_seconds=60)

    with queue.exclusive("retraining") as check:
        check()
        with pytest.raises(AlreadyRunning, match="a retraining is running on this label queue"):
            other.exclusive("retraining").__enter__()
        with other.exclusive("another thing"):
            pass

    with other.exclusive("retraining"):
        pass
    other.close()


def test_a_kill_frees_it(queue: LabelQueue, queue_url: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, queue_url], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(AlreadyRunning):
        queue.exclusive("retraining").__enter__()

    holder.send_signal(signal.SIGKILL)
    holder.communicate()

    assert _is_free_soon(queue)


def test_a_lost_connection_is_noticed_before_it_is_too_late(
    postgres_server: PostgresServer, new_url: Callable[[str], str]
) -> None:
    queue = open_store(new_url("postgresql"), lease_seconds=60)

    with queue.exclusive("retraining") as check:
        postgres_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'winnow'"
        )

        with pytest.raises(QueueUnavailable):
            check()
    queue.close()


def _is_free_soon(queue: LabelQueue) -> bool:
    """The server notices a dead client within moments; a file's lock is gone at once."""
    for _ in range(500):
        try:
            with queue.exclusive("retraining"):
                return True
        except AlreadyRunning:
            continue
    return False
