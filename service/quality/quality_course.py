"""The course of live quality: estimates over all cohorts of a bundle, and over stretches of time, as one document.

The estimates themselves are left to `service.quality.live_quality`, drawing them to `service.pages.quality`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from service.label_queue.rows import SampledTask, StoredCohort
from service.quality.cohort_records import answered_cohorts, of_traffic
from service.quality.live_quality import LEVEL, ClassQuality, Estimate, LiveQuality, live_quality

MOST_STRETCHES = 24  # in all; a plot with more says no more
LEAST_ANSWERS = 100  # of a stretch: with fewer every interval is wide


@dataclass(frozen=True, slots=True)
class Stretch:
    """Live quality over some consecutive cohorts of one bundle."""

    since: datetime
    until: datetime
    version: str
    quality: LiveQuality


@dataclass(frozen=True, slots=True)
class QualityCourse:
    """Live quality of one bundle, and how that and its predecessors did over time."""

    version: str
    classes: tuple[str, ...]
    n_cohorts: int
    now: LiveQuality
    stretches: tuple[Stretch, ...]

    def to_json(self) -> dict[str, Any]:
        """As `GET /quality` answers and `winnow quality --json` prints."""
        return {
            "model_version": self.version,
            "level": LEVEL,
            "n_cohorts": self.n_cohorts,
            **_quality(self.now, self.classes),
            "over_time": [
                {
                    "since": one.since.isoformat(),
                    "until": one.until.isoformat(),
                    "model_version": one.version,
                    **_quality(one.quality, self.classes),
                }
                for one in self.stretches
            ],
        }


def quality_course(
    cohorts: Sequence[StoredCohort], tasks: Sequence[SampledTask], *, version: str, classes: Sequence[str]
) -> QualityCourse:
    """Estimate over all cohorts of the bundle, and over stretches of all cohorts that know the same classes.

    Parameters
    ----------
    cohorts, tasks : of any bundles, with all the tasks of those cohorts
    """
    alike = sorted(
        (one for one in of_traffic(cohorts) if tuple(one.counters["classes"]) == tuple(classes)),
        key=lambda one: one.sealed_at,
    )
    own = [one for one in alike if one.bundle_version == version]
    return QualityCourse(
        version=version,
        classes=tuple(classes),
        n_cohorts=len(own),
        now=_estimated(own, tasks, len(classes)),
        stretches=tuple(_stretch(some, tasks, len(classes)) for some in _stretches(alike, tasks)),
    )


def _stretches(cohorts: Sequence[StoredCohort], tasks: Sequence[SampledTask]) -> list[list[StoredCohort]]:
    """Consecutive cohorts of one bundle, gathered until they have enough answers."""
    answers = {one.id: 0 for one in cohorts}
    for task in tasks:
        if task.cohort_id in answers:
            answers[task.cohort_id] += sum(question.verdict is not None for question in task.questions)
    enough = max(LEAST_ANSWERS, sum(answers.values()) // MOST_STRETCHES)
    found: list[list[StoredCohort]] = []
    n_answers = enough
    for one in cohorts:
        if n_answers >= enough or found[-1][-1].bundle_version != one.bundle_version:
            found.append([])
            n_answers = 0
        found[-1].append(one)
        n_answers += answers[one.id]
    return found


def _stretch(cohorts: Sequence[StoredCohort], tasks: Sequence[SampledTask], n_classes: int) -> Stretch:
    quality = _estimated(cohorts, tasks, n_classes)
    return Stretch(cohorts[0].sealed_at, cohorts[-1].sealed_at, cohorts[0].bundle_version, quality)


def _estimated(cohorts: Sequence[StoredCohort], tasks: Sequence[SampledTask], n_classes: int) -> LiveQuality:
    ids = {one.id for one in cohorts}
    answered = answered_cohorts(cohorts, (task for task in tasks if task.cohort_id in ids))
    return live_quality(answered, n_classes=n_classes)


def _quality(quality: LiveQuality, classes: Sequence[str]) -> dict[str, Any]:
    check = quality.self_check
    return {
        "n_products": quality.n_products,
        "n_answers": quality.n_answers,
        "annotator_error": round(quality.annotator_error, 4),
        "macro": {"precision": _estimate(quality.macro_precision), "recall": _estimate(quality.macro_recall)},
        "self_check": {
            "products_z": round(check.products_z, 3),
            "questions_z": round(check.questions_z, 3),
            "alarming": check.alarming,
        },
        "classes": {name: _of_class(one) for name, one in zip(classes, quality.classes, strict=True)},
    }


def _of_class(quality: ClassQuality) -> dict[str, Any]:
    return {
        "precision": _estimate(quality.precision),
        "recall": _estimate(quality.recall),
        "n_answers": quality.n_answers,
        "n_unsure": quality.n_unsure,
        "effective_sample_size": round(quality.effective_sample_size, 2),
        "served_positives": _rounded(quality.served_positives),
        "positives": _rounded(quality.positives),
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    """`verdict` is "insufficient" where the interval says nothing."""
    return {
        "value": None if estimate.value is None else round(estimate.value, 6),
        "lower": round(estimate.lower, 6),
        "upper": round(estimate.upper, 6),
        "verdict": "sufficient" if estimate.sufficient else "insufficient",
    }


def _rounded(total: float) -> float | None:
    return round(total, 3) if np.isfinite(total) else None
