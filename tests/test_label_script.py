"""The script that the README gives to a data team works on a served instance."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.bundle_store import BundleStore
from tests.server import Server, running

SCRIPT = Path(__file__).parent.parent / "docs" / "label_script.py"
COHORTS = {"WINNOW_COHORT_PRODUCTS": "10", "WINNOW_COHORT_TASKS": "5", "WINNOW_QUESTIONS": "2"}


@pytest.mark.slow
def test_the_data_teams_script_pulls_labels_and_posts(tmp_path: Path, tiny_bundle: Path) -> None:
    store = BundleStore(tmp_path)
    store.promote(store.save(tiny_bundle))
    with running(tmp_path, variables=COHORTS) as server:
        server.post("/classify", {"products": [{"product_id": f"p{number}"} for number in range(10)]})
        _wait_for_tasks(server)

        ended = subprocess.run(
            [sys.executable, SCRIPT, server.url, "ann"],
            input="yes\nno\n" * 5,
            capture_output=True,
            text=True,
            check=True,
        )

        stats = server.get("/label-queue/stats").json()
    assert ended.stdout.endswith("{'accepted': 5}\n")
    assert (stats["open"], stats["leased"], stats["completed"], stats["answers"]) == (0, 0, 5, 10)


def _wait_for_tasks(server: Server) -> None:
    until = time.monotonic() + 30
    while not server.get("/label-queue/stats").json()["open"]:
        assert time.monotonic() < until, "no task came"
        time.sleep(0.1)  # another process writes: there is nothing else to wait on
