"""Retraining from what people answered: read the labels, train a candidate, judge it, promote it if it is better.

Can be killed at any moment and run again: the candidate grows in a draft, enters the store whole, and the
pointer moves last. Training itself is left to `training.fit`, the verdict to `training.retraining.gate`.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from service.bundles.bundle import Bundle, Manifest, read_bundle, read_manifest, verified_content
from service.bundles.bundle_store import BundleStore
from service.bundles.retrainings import results
from service.errors import NoBundle, WinnowError
from service.label_queue.store import LabelQueue
from training.catalogues.catalogue import Catalogue
from training.fit import TrainingOptions, train
from training.predict import check_fit
from training.pretrained import ImageEncoder
from training.progress import Progress
from training.retraining.gate import Policy, Verdict
from training.retraining.human_labels import HumanLabels, read_human_labels, seconds
from training.retraining.judgement import KEY, TrainedOn, judge_candidate, n_refused_before, trained_on
from training.retraining.promote import only_one, promote
from training.retraining.training_state import STATE, TrainingState, unpack_state
from training.retraining.warm_members import CannotGoOn
from training.retraining.warm_plan import WarmOptions
from training.retraining.warm_start import WARM, train_warm

Start = Literal["cold", "warm"]

logger = logging.getLogger(__name__)


class NothingNew(WinnowError):
    """No answer has come since the incumbent was trained."""

    status = 409
    title = "nothing new"


@dataclass(frozen=True)
class RetrainOptions:
    """What `winnow retrain` can be told.

    Parameters
    ----------
    judge_share : of the newly labelled products, kept from this training to judge it by; they train the next one
    warm : how to go on from the incumbent; None begins anew
    """

    judge_share: float = 0.5
    training: TrainingOptions = field(default_factory=TrainingOptions)
    warm: WarmOptions | None = field(default_factory=WarmOptions)


@dataclass(frozen=True)
class Retraining:
    """What came of a retraining."""

    candidate: str
    incumbent: str
    promoted: bool
    n_answers: int  # that the candidate learned from
    n_new_answers: int  # since the incumbent
    start: Start
    seconds: dict[str, float]  # processor time of each stage of the training
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Everything by name."""
        return {**asdict(self), "verdict": self.verdict.to_json()}


def retrain(
    catalogue: Catalogue,
    *,
    store: BundleStore,
    queue: LabelQueue,
    directory: Path,
    options: RetrainOptions,
    now: datetime,
    progress: Progress,
    policy: Policy | None = None,
    images: ImageEncoder | None = None,
) -> Retraining:
    """Train a candidate from merchant and human labels, and promote it if the gate says so.

    Parameters
    ----------
    directory : where the lock is kept
    now : answers that come later are left to the next retraining
    images : a pretrained encoder, where it is installed

    Raises
    ------
    NoBundle
        If nothing is served yet: there is nothing to compare with.
    NothingNew
        If nobody has answered anything since the incumbent was trained.
    AlreadyRunning
        If another retraining works on this model store, or on this label queue from another machine.
    """
    with only_one(directory), queue.exclusive("retraining") as check:
        incumbent = _incumbent(store, catalogue)
        labels = _labels(queue, incumbent.manifest, until=now)
        plan = _plan(incumbent.manifest, now=now, options=options)
        n_new = _n_new(labels, incumbent.manifest)
        learned = labels.only(plan.learned(labels))
        manifest = _train(
            catalogue, store, learned, plan=plan, incumbent=incumbent, options=options, images=images, progress=progress
        )
        verdict = _verdict(manifest.version, incumbent, labels, store=store, progress=progress, policy=policy)
        if verdict.promote:
            check()
            promote(store, manifest.version, now=now, why="; ".join(verdict.reasons))
        logger.info("retrained", extra={"candidate": manifest.version, "promoted": verdict.promote})
        return _retraining(manifest, incumbent.manifest, verdict, n_answers=learned.n_answers, n_new_answers=n_new)


