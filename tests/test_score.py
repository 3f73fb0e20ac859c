"""`winnow score` and `winnow queue fill`: every product once, whatever happens, and as the service would say it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.traffic import postable, stand_in
from service.acquisition.sampling import fingerprint
from service.api.quality_api import read_course
from service.bundles.bundle import read_bundle
from service.bundles.bundle_store import BundleStore
from service.errors import CatalogueError
from service.label_queue.reading import Filters
from service.label_queue.store import open_store
from tests.catalogues import without_images
from tests.tiny_bundle import CLASSES
from tests.trainings import silent
from training.catalogues.catalogue import Catalogue, open_catalogue
from training.catalogues.tables import BATCH_ROWS, write_table
from training.predict import predict
from training.scoring.pool import PoolOptions, enqueue_pool, pool_cohort
from training.scoring.score_run import chunks, score_catalogue

ROOT = Path(__file__).parent.parent
N_PRODUCTS = 3 * BATCH_ROWS + 17
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Shop:
    """A catalogue with a stream part, and a model store with a bundle for it."""

    home: Path
    catalogue: Catalogue

    @property
    def bundle(self) -> Path:
        return BundleStore(self.home).load()

    def score(self, out: Path) -> int:
        return score_catalogue(self.bundle, self.catalogue, part="stream", out=out, n_processes=2, progress=silent)

    def command(self, out: Path) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-m", "training.cli", "score", str(self.catalogue.directory), "--out", str(out)]
        variables = {**os.environ, "BENTOML_HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(arguments, env=variables, start_new_session=True, stderr=subprocess.PIPE)

    @property
    def ids(self) -> list[str]:
        return [str(record["product_id"]) for record in self.catalogue.records("stream")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(*stand_in(tmp_path_factory.mktemp("shop"), n_products=N_PRODUCTS))


@pytest.fixture(scope="module")
def whole(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scores of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("scores") / "scores.jsonl"
    assert shop.score(out) == N_PRODUCTS
    return out


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_product_is_scored_once_in_the_order_of_the_catalogue(shop: Shop, whole: Path) -> None:
    assert [row["product_id"] for row in lines(whole)] == shop.ids
    assert [path.name for path in whole.parent.iterdir()] == ["scores.jsonl"]


def test_the_scores_are_what_the_bundle_says(shop: Shop, whole: Path) -> None:
    bundle = read_bundle(shop.bundle)
    expected = predict(bundle, shop.catalogue.read("stream").products, progress=silent)

    rows = lines(whole)

    said = np.array([list(row["probabilities"].values()) for row in rows])
    np.testing.assert_allclose(said, expected.probabilities, atol=1e-6)
    yes = expected.probabilities >= np.asarray(bundle.manifest.thresholds)
    assert [row["positive"] for row in rows] == [list(np.array(CLASSES)[one]) for one in yes]
    assert {tuple(row["abstained"]) for row in rows} == {("pixels",)}  # no product of the stand-in has an image
    assert all(row["weight"] > 0 and 0 <= row["disagreement"] <= row["uncertainty"] <= 1 for row in rows)


def test_parquet_holds_the_same(shop: Shop, whole: Path, tmp_path: Path) -> None:
    shop.score(tmp_path / "scores.parquet")

    table = pq.read_table(tmp_path / "scores.parquet").to_pylist()

    rows = lines(whole)
    assert [row["product_id"] for row in table] == [row["product_id"] for row in rows]
    assert [row["positive"] for row in table] == [row["positive"] for row in rows]
    assert [row["abstained"] for row in table] == [row["abstained"] for row in rows]
    for name in ("uncertainty", "disagreement", "weight"):
        assert [row[name] for row in table] == pytest.approx([row[name] for row in rows], abs=1e-5)
    assert [row["probabilities"] for row in table[:9]] == [
        pytest.approx(row["probabilities"], abs=1e-6) for row in rows[:9]
    ]


def test_a_killed_run_goes_on_where_it_was_and_no_product_is_scored_twice(
    shop: Shop, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.jsonl"
    parts = tmp_path / "scores.jsonl.parts"
    killed = shop.command(out)
    first = parts / "0000000.jsonl"
    for _ in appearing(first, killed):
        pass
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not out.exists()
    marked = [{**row, "weight": 1e6} for row in lines(first)]  # what is scored again would lose the mark
    first.write_text("".join(json.dumps(row) + "\n" for row in marked))

    shop.score(out)

    assert lines(out) == marked + lines(whole)[len(marked) :]
    assert not parts.exists()


def appearing(path: Path, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Look for a file until it is there."""
    until = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < until
        yield
        time.sleep(0.005)  # another process starts: there is nothing else to wait on


def test_what_another_run_left_is_not_mixed_in(shop: Shop, tmp_path: Path) -> None:
    parts = tmp_path / "scores.jsonl.parts"
    parts.mkdir()
    (parts / "origin.json").write_text(json.dumps({"bundle": "another"}))

    with pytest.raises(CatalogueError, match=r"holds scores of another bundle or table; remove it to begin anew"):
        shop.score(tmp_path / "scores.jsonl")


def test_a_file_that_is_there_is_not_written_over(shop: Shop, whole: Path) -> None:
    before = whole.read_bytes()

    with pytest.raises(CatalogueError, match="exists; remove it or name another file"):
        shop.score(whole)

    assert whole.read_bytes() == before


def test_another_ending_is_refused_with_those_there_are(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"scores are written as \.parquet or \.jsonl"):
        shop.score(tmp_path / "scores.csv")


