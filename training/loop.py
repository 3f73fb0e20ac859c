"""The whole loop in one process: serve, send traffic, let annotators label, retrain, gate, swap, and again.

The service runs as it does in production, in a process of its own; the backend and the annotators are simulated.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from service.bundle import read_bundle
from service.bundle_store import BundleStore
from service.cohort_records import answered_cohorts
from service.errors import CatalogueError, WinnowError
from service.label_queue.store import LabelQueue, open_store
from service.launch import command, environment
from service.live_quality import live_quality
from training.catalogue import Catalogue, Labels
from training.gate import Policy, Verdict
from training.predict import Progress, evaluate_bundle
from training.retrain import NothingNew, RetrainOptions, retrain
from training.simulate import Annotators, Client, ServiceRefused, Traffic, send

START_SECONDS = 90.0
SWAP_SECONDS = 60.0
SEAL_SECONDS = 150.0
LEASE_SECONDS = 900.0
POLL_SECONDS = 0.2


class LoopFailed(WinnowError):
    """The service did not start, did not seal its cohort, or did not take over a promoted bundle in time."""

    status = 504
    title = "loop failed"


@dataclass(frozen=True)
class LoopOptions:
    """What `winnow loop` can be told.

    Parameters
    ----------
    n_tasks : products that annotators open a round
    error_rate : share of their answers that are wrong
    """

    n_rounds: int = 4
    n_tasks: int = 1_000
    n_questions: int = 5
    error_rate: float = 0.02
    seed: int = 0
    retraining: RetrainOptions = field(default_factory=RetrainOptions)


@dataclass(frozen=True)
class Beside:
    """A macro mean as live quality estimates it, with its interval, beside the truth of all traffic of that bundle."""

    estimate: float | None
    lower: float
    upper: float
    truth: float | None


@dataclass(frozen=True)
class Round:
    """One round; the first has no labels yet. Costs are of this round alone."""

    number: int
    served: str  # version at the end of the round
    test_macro_ap: float
    answers: int
    products_opened: int
    requests_sent: int
    requests_failed: int
    promoted: bool
    seconds: float
    precision: Beside | None = None
    recall: Beside | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class LoopReport:
    """All rounds of one loop."""

    catalogue: str
    home: str
    rounds: tuple[Round, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything by name."""
        whole = asdict(self)
        for done, one in zip(whole["rounds"], self.rounds, strict=True):
            done["verdict"] = one.verdict and one.verdict.to_json()
        return whole


@dataclass(frozen=True)
class _Shop:
    """What the loop plays with: the stream cut into rounds, and those who know its truth."""

    slices: list[list[dict[str, Any]]]
    truths: list[Labels]
    annotators: Annotators


def loop(
    catalogue: Catalogue,
    *,
    home: Path,
    options: LoopOptions,
    inherited: Mapping[str, str],
    progress: Progress,
    policy: Policy | None = None,
    on_round: Callable[[Round], None] = lambda _: None,
) -> LoopReport:
    """Run the loop; the model store under `home` must have a current bundle of this catalogue.

    Parameters
    ----------
    home : BENTOML_HOME of the loop's own service; the label queue lies in it, too
    inherited : environment of this process

    Raises
    ------
    LoopFailed, ServiceRefused, NoBundle, CatalogueError
        If a part of it does not do its work.
    """
    shop = _shop(catalogue, options)
    store = BundleStore(home)
    database = f"sqlite:///{home / 'winnow.sqlite3'}"
    rounds = [_first(catalogue, store, progress)]
    on_round(rounds[0])
    variables = _variables(home, database, options, n_products=len(shop.slices[0]))
    with _service({**inherited, **variables}, log=home / "service.log") as url:
        queue = open_store(database, lease_seconds=LEASE_SECONDS)
        try:
            for number in range(1, options.n_rounds + 1):
                one = _Turn(catalogue, store, queue, url, home, options, progress, policy)
                rounds.append(one.run(number, shop))
                on_round(rounds[-1])
        finally:
            queue.close()
    return LoopReport(catalogue.name, str(home), tuple(rounds))


