"""Four promotions, a rollback and a damaged bundle under load: does a request fail, or an answer mix two bundles?

Run: python -m benchmarks.promotions HOME CATALOGUE [--connections 16] [--workers 2]

HOME is a BENTOML_HOME with two bundles of the catalogue or more, for instance that of a `winnow loop`; they are copied
to a store of its own, and promoted in turn. Every connection posts the same product without pause: all answers of one
version must be the same but for rounding, which differs with the batch that a product happens to share.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock

import httpx

from benchmarks.claims import Claim, conclude
from benchmarks.servers import Server, serving, winnow_command
from benchmarks.traffic import postable
from service.bundles.bundle import GRAPH
from service.bundles.bundle_store import BundleStore
from training.catalogues.catalogue import open_catalogue
from training.retraining.promote import promote, rollback

N_PROMOTIONS = 4
ROUNDING = 1e-4
CALM_SECONDS = 2.0  # of traffic after the last worker has followed
REFUSALS = re.compile(r'^winnow_bundle_swaps_total\{outcome="refused"\} (\S+)$', re.MULTILINE)


@dataclass
class Told:
    """What was told of one version: the first answer's probabilities, how many came, and how far apart they lie."""

    first: list[float]
    n_answers: int = 0
    apart: float = 0.0


@dataclass
class Answers:
    """What all connections were told, by version."""

    told: dict[str, Told] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def add(self, answer: httpx.Response) -> None:
        """Count one."""
        with self.lock:
            if answer.status_code != httpx.codes.OK:
                self.failed.append(f"{answer.status_code} {answer.text[:100]}")
                return
            document = answer.json()
            said = list(document["results"][0]["probabilities"].values())
            told = self.told.setdefault(document["model_version"], Told(said))
            told.n_answers += 1
            told.apart = max(told.apart, _distance(said, told.first))

    def total(self) -> int:
        """How many came."""
        return sum(told.n_answers for told in self.told.values()) + len(self.failed)

    def of(self, version: str) -> int:
        """How many came of one version."""
        return self.told[version].n_answers if version in self.told else 0

    def closest(self) -> float:
        """Distance of the two versions whose answers are most alike."""
        return min(_distance(one.first, other.first) for one, other in itertools.combinations(self.told.values(), 2))


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def main() -> int:
    """Run it once and say whether the promises were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    record = postable(next(iter(open_catalogue(arguments.catalogue).records("stream"))))
    with tempfile.TemporaryDirectory(prefix="winnow-promotions-") as directory:
        store, versions = _copied(arguments.home, Path(directory))
        environment = {
            "BENTOML_HOME": directory,
            "WINNOW_WORKERS": str(arguments.workers),
            "WINNOW_SWAP_SECONDS": "0.2",
            "WINNOW_QUEUE": "false",
        }
        with serving("winnow", winnow_command(), ready="/readyz", environment=environment) as server:
            claims = _moves(store, versions, server, {"products": [record]}, arguments.connections, arguments.workers)
    return conclude(f"{N_PROMOTIONS} promotions and a rollback, {arguments.connections} connections", claims)


def _copied(home: Path, directory: Path) -> tuple[BundleStore, list[str]]:
    """Bundles of a store in one of our own, the last of them damaged, and the first promoted."""
    theirs, store = BundleStore(home), BundleStore(directory)
    versions = [store.save(theirs.load(manifest.version)) for manifest in theirs.manifests()[: N_PROMOTIONS + 1]]
    if len(versions) < 3:
        raise SystemExit(f"{home} has {len(versions)} bundles; two to promote and one to damage are needed")
    graph = store.load(versions[-1]) / GRAPH
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    store.promote(versions[0])
    return store, versions


def _moves(  # noqa: PLR0917  all of one run
    store: BundleStore, versions: Sequence[str], server: Server, body: object, n_connections: int, n_workers: int
) -> list[Claim]:
    answers, stop = Answers(), Event()
    sound, damaged = versions[:-1], versions[-1]
    with ThreadPoolExecutor(n_connections) as pool:
        clients = [pool.submit(_post, server.url, body, answers, stop) for _ in range(n_connections)]
        try:
            seconds = []
            turns = itertools.islice(itertools.cycle([*sound[1:], sound[0]]), N_PROMOTIONS)
            for version in turns:
                promote(store, version, now=datetime.now(UTC), why="benchmark")
                seconds.append(until_all_follow(server, version, n_workers))
            back = rollback(store, now=datetime.now(UTC)).version
            seconds.append(until_all_follow(server, back, n_workers))
            (store.directory / "current").write_text(damaged)  # `promote` itself refuses it
            refused = _until_refused(server, n_workers)
            before = answers.of(back)
            time.sleep(CALM_SECONDS)
        finally:
            stop.set()
        for client in clients:
            client.result()
    apart, closest = max(told.apart for told in answers.told.values()), answers.closest()
    return [
        Claim("no request fails", f"{len(answers.failed)} of {answers.total():,}", not answers.failed),
        Claim(
            "no answer mixes bundles: one version's answers are alike, two versions' are not",
            f"{len(answers.told)} versions, {apart:.1e} apart at most, two of them {closest:.1e} at least",
            apart < ROUNDING < closest,
        ),
        Claim("all workers follow within 30 s", f"at most {max(seconds):.1f} s", max(seconds) < 30.0),
        Claim("every worker refuses and counts a damaged bundle", f"{refused:.0f}", refused >= n_workers),
        Claim("the old one goes on", f"{answers.of(back) - before:,} more answers", answers.of(back) > before),
    ]


def _post(url: str, body: object, answers: Answers, stop: Event) -> None:
    with httpx.Client(base_url=url, timeout=30) as client:
        while not stop.is_set():
            answers.add(client.post("/classify", json=body))


def until_all_follow(server: Server, version: str, n_workers: int) -> float:
    """Seconds until many fresh connections in a row, which spread over the workers, are served by the version."""
    began, in_a_row = time.monotonic(), 0
    while in_a_row < 8 * n_workers:
        served = httpx.get(f"{server.url}/model", timeout=30).json()["version"]
        in_a_row = in_a_row + 1 if served == version else 0
        if time.monotonic() - began > 120.0:
            raise SystemExit(f"the workers did not take over {version} in two minutes")
    return time.monotonic() - began


def _until_refused(server: Server, n_workers: int) -> float:
    began = time.monotonic()
    while time.monotonic() - began < 60.0:
        found = REFUSALS.search(httpx.get(f"{server.url}/metrics", timeout=30).text)
        if found and float(found[1]) >= n_workers:
            return float(found[1])
        time.sleep(0.2)
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
