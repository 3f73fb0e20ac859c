"""The gate's evidence: what candidate and incumbent say to answers that neither was trained on.

Which answers those are follows from the two manifests alone, so that a judgement can be repeated at any time. The
arithmetic is left to `training.retraining.gate`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundles.bundle import Bundle, Manifest
from service.contracts import Product
from service.ensemble import Ensemble
from service.features.encoder import Encoder, collate
from training.catalogues.cells import UNKNOWN
from training.predict import BATCH_SIZE, encode, predict
from training.progress import Progress
from training.retraining.gain import Judged
from training.retraining.gate import Checks, Policy, Verdict, judge
from training.retraining.human_labels import HumanLabels, in_share, seconds

N_TIMINGS = 15
KEY = "human_labels"  # of the provenance


@dataclass(frozen=True)
class TrainedOn:
    """Which human labels a bundle has learned from; a part of its provenance.

    All answers before `since`, and those before `until` of products that were not kept for judging.

    Parameters
    ----------
    since : until when its incumbent had learned; None if that knew no human label
    until : when its labels were read
    salt, share : which products given answers between were kept for judging
    """

    since: datetime | None = None
    until: datetime | None = None
    salt: str = "none"
    share: float = 0.0

    def learned(self, labels: HumanLabels) -> NDArray[np.bool_]:
        """Answers that the bundle was trained on, (n_products, n_classes)."""
        kept_apart = np.array([in_share(one, salt=self.salt, share=self.share) for one in labels.task_ids], dtype=bool)
        before = labels.times < seconds(self.since)
        between = (labels.times < seconds(self.until)) & ~kept_apart.reshape(-1, 1)
        return np.asarray((labels.answers != UNKNOWN) & (before | between))

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest's provenance."""
        times = {"since": self.since, "until": self.until}
        moments = {name: moment.isoformat() if moment else None for name, moment in times.items()}
        return {**moments, "salt": self.salt, "share": self.share}


def trained_on(manifest: Manifest) -> TrainedOn:
    """Read it from a manifest; a bundle that was trained from a catalogue alone knows no human label."""
    said = manifest.provenance.get(KEY)
    if said is None:
        return TrainedOn()
    since, until = (datetime.fromisoformat(said[name]) if said[name] else None for name in ("since", "until"))
    return TrainedOn(since, until, str(said["salt"]), float(said["share"]))


def judge_candidate(
    candidate: Bundle,
    incumbent: Bundle,
    labels: HumanLabels,
    *,
    progress: Progress,
    policy: Policy | None = None,
    n_refused: int = 0,
) -> Verdict:
    """Judge a candidate by the answers that neither bundle has learned from and that stand for traffic.

    Parameters
    ----------
    n_refused : candidates that were judged before, against the same incumbent, by a part of the same answers
    """
    unseen = ~trained_on(candidate.manifest).learned(labels) & ~trained_on(incumbent.manifest).learned(labels)
    judging = labels.only(unseen & (labels.importance > 0.0))
    evidence = _judged(candidate, incumbent, judging, progress=progress)
    return judge(
        evidence, checks=_checks(candidate, incumbent, judging.products), policy=_spent(policy or Policy(), n_refused)
    )


def n_refused_before(
    candidate: Manifest, incumbent: Manifest, known: Iterable[Manifest], *, judged: Container[str]
) -> int:
    """How many candidates were trained to replace this incumbent, and judged, before this one was.

    Parameters
    ----------
    judged : versions about which a retraining came to a verdict; one that was killed before it has looked at nothing
    """
    return sum(
        one.provenance.get("incumbent") == incumbent.version
        and one.created_at < candidate.created_at
        and one.version in judged
        for one in known
    )


def _spent(policy: Policy, n_refused: int) -> Policy:
    """Half the level at each further look at growing evidence: over all looks together it is at most doubled."""
    return replace(policy, level=policy.level / 2**n_refused)


def _judged(candidate: Bundle, incumbent: Bundle, labels: HumanLabels, *, progress: Progress) -> Judged:
    row, class_index = np.nonzero(labels.answers != UNKNOWN)
    shape = labels.answers.shape
    said = [
        predict(bundle, labels.products, progress=progress).probabilities if labels.products else np.zeros(shape)
        for bundle in (incumbent, candidate)
    ]
    old, new = incumbent.manifest, candidate.manifest
    return Judged(
        classes=new.taxonomy.classes,
        product_index=row,
        class_index=class_index,
        answers=labels.answers[row, class_index].astype(np.float64),
        weights=labels.importance[row, class_index],
        incumbent=said[0][row, class_index].astype(np.float64),
        candidate=said[1][row, class_index].astype(np.float64),
        incumbent_thresholds=np.asarray(old.thresholds, dtype=np.float64),
        candidate_thresholds=np.asarray(new.thresholds, dtype=np.float64),
        priors=np.asarray(old.priors, dtype=np.float64),
    )


def _checks(candidate: Bundle, incumbent: Bundle, products: Sequence[Product]) -> Checks:
    """Time both on the same products, and compare the candidate's graph with what its trained model said."""
    ours, theirs = Ensemble(candidate), Ensemble(incumbent)
    said = ours.predict(candidate.golden_inputs).probabilities
    difference = np.abs(said - candidate.golden_outputs["probabilities"]).max()
    our_batch, their_batch = (_batch(bundle, products) for bundle in (candidate, incumbent))
    our_seconds, their_seconds = [], []
    for _ in range(N_TIMINGS):  # in turns, so that whatever else the machine does slows both
        our_seconds.append(_seconds(ours, our_batch))
        their_seconds.append(_seconds(theirs, their_batch))
    return Checks(
        incumbent_seconds=min(their_seconds), candidate_seconds=min(our_seconds), parity_difference=float(difference)
    )


def _batch(bundle: Bundle, products: Sequence[Product]) -> Mapping[str, NDArray[Any]]:
    """A batch of the products as the bundle encodes them; its golden batch where there are none."""
    if not products:
        return bundle.golden_inputs
    encoder = Encoder(bundle.encoding)
    return collate([encode(encoder, product) for product in products[:BATCH_SIZE]])


def _seconds(ensemble: Ensemble, batch: Mapping[str, NDArray[Any]]) -> float:
    began = perf_counter()
    ensemble.predict(batch)
    return perf_counter() - began