def gate(
    candidate: str,
    *,
    store: BundleStore,
    queue: LabelQueue,
    progress: Progress,
    policy: Policy | None = None,
) -> Verdict:
    """Judge a stored bundle against the one that is served, by all answers that neither has learned from.

    Raises
    ------
    NoBundle
        If there is no such version, or nothing is served.
    """
    labels = _labels(queue, read_manifest(store.load(candidate)))
    return _verdict(candidate, read_bundle(store.load()), labels, store=store, progress=progress, policy=policy)


def training_state(store: BundleStore, manifest: Manifest) -> TrainingState | None:
    """Where the training of a stored bundle ended; None for a bundle that was made before bundles carried it."""
    if STATE not in manifest.files:
        logger.warning("no training state: a cold start", extra={"version": manifest.version})
        return None
    return unpack_state(verified_content(store.load(manifest.version), STATE, manifest))


def _incumbent(store: BundleStore, catalogue: Catalogue) -> Bundle:
    try:
        incumbent = read_bundle(store.load())
    except NoBundle as error:
        raise NoBundle("nothing is served yet, so there is nothing to do better; run `winnow train` first") from error
    check_fit(incumbent, catalogue)
    return incumbent


def _labels(queue: LabelQueue, manifest: Manifest, *, until: datetime | None = None) -> HumanLabels:
    labels = read_human_labels(queue, fields=manifest.fields, classes=manifest.taxonomy.classes)
    return labels if until is None else labels.only(labels.times < seconds(until))


def _plan(incumbent: Manifest, *, now: datetime, options: RetrainOptions) -> TrainedOn:
    """Learn from what the incumbent knows, and from a share of what came since."""
    return TrainedOn(since=trained_on(incumbent).until, until=now, salt=incumbent.version, share=options.judge_share)


def _n_new(labels: HumanLabels, incumbent: Manifest) -> int:
    n_new = int((labels.times[labels.answers >= 0] >= seconds(trained_on(incumbent).until)).sum())
    if n_new == 0:
        raise NothingNew("nobody has answered a question since the incumbent was trained; label some at /label first")
    return n_new


def _train(
    catalogue: Catalogue,
    store: BundleStore,
    labels: HumanLabels,
    *,
    plan: TrainedOn,
    incumbent: Bundle,
    options: RetrainOptions,
    images: ImageEncoder | None,
    progress: Progress,
) -> Manifest:
    remarks = {KEY: plan.to_json(), "incumbent": incumbent.manifest.version}
    with store.draft() as draft:
        directory = draft / "bundle"
        cold = partial(
            train, catalogue, directory=directory, options=options.training, progress=progress, people=labels,
            images=images, remarks=remarks,
        )  # fmt: skip
        state = training_state(store, incumbent.manifest) if options.warm else None
        if options.warm is None or state is None:
            cold()
        else:
            try:
                train_warm(
                    catalogue, directory=directory, incumbent=incumbent, state=state, options=options.training,
                    warm=options.warm, progress=progress, people=labels, images=images, remarks=remarks,
                )  # fmt: skip
            except CannotGoOn as error:
                logger.warning("a cold start: %s", error)
                cold()
        return read_manifest(store.load(store.save(directory)))


def _verdict(
    version: str,
    incumbent: Bundle,
    labels: HumanLabels,
    *,
    store: BundleStore,
    progress: Progress,
    policy: Policy | None,
) -> Verdict:
    candidate = read_bundle(store.load(version))
    judged = {result.version for result in results(store.directory) if result.version}
    n_refused = n_refused_before(candidate.manifest, incumbent.manifest, store.manifests(), judged=judged)
    return judge_candidate(candidate, incumbent, labels, progress=progress, policy=policy, n_refused=n_refused)


def _retraining(
    candidate: Manifest, incumbent: Manifest, verdict: Verdict, *, n_answers: int, n_new_answers: int
) -> Retraining:
    return Retraining(
        candidate=candidate.version,
        incumbent=incumbent.version,
        promoted=verdict.promote,
        n_answers=n_answers,
        n_new_answers=n_new_answers,
        start="warm" if WARM in candidate.provenance else "cold",
        seconds=dict(candidate.provenance.get("cpu_seconds", {})),
        verdict=verdict,
    )
