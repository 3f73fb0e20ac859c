"""The way of a classified batch into a cohort: weigh it, add it, and seal the cohort when its time has come.

One per worker. Keeping sealed cohorts is left to `service.label_queue`, which must never make `take` wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.acquisition.cohort import Batch, Cohort, SealedCohort, SealReason
from service.acquisition.sampling import fingerprint
from service.acquisition.scores import (
    ETA,
    FLOOR,
    N_QUESTIONS,
    ScoreMeans,
    Scores,
    cubed,
    prospect,
    question_weights,
)
from service.bundles.bundle import Manifest

_CARRIED = 1_000.0  # products that the means of an old bundle count for under a new one


@dataclass(frozen=True, slots=True)
class SealPolicy:
    """How long a run of traffic a cohort is, and how many of its products are drawn for labelling."""

    max_products: int = 5_000
    max_age: timedelta = timedelta(minutes=15)
    capacity: int = 100

    def due(self, cohort: Cohort, *, now: datetime) -> SealReason | None:
        """Whether the cohort should be sealed now; an empty one never is."""
        if cohort.n_products >= self.max_products:
            return SealReason.COUNT
        if cohort.n_products and abs(now - cohort.opened_at) >= self.max_age:  # the clock may have gone back
            return SealReason.AGE
        return None


@dataclass(frozen=True, slots=True)
class ServedBundle:
    """What the intake needs to know of the bundle that made the predictions; arrays (n_classes,)."""

    version: str
    id_field: str  # the column of a record that holds the product's id
    classes: tuple[str, ...]
    thresholds: NDArray[np.float64]
    priors: NDArray[np.float64]

    @classmethod
    def of(cls, manifest: Manifest) -> ServedBundle:
        """What the manifest says of it."""
        return cls(
            version=manifest.version,
            id_field=manifest.fields.id,
            classes=manifest.taxonomy.classes,
            thresholds=np.asarray(manifest.thresholds, dtype=np.float64),
            priors=np.asarray(manifest.priors, dtype=np.float64),
        )


@dataclass(frozen=True, slots=True)
class AcquisitionRule:
    """The knobs of the sampling weight; `service.acquisition.scores` says what each does."""

    eta: float = ETA
    floor: float = FLOOR
    n_questions: int = N_QUESTIONS
    budgets: tuple[float, ...] | None = None  # per class, mean 1; equal where None


class Intake:
    """The open cohort of one worker, and the running means that weigh its products.

    Parameters
    ----------
    new_salt : called once a cohort for its salt; random bytes in service, fixed ones in a replay
    """

    def __init__(
        self,
        *,
        new_salt: Callable[[], bytes],
        policy: SealPolicy | None = None,
        rule: AcquisitionRule | None = None,
    ) -> None:
        self._new_salt = new_salt
        self._policy = policy or SealPolicy()
        self._rule = rule or AcquisitionRule()
        self._cohort: Cohort | None = None
        self._served: ServedBundle | None = None
        self._means: ScoreMeans | None = None

    @property
    def n_open(self) -> int:
        """Products in the open cohort."""
        return self._cohort.n_products if self._cohort else 0

    @property
    def n_until_full(self) -> int:
        """New products that the open cohort takes before it is sealed by count."""
        return self._policy.max_products - self.n_open

    def take(
        self,
        *,
        served: ServedBundle,
        records: Sequence[Mapping[str, Any]],
        probabilities: NDArray[np.floating[Any]],
        scores: Scores,
        now: datetime,
        merchant_labels: ArrayLike | None = None,
    ) -> list[SealedCohort]:
        """Weigh and add a batch; hand over every cohort that this seals, as a rule none.

        Parameters
        ----------
        records : the products as they were posted
        probabilities, merchant_labels : (n_products, n_classes); a label is 0, 1 or NaN
        """
        fingerprints = [fingerprint(record) for record in records]  # first: it can fail, and must not cost a cohort
        sealed = self.tick(now=now, bundle_version=served.version)
        self._means = means = self._means_for(served)
        self._cohort = cohort = self._cohort or self._new_cohort(served, now=now)
        cohort.add(
            self._batch(
                records,
                fingerprints=fingerprints,
                served=served,
                means=means,
                probabilities=probabilities,
                scores=scores,
                merchant_labels=merchant_labels,
            )
        )
        return sealed + self.tick(now=now, bundle_version=served.version)

    def tick(self, *, now: datetime, bundle_version: str) -> list[SealedCohort]:
        """Seal the open cohort if it is due or of another bundle; call it now and then when there is no traffic."""
        if self._cohort is None:
            return []
        if self._cohort.bundle_version != bundle_version:
            return self.close(now=now, reason=SealReason.SWAP)
        reason = self._policy.due(self._cohort, now=now)
        return self.close(now=now, reason=reason) if reason else []

    def close(self, *, now: datetime, reason: SealReason = SealReason.SHUTDOWN) -> list[SealedCohort]:
        """Seal the open cohort whatever its size; the next batch opens another."""
        cohort, self._cohort = self._cohort, None
        if cohort is None or cohort.n_products == 0:
            return []
        sealed = cohort.seal(now=now, reason=reason)
        self._means = self._means and self._means.updated(
            doubt_cubed_sums=sealed.totals.doubt_cubed,
            prospect_sums=sealed.totals.prospect,
            n_products=sealed.totals.n_products,
        )
        return [sealed]

    def _new_cohort(self, served: ServedBundle, *, now: datetime) -> Cohort:
        return Cohort(
            salt=self._new_salt(),
            bundle_version=served.version,
            id_field=served.id_field,
            classes=served.classes,
            opened_at=now,
            capacity=self._policy.capacity,
            n_questions=self._rule.n_questions,
        )

    def _means_for(self, served: ServedBundle) -> ScoreMeans:
        """The means so far; less sure of themselves under another bundle, from its priors for another taxonomy.

        What an earlier bundle could only say no to was never in doubt; beside a mean of nought the first doubt of a
        bundle that knows the class would take all questions, so that such a class begins anew.
        """
        before, self._served = self._served, served
        if self._means is None or before is None or before.classes != served.classes:
            return ScoreMeans.from_priors(served.priors)
        if before.version == served.version:
            return self._means
        fresh = ScoreMeans.from_priors(served.priors)
        return ScoreMeans(
            doubt_cubed=np.where(before.thresholds < 1.0, self._means.doubt_cubed, fresh.doubt_cubed),
            prospect=np.where(before.thresholds < 1.0, self._means.prospect, fresh.prospect),
            n_products=min(self._means.n_products, _CARRIED),
        )

    def _batch(
        self,
        records: Sequence[Mapping[str, Any]],
        *,
        fingerprints: Sequence[bytes],
        served: ServedBundle,
        means: ScoreMeans,
        probabilities: NDArray[np.floating[Any]],
        scores: Scores,
        merchant_labels: ArrayLike | None,
    ) -> Batch:
        claims = None if merchant_labels is None else np.asarray(merchant_labels, dtype=np.float64)
        prospects = prospect(probabilities, claims)
        weights = question_weights(
            scores,
            prospects,
            means=means,
            claimed=None if claims is None else ~np.isnan(claims),
            budgets=1.0 if self._rule.budgets is None else self._rule.budgets,
            floor=self._rule.floor,
            eta=self._rule.eta,
        )
        return Batch(
            fingerprints=fingerprints,
            records=records,
            probabilities=probabilities,
            positive=probabilities >= served.thresholds,
            doubt_cubed=cubed(scores.doubt),
            prospects=prospects,
            weights=weights,
        )
