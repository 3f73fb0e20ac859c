"""`kill -9` of a promotion, a rollback and a retraining at every step, while a server answers from the same home.

Run: python -m benchmarks.kills [promote] [rollback] [retrain] [--workers 2]

Each command is killed before its first step, then before its second, and so on until it comes to its end. After each
kill every bundle of the store must be whole, the pointer must name the one served before or the one after, a worker
that starts then must serve what the pointer names, and the running workers must have answered every request meanwhile.
The next run must come to its end: of a promotion or a rollback a whole one after each kill; of a retraining, which is
slower, the next that is killed, one step further on. The shop is small and its bundles the work of a moment.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import httpx
from prometheus_client import CollectorRegistry

from benchmarks.claims import Claim, conclude
from benchmarks.killed import Commands, Ended, commands
from benchmarks.promotions import REFUSALS, Answers, until_all_follow
from benchmarks.servers import Server, serving, winnow_command
from service.bundles.bundle import read_bundle
from service.bundles.bundle_store import BundleStore
from service.bundles.swap import Swapper
from service.classifier import Classifier
from service.errors import WinnowError
from service.label_queue.store import open_store
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.tiny_bundle import EXAMPLE, write_tiny_bundle
from tests.trainings import QUICK, answered, mislabelled, silent
from training.catalogues.catalogue import open_catalogue
from training.fit import train
from training.retraining.promote import promote

N_CONNECTIONS = 2
PAUSE_SECONDS = 0.02  # between two requests of one, so that the commands have a processor too
N_ANSWERED = 200  # products, enough for the gate to say yes
TINY = ("tiny-0", "tiny-1")
CATALOGUE = "shop"
RETRAINING = ("training.retraining.retrain", "training.retraining.retrain_report", "training.retraining.retrain_record")
Record = Mapping[str, object]


@dataclass(frozen=True)
class Move:
    """A command that moves the pointer, the one that moves it back, and the bundle it moves to if that is known."""

    command: tuple[str, ...]
    undo: tuple[str, ...]
    after: str | None = None


MOVES: Mapping[str, Move] = {
    "promote": Move(("promote", TINY[1]), undo=("rollback",), after=TINY[1]),
    "rollback": Move(("rollback",), undo=("promote", TINY[1]), after=TINY[0]),
    "retrain": Move(("retrain", CATALOGUE), undo=("rollback",)),
}


@dataclass
class Kills:
    """What came of killing one command at every step.

    Parameters
    ----------
    n_moved : kills after which the pointer named the new bundle already
    faults : what was found that must not be, in words
    """

    steps: list[str] = field(default_factory=list)
    n_kills: int = 0
    n_moved: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, ended: Ended, *, moved: bool) -> None:
        """Count one kill."""
        self.n_kills += 1
        self.n_moved += moved
        self.steps = max(self.steps, ended.steps, key=len)

    def expect(self, *, that: bool, otherwise: str) -> None:
        """Keep a fault unless something holds."""
        if not that:
            self.faults.append(f"before step {self.n_kills} ({self.steps[self.n_kills - 1]}): {otherwise}")


def kill_at_every_step(store: BundleStore, run: Commands, move: Move, *, rerun: bool) -> Kills:
    """Kill a command before its first step, before its second, and so on until it comes to its end.

    Parameters
    ----------
    rerun : whether a whole run follows each kill; else the next one that is killed, a step further on, has to do
    """
    kills = Kills()
    before = store.current() or ""
    while (ended := run.run(*move.command, kill_before=kills.n_kills + 1)).was_killed:
        moved = store.current() != before
        kills.add(ended, moved=moved)
        check_store(store, kills)
        if moved:
            kills.expect(that=move.after in {store.current(), None}, otherwise=f"{store.current()} is served")
        if rerun:
            _expect_end(kills, store, run.run(*move.command), serves=move.after)
        if moved or rerun:
            _expect_end(kills, store, run.run(*move.undo), serves=before)
    _expect_end(kills, store, ended, serves=move.after)
    kills.expect(that=store.current() != before, otherwise="the last run has moved nothing")
    left = [path.name for path in (store.directory.parent.parent / "tmp").iterdir()]
    kills.expect(that=not left, otherwise=f"drafts are left: {left}")
    return kills


def check_store(store: BundleStore, kills: Kills) -> None:
    """Every bundle of the store is whole, and a worker that starts now serves what the pointer names."""
    for directory in (path for path in store.directory.iterdir() if path.is_dir()):
        try:
            read_bundle(directory)
        except WinnowError as error:
            kills.expect(that=False, otherwise=f"{directory.name} is not whole: {error}")
    current = store.current() or "nothing"
    serves = served_at_start(store)
    kills.expect(that=serves == current, otherwise=f"a worker that starts serves {serves}, not {current}")


def served_at_start(store: BundleStore) -> str:
    """The bundle that a worker serves which starts now."""
    metrics = Metrics(CollectorRegistry())
    classifier = Classifier(batch_size=8, n_decoders=1, metrics=metrics)
    try:
        Swapper(store, classifier, metrics.bundle).start(now_seconds=0.0)
        return classifier.served.manifest.version if classifier.ready else "nothing"
    finally:
        classifier.close()


def _expect_end(kills: Kills, store: BundleStore, ended: Ended, *, serves: str | None) -> None:
    kills.expect(that=ended.status == 0, otherwise=f"the next run ended with {ended.status}")
    kills.expect(that=serves in {store.current(), None}, otherwise=f"after the next run {store.current()} is served")


def main() -> int:
    """Kill each command at every step and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", metavar="promote|rollback|retrain", default=list(MOVES))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    claims: list[Claim] = []
    for name in arguments.which:
        with tempfile.TemporaryDirectory(prefix="winnow-kills-") as directory:
            claims += _killed(name, Path(directory), arguments.workers)
    return conclude(f"kill -9 at every step, {arguments.workers} workers, {N_CONNECTIONS} connections", claims)


