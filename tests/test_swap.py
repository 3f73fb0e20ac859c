"""Swapping bundles while requests come in: nothing is dropped or mixed, nothing damaged is served."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from benchmarks.damaged_bundles import damaged_promotions
from service.bundles.bundle import GRAPH
from service.bundles.bundle_store import BundleStore
from service.bundles.swap import RETRY_SECONDS, Swapper
from service.classifier import Classifier
from service.telemetry.metrics import Metrics
from tests.served import serving
from tests.server import Server, running
from tests.tiny_bundle import EXAMPLE, write_tiny_bundle
from training.retraining.promote import promote, rollback

N_CONNECTIONS = 16
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
PRODUCTS = [EXAMPLE | {"product_id": f"sku-{index}", "price": 10.0 * index} for index in range(5)]


class Worker:
    """A classifier that follows a store, and its numbers."""

    def __init__(self, store: BundleStore) -> None:
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.classifier = Classifier(batch_size=8, n_decoders=1, metrics=metrics)
        self.swapper = Swapper(store, self.classifier, metrics.bundle)

    @property
    def version(self) -> str:
        return self.classifier.served.manifest.version

    def count(self, outcome: str) -> float:
        return self.registry.get_sample_value("winnow_bundle_swaps_total", {"outcome": outcome}) or 0.0


def stored(store: BundleStore, directory: Path, version: str, *, seed: int = 0) -> str:
    write_tiny_bundle(directory / version, version=version, seed=seed)
    return store.save(directory / version)


def damage(home: Path, version: str) -> None:
    graph = home / "models" / "winnow" / version / GRAPH
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")


@pytest.fixture
def worker(bundle_store: BundleStore, tmp_path: Path) -> Iterator[Worker]:
    stored(bundle_store, tmp_path, "tiny-1")
    stored(bundle_store, tmp_path, "tiny-2", seed=1)
    made = Worker(bundle_store)
    made.swapper.check("tiny-1", now_seconds=0.0)
    yield made
    made.classifier.close()


def test_a_promoted_bundle_is_taken_over_and_rolled_back(worker: Worker) -> None:
    outcomes = [worker.swapper.check(version, now_seconds=1.0) for version in ("tiny-2", "tiny-2", "tiny-1")]

    assert outcomes == ["swapped", "unchanged", "swapped"]
    assert worker.version == "tiny-1"


def test_without_a_promotion_nothing_changes(worker: Worker) -> None:
    assert worker.swapper.check(None, now_seconds=1.0) == "unchanged"
    assert worker.version == "tiny-1"


def test_a_damaged_bundle_is_refused_and_counted_once_while_the_old_one_serves(worker: Worker, tmp_path: Path) -> None:
    damage(tmp_path / "bentoml", "tiny-2")

    outcomes = [worker.swapper.check("tiny-2", now_seconds=second) for second in (1.0, 2.0, 3.0)]

    assert outcomes == ["refused", "unchanged", "unchanged"]
    assert (worker.version, worker.count("refused")) == ("tiny-1", 1)


def test_a_bundle_that_is_not_there_is_refused(worker: Worker) -> None:
    assert worker.swapper.check("tiny-9", now_seconds=1.0) == "refused"
    assert worker.version == "tiny-1"


def test_a_refused_bundle_is_tried_again_after_a_while(worker: Worker, tmp_path: Path) -> None:
    graph = tmp_path / "bentoml" / "models" / "winnow" / "tiny-2" / GRAPH
    whole = graph.read_bytes()
    damage(tmp_path / "bentoml", "tiny-2")
    worker.swapper.check("tiny-2", now_seconds=1.0)
    graph.write_bytes(whole)

    assert worker.swapper.check("tiny-2", now_seconds=1.0 + RETRY_SECONDS) == "swapped"


def test_going_back_from_a_refused_bundle_and_forth_again_tries_it_anew(worker: Worker, tmp_path: Path) -> None:
    damage(tmp_path / "bentoml", "tiny-2")
    worker.swapper.check("tiny-2", now_seconds=1.0)
    stored(BundleStore(tmp_path / "bentoml"), tmp_path, "tiny-3", seed=2)
    worker.swapper.check("tiny-3", now_seconds=2.0)

    assert worker.swapper.check("tiny-2", now_seconds=3.0) == "refused"
    assert (worker.version, worker.count("refused"), worker.count("swapped")) == ("tiny-3", 2, 2)


def test_a_service_that_started_without_a_bundle_begins_to_serve_the_first_one(tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "bentoml")
    with serving(tmp_path / "bentoml", WINNOW_SWAP_SECONDS="0.05") as backend:
        before = backend.client.post("/classify", json={"products": [EXAMPLE]}).status_code
        store.promote(stored(store, tmp_path, "tiny-1"))

        wait_until(lambda: backend.classifier.ready)

        assert before == 503
        assert backend.client.post("/classify", json={"products": [EXAMPLE]}).status_code == 200


def test_a_worker_that_starts_on_a_damaged_bundle_serves_the_one_before_it(tmp_path: Path) -> None:
    store = moved_to(tmp_path, "tiny-1", "tiny-2", "tiny-3")
    for version in ("tiny-2", "tiny-3"):
        damage(tmp_path / "bentoml", version)

    with serving(tmp_path / "bentoml", WINNOW_SWAP_SECONDS="0.05") as backend:
        answer = backend.client.post("/classify", json={"products": [EXAMPLE]}).json()

        assert answer["model_version"] == "tiny-1"
        assert backend.number("winnow_bundle_swaps_total", outcome="refused") == 2
        assert backend.number("winnow_bundle_swaps_total", outcome="fell_back") == 1
        promote(store, stored(store, tmp_path, "tiny-4", seed=4), now=NOW, why="mended")
        wait_until(lambda: backend.classifier.served.manifest.version == "tiny-4")


def test_a_worker_does_not_fall_back_to_what_was_rolled_back(tmp_path: Path) -> None:
    store = moved_to(tmp_path, "tiny-1", "tiny-2")
    rollback(store, now=NOW)
    damage(tmp_path / "bentoml", "tiny-1")

    with serving(tmp_path / "bentoml") as backend:
        assert not backend.classifier.ready


def test_a_damaged_bundle_without_one_before_it_leaves_the_worker_alive_and_not_ready(tmp_path: Path) -> None:
    moved_to(tmp_path, "tiny-1")
    damage(tmp_path / "bentoml", "tiny-1")

    with serving(tmp_path / "bentoml") as backend:
        assert backend.client.post("/classify", json={"products": [EXAMPLE]}).status_code == 503
        assert backend.number("winnow_bundle_swaps_total", outcome="fell_back") == 0


def test_a_pointer_that_cannot_be_read_is_complained_of_and_the_next_promotion_is_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = moved_to(tmp_path, "tiny-1")
    stored(store, tmp_path, "tiny-2", seed=1)
    pointer = tmp_path / "bentoml" / "models" / "winnow" / "current"

    with serving(tmp_path / "bentoml", WINNOW_SWAP_SECONDS="0.05") as backend:
        pointer.write_bytes(b"\xff")
        wait_until(lambda: "promoted bundle not looked at" in caplog.messages)
        pointer.write_text("tiny-2")

        wait_until(lambda: backend.classifier.served.manifest.version == "tiny-2")


def test_three_hundred_damaged_bundles_are_refused_while_the_old_one_serves(tmp_path: Path) -> None:
    store = moved_to(tmp_path, "tiny-1")

    claims = damaged_promotions(store, n_damaged=300, rng=Random(1))

    assert [claim.sentence for claim in claims if not claim.holds] == []


def moved_to(directory: Path, *versions: str) -> BundleStore:
    """A store with the promotions of some bundles behind it."""
    store = BundleStore(directory / "bentoml")
    for seed, version in enumerate(versions):
        promote(store, stored(store, directory, version, seed=seed), now=NOW, why="better")
    return store


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "bentoml"
    store = BundleStore(home)
    for seed in range(5):
        stored(store, tmp_path, f"tiny-{seed}", seed=seed)
    stored(store, tmp_path, "damaged", seed=9)
    store.promote("tiny-0")
    return home


def test_promotions_and_a_rollback_under_load_drop_and_mix_nothing(home: Path) -> None:
    store = BundleStore(home)
    with running(home, workers=2, variables={"WINNOW_SWAP_SECONDS": "0.1"}) as server, Traffic(server) as traffic:
        traffic.wait_for("tiny-0")
        for version in ("tiny-1", "tiny-2", "tiny-3", "tiny-4", "tiny-3"):
            store.promote(version)
            traffic.wait_for(version)

    assert traffic.failed == []
    answers = {version: set(bodies) for version, bodies in traffic.bodies.items()}
    assert set(answers) == {f"tiny-{seed}" for seed in range(5)}
    assert all(len(bodies) == 1 for bodies in answers.values())  # one version, one answer: nothing was mixed
    assert len({next(iter(bodies)) for bodies in answers.values()}) == len(answers)


def test_a_damaged_promotion_is_refused_by_every_worker_and_counted(home: Path) -> None:
    damage(home, "damaged")
    pointer = home / "models" / "winnow" / "current"
    with running(home, workers=2, variables={"WINNOW_SWAP_SECONDS": "0.1"}) as server:
        wait_until(lambda: server.log.read_text().count("bundle loaded") == 2)  # both workers have one to keep
        pointer.write_text("damaged")  # `promote` itself refuses it

        wait_until(lambda: counted(server, "refused") == 2.0)

        assert server.post("/classify", {"products": [EXAMPLE]}).json()["model_version"] == "tiny-0"
        assert server.get("/readyz").status_code == 200


class Traffic:
    """Clients that post the same products without pause, and keep every distinct answer by version."""

    def __init__(self, server: Server) -> None:
        self.failed: list[str] = []
        self.bodies: dict[str, dict[str, int]] = {}
        self._server = server
        self._stop = Event()
        self._pool = ThreadPoolExecutor(N_CONNECTIONS)
        self._clients: list[Future[None]] = []

    def __enter__(self) -> Traffic:
        self._clients = [self._pool.submit(self._post_until_stopped) for _ in range(N_CONNECTIONS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for client in self._clients:
            client.result(timeout=30)
        self._pool.shutdown()

    def wait_for(self, version: str) -> None:
        """Wait until all workers answer by this version: it is seen, and nothing else in the next 50 answers."""
        wait_until(lambda: set(self._versions_of_next(50)) == {version})

    def _versions_of_next(self, n_answers: int) -> Iterator[str]:
        with httpx.Client(base_url=self._server.url, timeout=20) as client:
            for _ in range(n_answers):
                yield client.get("/model", headers={"connection": "close"}).json()["version"]

    def _post_until_stopped(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=20) as client:
            while not self._stop.is_set():
                self._post(client)

    def _post(self, client: httpx.Client) -> None:
        try:
            answer = client.post("/classify", json={"products": PRODUCTS})
        except httpx.TransportError as error:
            self.failed.append(repr(error))
            return
        if answer.status_code != 200:
            self.failed.append(f"{answer.status_code}: {answer.text}")
            return
        content: dict[str, Any] = answer.json()
        bodies = self.bodies.setdefault(content["model_version"], {})
        bodies[str(content["results"])] = bodies.get(str(content["results"]), 0) + 1


def counted(server: Server, outcome: str) -> float:
    found = re.search(rf'winnow_bundle_swaps_total{{outcome="{outcome}"}} (\S+)', server.get("/metrics").text)
    return float(found[1]) if found else 0.0


def wait_until(happened: Callable[[], bool], *, seconds: float = 40.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.02)  # another process or thread has to act
