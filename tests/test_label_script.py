"""The script that the README gives to a data team works on a served instance."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.bundles.bundle_store import BundleStore
from tests.server import Server, running
from tests.tiny_bundle import CLASSES
from training.catalogues.tables import write_table

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "docs" / "label_script.py"
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


@pytest.mark.slow
def test_simulated_annotators_answer_by_the_truth_and_leave_what_they_do_not_know(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    store = BundleStore(tmp_path)
    store.promote(store.save(tiny_bundle))
    ids = [f"p{number}" for number in range(10)]
    known = ids[:6]
    shop = tmp_path / "shop"
    shop.mkdir()
    write_table(shop / "products.parquet", {"product_id": known, "title": ["a"] * 6})
    write_table(shop / "truth.parquet", {"product_id": known, **{name: [1] * 6 for name in CLASSES}})
    parts = "".join(
        f'[{part}]\nproducts = "products.parquet"\ntruth = "truth.parquet"\n' for part in ("train", "stream")
    )
    (shop / "catalogue.toml").write_text(f'name = "shop"\n[fields]\nid = "product_id"\ntext = ["title"]\n{parts}')
    with running(tmp_path, variables={**COHORTS, "WINNOW_COHORT_TASKS": "10"}) as server:
        server.post("/classify", {"products": [{"product_id": one} for one in ids]})
        _wait_for_tasks(server)

        command = [sys.executable, "-m", "training.cli", "labels", "simulate", str(shop), "--url", server.url]
        ended = subprocess.run([*command, "--error-rate", "0"], capture_output=True, text=True, check=False, cwd=ROOT)

        stats = server.get("/label-queue/stats").json()
    assert ended.stderr == "Opened 10 products and gave 12 answers.\n"
    assert (stats["open"], stats["leased"], stats["completed"], stats["withdrawn"]) == (0, 0, 6, 4)


def _wait_for_tasks(server: Server) -> None:
    until = time.monotonic() + 30
    while not server.get("/label-queue/stats").json()["open"]:
        assert time.monotonic() < until, "no task came"
        time.sleep(0.1)  # another process writes: there is nothing else to wait on