def _killed(name: str, directory: Path, n_workers: int) -> list[Claim]:
    store, record = _shop(directory) if name == "retrain" else (tiny_store(directory / "home"), EXAMPLE)
    modules = RETRAINING if name == "retrain" else ()
    started = time.monotonic()
    with (
        commands(directory / "home", log=directory / "log", directory=directory, modules=modules) as run,
        _traffic(directory / "home", {"products": [record]}, n_workers) as (answers, server),
    ):
        if name == "rollback":
            run.run(*MOVES[name].undo)
        kills = kill_at_every_step(store, run, MOVES[name], rerun=name != "retrain")
        until_all_follow(server, store.current() or "", n_workers)
        refused = REFUSALS.search(httpx.get(f"{server.url}/metrics", timeout=30).text)
    seconds = time.monotonic() - started
    n_refused = float(refused[1]) if refused else 0.0
    return [
        Claim(
            f"{name}: each kill leaves whole bundles, a pointer that can be served, and a clean next run",
            "; ".join(kills.faults[:3])
            or f"{kills.n_kills} kills, {kills.n_moved} after the pointer had moved, {seconds:.0f} s",
            not kills.faults and kills.n_kills > 0,
        ),
        Claim(
            f"{name}: every request is answered meanwhile",
            f"{len(answers.failed)} of {answers.total():,} failed; {len(answers.told)} bundles answered",
            not answers.failed and answers.total() > 0,
        ),
        Claim(f"{name}: no worker is shown a bundle that it must refuse", f"{n_refused:.0f} refused", n_refused == 0),
    ]


@contextmanager
def _traffic(home: Path, body: object, n_workers: int) -> Iterator[tuple[Answers, Server]]:
    """A server, and connections that post again and again while the block lasts."""
    environment = {
        "BENTOML_HOME": str(home), "WINNOW_WORKERS": str(n_workers), "WINNOW_SWAP_SECONDS": "0.05",
        "WINNOW_QUEUE": "false",
    }  # fmt: skip
    answers, stop = Answers(), Event()
    with (
        serving("winnow", winnow_command(), ready="/readyz", environment=environment) as server,
        ThreadPoolExecutor(N_CONNECTIONS) as pool,
    ):
        clients = [pool.submit(_post, stop, server.url, body, answers) for _ in range(N_CONNECTIONS)]
        try:
            yield answers, server
        finally:
            stop.set()
        for client in clients:
            client.result()


def _post(stop: Event, url: str, body: object, answers: Answers) -> None:
    with httpx.Client(base_url=url, timeout=30) as client:
        while not stop.wait(PAUSE_SECONDS):
            answers.add(client.post("/classify", json=body))


def tiny_store(home: Path) -> BundleStore:
    """Two bundles of a few kilobytes, the first of them served."""
    store = BundleStore(home)
    for seed, version in enumerate(TINY):
        write_tiny_bundle(home / version, version=version, seed=seed)
        store.save(home / version)
    promote(store, TINY[0], now=datetime.now(UTC), why="the first")
    return store


def _shop(directory: Path) -> tuple[BundleStore, Record]:
    """A bundle that has learned two classes the wrong way round, and a queue whose answers tell it so."""
    catalogue = mislabelled(directory / CATALOGUE)
    train(open_catalogue(catalogue), directory=directory / "draft", options=QUICK, progress=silent)
    home = directory / "home"
    store = BundleStore(home)
    promote(store, store.save(directory / "draft"), now=datetime.now(UTC), why="the first")
    queue = open_store(Settings.from_env({"BENTOML_HOME": str(home)}).database_url.get_secret_value(), lease_seconds=60)
    answered(queue, n_products=N_ANSWERED, at=datetime.now(UTC))
    queue.close()
    return store, {"sku": "x", "title": "a lamp"}


if __name__ == "__main__":
    sys.exit(main())