def test_a_wrong_cell_is_named_by_its_row(tmp_path: Path) -> None:
    home, catalogue = stand_in(tmp_path, n_products=BATCH_ROWS + 5)
    rows = list(catalogue.records("stream"))
    rows[BATCH_ROWS + 2]["price"] = "cheap"
    write_table(tmp_path / "stream.jsonl", {name: [row[name] for row in rows] for name in rows[0]})

    with pytest.raises(CatalogueError, match=rf"stream\.jsonl, row {BATCH_ROWS + 3}, column 'price'"):
        Shop(home, open_catalogue(tmp_path)).score(tmp_path / "scores.jsonl")


def drawn(shop: Shop, *, n_tasks: int, catalogue: Catalogue | None = None) -> Any:
    return pool_cohort(
        shop.bundle, catalogue or shop.catalogue, part="stream", options=PoolOptions(n_tasks, 2), salt=b"salt" * 4,
        now=NOON, n_processes=2, progress=silent,
    )  # fmt: skip


def test_a_filled_queue_holds_the_draw_with_its_weights_and_says_nothing_of_traffic(shop: Shop, tmp_path: Path) -> None:
    sealed = drawn(shop, n_tasks=40)
    queue = open_store(f"sqlite:///{tmp_path / 'queue.sqlite3'}", lease_seconds=60)

    enqueue_pool(queue, sealed)

    tasks = queue.look(Filters(), limit=100, now=NOON).tasks
    (cohort,) = queue.cohorts()
    course = read_course(queue, read_bundle(shop.bundle).manifest)
    queue.close()
    assert (cohort.n_products, cohort.worker, len(tasks)) == (N_PRODUCTS, "pool", 40)
    assert cohort.tau == sealed.threshold > 0
    assert [task.product_id for task in tasks] == [product.record["product_id"] for product in sealed.products]
    assert all(len(task.questions) == 2 for task in tasks)
    assert (course.n_cohorts, course.now.n_products) == (0, 0)


def test_the_products_drawn_stand_for_all_of_the_catalogue(shop: Shop) -> None:
    sealed = drawn(shop, n_tasks=400)

    n_estimated = sum(max(1.0, sealed.threshold / product.weight) for product in sealed.products)

    assert n_estimated == pytest.approx(N_PRODUCTS, rel=0.1)  # its standard error is about 4 %


def test_a_product_from_the_catalogue_is_the_one_that_a_backend_posts(shop: Shop) -> None:
    posted = {fingerprint(postable(record)) for record in shop.catalogue.records("stream")}

    assert {product.fingerprint for product in drawn(shop, n_tasks=10).products} <= posted


def test_a_doubtful_merchant_label_is_a_reason_to_ask(tmp_path: Path) -> None:
    home, catalogue = stand_in(tmp_path, n_products=300)
    products = catalogue.read("stream").products
    said = predict(read_bundle(BundleStore(home).load()), products, progress=silent).probabilities
    with (tmp_path / "catalogue.toml").open("a") as file:
        file.write('merchant_labels = "labels.jsonl"\n')
    n_asked = {}

    for claim, labels in {"agrees": said >= 0.5, "contradicts": (said >= 0.5) ^ (np.array(CLASSES) == "sale")}.items():
        columns = {name: labels[:, index].astype(int).tolist() for index, name in enumerate(CLASSES)}
        ids = {"product_id": [product.product_id for product in products]}
        write_table(tmp_path / "labels.jsonl", ids | columns)
        sealed = drawn(Shop(home, catalogue), n_tasks=100, catalogue=open_catalogue(tmp_path))
        asked = [question for product in sealed.products for question in product.questions]
        n_asked[claim] = sum(question.class_name == "sale" for question in asked)
        reasons = {question.reason.words for question in asked}

    assert n_asked["contradicts"] > n_asked["agrees"]
    assert "doubtful merchant label" in reasons
    assert "likely positive" not in reasons


def test_without_images_a_chunk_holds_more_and_no_row_is_lost(tmp_path: Path) -> None:
    catalogue = open_catalogue(without_images(tmp_path))
    n_products = 5 * BATCH_ROWS + 3
    rows = [record for record, _ in zip(itertools.cycle(catalogue.records("train")), range(n_products), strict=False)]
    rows = [{**row, "sku": f"p{number}"} for number, row in enumerate(rows)]
    write_table(catalogue.path("stream"), {name: [row[name] for row in rows] for name in rows[0]})

    found = list(chunks(catalogue, "stream"))

    assert [(chunk.number, chunk.first_row, chunk.n_rows) for chunk in found] == [
        (0, 1, 4 * BATCH_ROWS),
        (1, 4 * BATCH_ROWS + 1, BATCH_ROWS + 3),
    ]
    assert [cell for chunk in found for cell in chunk.columns["sku"]] == [row["sku"] for row in rows]


def test_a_chunk_ends_where_images_begin(tmp_path: Path) -> None:
    catalogue = open_catalogue(without_images(tmp_path))
    fields = catalogue.fields.model_copy(update={"image": "photo"})
    products: dict[str, Sequence[object]] = {"sku": [f"p{number}" for number in range(3 * BATCH_ROWS)]}
    products |= {name: [None] * len(products["sku"]) for name in catalogue.fields.columns if name != "sku"}
    pictures = [None] * BATCH_ROWS + [b"picture"] + [None] * (2 * BATCH_ROWS - 1)
    table = catalogue.path("stream").with_suffix(".parquet")
    write_table(table, {**products, "photo": pictures})
    tables = {**catalogue.tables, "stream": catalogue.tables["stream"].model_copy(update={"products": table.name})}

    found = chunks(replace(catalogue, fields=fields, tables=tables), "stream")

    assert [chunk.n_rows for chunk in found] == [2 * BATCH_ROWS, BATCH_ROWS]