@dataclass(frozen=True)
class _Turn:
    """What a round works with."""

    catalogue: Catalogue
    store: BundleStore
    queue: LabelQueue
    url: str
    home: Path
    options: LoopOptions
    progress: Progress
    policy: Policy | None

    def run(self, number: int, shop: _Shop) -> Round:
        """Send a slice of the stream, have it labelled, retrain, and wait until what was promoted is served."""
        began = time.monotonic()
        records, truth = shop.slices[number - 1], shop.truths[number - 1]
        served = _current(self.store)
        traffic = send(self.url, records, classes=self.catalogue.taxonomy.classes)
        self._wait_for_cohort(number)
        labelling = shop.annotators.label_everything(self.url, id_field=self.catalogue.fields.id)
        precision, recall = self._live_quality(served, traffic, truth)
        verdict = self._retrain()
        return Round(
            number=number,
            served=_current(self.store),
            test_macro_ap=_test_macro_ap(self.catalogue, self.store, self.progress),
            answers=labelling.n_answers,
            products_opened=labelling.n_products,
            requests_sent=traffic.n_sent,
            requests_failed=traffic.n_failed,
            promoted=verdict is not None and verdict.promote,
            seconds=time.monotonic() - began,
            precision=precision,
            recall=recall,
            verdict=verdict,
        )

    def _retrain(self) -> Verdict | None:
        try:
            done = retrain(
                self.catalogue,
                store=self.store,
                queue=self.queue,
                directory=self.home,
                options=self.options.retraining,
                now=datetime.now(UTC),
                progress=self.progress,
                policy=self.policy,
            )
        except NothingNew:
            return None
        if done.promoted:
            _wait(
                lambda: Client(self.url).call("GET", "/model")["version"] == done.candidate,
                seconds=SWAP_SECONDS,
                what=f"the service did not take over {done.candidate}",
            )
        return done.verdict

    def _wait_for_cohort(self, number: int) -> None:
        """Wait until the round's traffic lies in the queue as one sealed cohort."""
        _wait(
            lambda: len(self.queue.cohorts()) >= number,
            seconds=SEAL_SECONDS,
            what="the service did not seal its cohort",
        )

    def _live_quality(self, version: str, traffic: Traffic, truth: Labels) -> tuple[Beside, Beside]:
        """Macro precision and recall of the bundle, estimated by all its cohorts, beside the truth of this round."""
        cohorts = answered_cohorts(self.queue.cohorts(version), self.queue.answered_questions(version))
        found = live_quality(cohorts, n_classes=len(self.catalogue.taxonomy))
        known = truth >= 0
        hits = (traffic.positive & (truth == 1)).sum(axis=0)
        claims, positives = (traffic.positive & known).sum(axis=0), (truth == 1).sum(axis=0)
        precision = _mean(hits[claims > 0] / claims[claims > 0])
        recall = _mean(hits[positives > 0] / positives[positives > 0])
        estimates = (found.macro_precision, precision), (found.macro_recall, recall)
        ours, theirs = (Beside(one.value, one.lower, one.upper, true) for one, true in estimates)
        return ours, theirs


def _shop(catalogue: Catalogue, options: LoopOptions) -> _Shop:
    part = catalogue.read("stream")
    if part.truth is None:
        raise CatalogueError("the loop needs the truth of the stream, to simulate annotators by it")
    order = np.random.default_rng(options.seed).permutation(len(part.products))
    records = list(catalogue.records("stream"))
    size = len(order) // options.n_rounds  # of every round, so that a cohort is sealed when the last product has come
    rows = [order[number * size : (number + 1) * size] for number in range(options.n_rounds)]
    ids = [product.product_id for product in part.products]
    classes = catalogue.taxonomy.classes
    return _Shop(
        slices=[[records[row] for row in own] for own in rows],
        truths=[part.truth[own] for own in rows],
        annotators=Annotators(ids, part.truth, classes=classes, error_rate=options.error_rate, seed=options.seed),
    )


def _variables(home: Path, database: str, options: LoopOptions, *, n_products: int) -> dict[str, str]:
    """Settings of the service: one cohort a round, sealed by count, or by age where a request failed."""
    return {
        "BENTOML_HOME": str(home),
        "WINNOW_DATABASE_URL": database,
        "WINNOW_SWAP_SECONDS": "0.2",
        "WINNOW_COHORT_PRODUCTS": str(n_products),
        "WINNOW_COHORT_SECONDS": "120",
        "WINNOW_COHORT_TASKS": str(options.n_tasks),
        "WINNOW_QUESTIONS": str(options.n_questions),
        "WINNOW_LOG_LEVEL": "warning",
    }


@contextmanager
def _service(variables: Mapping[str, str], *, log: Path) -> Iterator[str]:
    """The service in a process of its own, on a free port of this machine, until the block ends."""
    port = _free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("127.0.0.1", port), env=environment(variables, 1), stdout=output, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: _is_up(process, url), seconds=START_SECONDS, what=f"the service did not start; see {log}")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


def _is_up(process: subprocess.Popen[bytes], url: str) -> bool:
    if process.poll() is not None:
        raise LoopFailed(f"the service ended at once with status {process.returncode}; see its log")
    try:
        Client(url).call("GET", "/model")
    except ServiceRefused:
        return False
    return True


def _wait(happened: Callable[[], bool], *, seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise LoopFailed(f"{what} within {seconds:.0f} s")
        time.sleep(POLL_SECONDS)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _first(catalogue: Catalogue, store: BundleStore, progress: Progress) -> Round:
    return Round(
        number=0,
        served=_current(store),
        test_macro_ap=_test_macro_ap(catalogue, store, progress),
        answers=0,
        products_opened=0,
        requests_sent=0,
        requests_failed=0,
        promoted=False,
        seconds=0.0,
    )


def _test_macro_ap(catalogue: Catalogue, store: BundleStore, progress: Progress) -> float:
    evaluation, _, _ = evaluate_bundle(read_bundle(store.load()), catalogue, part="test", progress=progress)
    return evaluation.ensemble.macro_ap


def _current(store: BundleStore) -> str:
    return store.load().name


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
