"""The whole loop in one process: serve, send traffic, let annotators label, retrain, gate, swap, and again.

The service runs as it does in production, in a process of its own; the backend and the annotators are simulated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from service.bundles.bundle import read_bundle
from service.bundles.bundle_store import BundleStore
from service.label_queue.store import LabelQueue, open_store
from service.quality.cohort_records import answered_cohorts
from service.quality.live_quality import live_quality
from service.settings import Settings
from training.catalogues.catalogue import Catalogue, Labels
from training.loop.client import Client
from training.loop.loop_report import Beside, LoopReport, Round
from training.loop.newcomers import Newcomers, TestAnswers, measured
from training.loop.running_service import drift, running_service, wait_until
from training.loop.shop import Shop, Slice, open_shop
from training.loop.simulate import Labelling, Traffic, send
from training.predict import evaluate_bundle
from training.pretrained import ImageEncoder
from training.progress import Progress
from training.retraining.gate import Policy
from training.retraining.retrain import NothingNew, Retraining, RetrainOptions, retrain
from training.retraining.retrain_record import recorded

SWAP_SECONDS = 60.0
SEAL_SECONDS = 150.0
LEASE_SECONDS = 900.0


@dataclass(frozen=True)
class LoopOptions:
    """What `winnow loop` can be told.

    Parameters
    ----------
    n_tasks : products that annotators open a round, at most
    error_rate : share of their answers that are wrong
    unseen_class : whose products appear from the second round on; the catalogue must keep them from its train part
    """

    n_rounds: int = 4
    n_tasks: int = 1_000
    n_questions: int = 5
    error_rate: float = 0.02
    seed: int = 0
    retraining: RetrainOptions = field(default_factory=RetrainOptions)
    unseen_class: str | None = None


def loop(
    catalogue: Catalogue,
    *,
    home: Path,
    options: LoopOptions,
    inherited: Mapping[str, str],
    progress: Progress,
    images: ImageEncoder | None = None,
    policy: Policy | None = None,
    on_round: Callable[[Round], None] = lambda _: None,
) -> LoopReport:
    """Run the loop; the model store under `home` must have a current bundle of this catalogue.

    Parameters
    ----------
    home : BENTOML_HOME of the loop's own service; the label queue lies in it, too
    inherited : environment of this process
    images : the pretrained encoder, where bundles are trained with it

    Raises
    ------
    LoopFailed, ServiceRefused, NoBundle, CatalogueError
        If a part of it does not do its work.
    """
    shop = open_shop(
        catalogue, n_rounds=options.n_rounds, unseen_class=options.unseen_class, error_rate=options.error_rate,
        seed=options.seed,
    )  # fmt: skip
    store = BundleStore(home)
    database = f"sqlite:///{home / 'winnow.sqlite3'}"
    rounds = [_first(catalogue, store, progress)]
    on_round(rounds[0])
    variables = {**inherited, **_variables(home, database, options, n_products=len(shop.slices[0].records))}
    settings = Settings.from_env(variables)
    with running_service(variables, log=home / "service.log") as url:
        queue = open_store(database, lease_seconds=LEASE_SECONDS)
        try:
            for number in range(1, options.n_rounds + 1):
                own = _numbered(progress, number)
                one = _Turn(catalogue, store, queue, url, settings, home, options, own, images, policy)
                rounds.append(one.run(number, shop))
                on_round(rounds[-1])
        finally:
            queue.close()
    return LoopReport(catalogue.name, str(home), tuple(rounds))


def _numbered(progress: Progress, number: int) -> Progress:
    return lambda stage, done, total: progress(f"{number}: {stage}", done, total)


@dataclass(frozen=True)
class _Turn:
    """What a round works with."""

    catalogue: Catalogue
    store: BundleStore
    queue: LabelQueue
    url: str
    settings: Settings
    home: Path
    options: LoopOptions
    progress: Progress
    images: ImageEncoder | None
    policy: Policy | None

    def run(self, number: int, shop: Shop) -> Round:
        """Send a slice of the stream, have it labelled, retrain, and wait until what was promoted is served."""
        began = time.monotonic()
        own = shop.slices[number - 1]
        served = _current(self.store)
        traffic = self._send(own)
        self._wait_for_cohort(number)
        drifted = drift(self.url)
        labelling = shop.annotators.label_everything(self.url, id_field=self.catalogue.fields.id)
        answered = shop.annotators.answers_of(own.ids)
        precision, recall = self._live_quality(served, traffic, own.truth, answered)
        done = self._retrain()
        test_macro_ap, answers = self._test(self.options.unseen_class)
        return Round(
            number=number,
            served=_current(self.store),
            test_macro_ap=test_macro_ap,
            answers=labelling.n_answers,
            products_opened=labelling.n_products,
            requests_sent=traffic.n_sent,
            failures=dict(traffic.failures),
            promoted=done is not None and done.promoted,
            seconds=time.monotonic() - began,
            precision=precision,
            recall=recall,
            verdict=done.verdict if done else None,
            start=done.start if done else None,
            training_seconds=sum(done.seconds.values()) if done else None,
            newcomers=self._newcomers(own, traffic, labelling, drifted, answers) if answers else None,
        )

    def _send(self, own: Slice) -> Traffic:
        return send(
            self.url, own.records, classes=self.catalogue.taxonomy.classes,
            max_body_bytes=self.settings.max_body_bytes, report=partial(self.progress, "send traffic"),
        )  # fmt: skip

    def _newcomers(
        self, own: Slice, traffic: Traffic, labelling: Labelling, drifted: dict[str, float], answers: TestAnswers
    ) -> Newcomers:
        name = self.catalogue.taxonomy.classes[answers.column]
        return measured(
            name, own.is_newcomer, traffic, ids=own.ids, opened=labelling.opened, drift=drifted, test=answers
        )

    def _test(self, unseen_class: str | None) -> tuple[float, TestAnswers | None]:
        """Macro average precision of what is served, and its answers about the test part where there are newcomers."""
        bundle = read_bundle(self.store.load())
        evaluation, said, truth = evaluate_bundle(bundle, self.catalogue, part="test", progress=self.progress)
        if unseen_class is None:
            return evaluation.ensemble.macro_ap, None
        column = self.catalogue.taxonomy.classes.index(unseen_class)
        positive = said.probabilities >= np.asarray(bundle.manifest.thresholds)
        ap = float(evaluation.ensemble.average_precision[column])
        return evaluation.ensemble.macro_ap, TestAnswers(positive, truth, column, ap)

    def _retrain(self) -> Retraining | None:
        try:
            done = recorded(self._retrained, self.store.directory, clock=lambda: datetime.now(UTC))
        except NothingNew:
            return None
        if done.promoted:
            wait_until(
                lambda: Client(self.url).call("GET", "/model")["version"] == done.candidate,
                seconds=SWAP_SECONDS,
                what=f"the service did not take over {done.candidate}",
            )
        return done

    def _retrained(self) -> Retraining:
        return retrain(
            self.catalogue,
            store=self.store,
            queue=self.queue,
            directory=self.home,
            options=self.options.retraining,
            now=datetime.now(UTC),
            progress=self.progress,
            images=self.images,
            policy=self.policy,
        )

    def _wait_for_cohort(self, number: int) -> None:
        """Wait until the round's traffic lies in the queue as one sealed cohort."""
        wait_until(
            lambda: len(self.queue.cohorts()) >= number,
            seconds=SEAL_SECONDS,
            what="the service did not seal its cohort",
        )

    def _live_quality(self, version: str, traffic: Traffic, truth: Labels, answered: Labels) -> tuple[Beside, Beside]:
        """Macro precision and recall of the bundle, estimated by all its cohorts, beside those of this round."""
        cohorts = answered_cohorts(self.queue.cohorts(version), self.queue.answered_questions(version))
        found = live_quality(cohorts, n_classes=len(self.catalogue.taxonomy))
        true, seen = traffic.rates(truth), traffic.rates(answered)
        precision, recall = (
            Beside(one.value, one.lower, one.upper, true[index], seen[index])
            for index, one in enumerate((found.macro_precision, found.macro_recall))
        )
        return precision, recall


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


def _first(catalogue: Catalogue, store: BundleStore, progress: Progress) -> Round:
    return Round(
        number=0,
        served=_current(store),
        test_macro_ap=_test_macro_ap(catalogue, store, progress),
        answers=0,
        products_opened=0,
        requests_sent=0,
        promoted=False,
        seconds=0.0,
    )


def _test_macro_ap(catalogue: Catalogue, store: BundleStore, progress: Progress) -> float:
    evaluation, _, _ = evaluate_bundle(read_bundle(store.load()), catalogue, part="test", progress=progress)
    return evaluation.ensemble.macro_ap


def _current(store: BundleStore) -> str:
    return store.load().name
