"""What the answers tell in numbers: live quality of the bundle that is served, and how often annotators err."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from statistics import median
from typing import TYPE_CHECKING

from service.quality.annotator_error import N_ENOUGH
from service.telemetry.registry import MAX_CLASSES_APART, MetricRegistry

if TYPE_CHECKING:
    from service.quality.annotator_error import AnnotatorError
    from service.quality.live_quality import LiveQuality


class QualityMetrics:
    """Estimates from the answers; the same in all workers."""

    def __init__(self, registry: MetricRegistry) -> None:
        self._live_quality = registry.gauge(
            "winnow_live_quality_ratio",
            "Estimated precision and recall of what the bundle serves, with the bounds of a 95 % interval",
            ("measure", "class", "bound"),
        )
        self._sampling_z = registry.gauge(
            "winnow_sampling_check_z", "How far the sampling weights are from what they stand for", ("unit",)
        )
        self._annotator_errors = registry.gauge(
            "winnow_annotator_error_ratio",
            "Estimated share of wrong answers, of the annotator who errs most and of the median one",
            ("rank",),
        )

    def live_quality(self, names: Sequence[str], quality: LiveQuality) -> None:
        """Say what the labels tell of the bundle that is served; a class without enough answers has no number."""
        classes = dict(zip(names, quality.classes, strict=True)) if len(names) <= MAX_CLASSES_APART else {}
        estimates = {("macro", "precision"): quality.macro_precision, ("macro", "recall"): quality.macro_recall}
        for name, of_class in classes.items():
            estimates |= {(name, "precision"): of_class.precision, (name, "recall"): of_class.recall}
        for (name, measure), estimate in estimates.items():
            is_known = estimate.sufficient and estimate.value is not None
            for bound, value in (("estimate", estimate.value), ("lower", estimate.lower), ("upper", estimate.upper)):
                # NaN, since labels cannot be taken back where several workers write
                self._live_quality.labels(measure, name, bound).set(value if is_known and value is not None else nan)
        self._sampling_z.labels("product").set(quality.self_check.products_z)
        self._sampling_z.labels("question").set(quality.self_check.questions_z)

    def annotators(self, errors: Sequence[AnnotatorError]) -> None:
        """Say how often annotators err, without names: whoever answered too little with others is left out."""
        known = sorted(annotator.error for annotator in errors if annotator.n_shared >= N_ENOUGH)
        self._annotator_errors.labels("highest").set(known[-1] if known else nan)
        self._annotator_errors.labels("median").set(median(known) if known else nan)
