"""What an operator sees in numbers: the one file in which prometheus_client enters.

Serving `/metrics`, merged over all workers, is left to BentoML.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import nan
from statistics import median
from typing import TYPE_CHECKING, Literal, get_args

from service.api.guards import REASONS, Reason
from service.bundles.retrainings import OUTCOMES as RETRAINING_OUTCOMES
from service.bundles.retrainings import Result
from service.image_fetch import OUTCOMES as FETCH_OUTCOMES
from service.image_fetch import Outcome as FetchOutcome
from service.quality.annotator_error import N_ENOUGH
from service.telemetry.tally import Tally

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    from service.label_queue.rows import Stats, Submission
    from service.label_queue.writer import WriterCounts
    from service.quality.annotator_error import AnnotatorError
    from service.quality.live_quality import LiveQuality
    from service.telemetry.drift import Kind

Outcome = Literal["ok", "refused", "failed"]
RequestStage = Literal["decode"]
BatchStage = Literal["wait", "encode", "infer", "score"]
CohortOutcome = Literal["sealed", "dropped", "failed"]
SwapOutcome = Literal["swapped", "refused", "fell_back"]
TaskOutcome = Literal["written", "spilled", "dropped", "refused"]

SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MAX_CLASSES_APART = 100  # with more, classes share one series, so that there are never too many
PRODUCTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All metrics of one worker; labels come from small closed sets only."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register the metrics, in the process's own registry unless another is given."""
        # Imported here because it decides at import whether workers share their numbers, and BentoML sets that up late.
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram  # noqa: PLC0415

        self.registry = registry or REGISTRY
        self._tally = Tally()  # for what every request counts, in the event loop's thread
        self._requests = Counter(
            "winnow_requests_total", "Requests by route and outcome", ["route", "outcome"], registry=self.registry
        )
        self._request_seconds = Histogram(
            "winnow_request_seconds", "From the request's first byte to the answer", ["route"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._request_products = Histogram(
            "winnow_request_products", "Products in one classify request", buckets=PRODUCTS, registry=self.registry
        )
        self._batch_products = Histogram(
            "winnow_batch_products", "Products that ran through the graph at once", buckets=PRODUCTS,
            registry=self.registry,
        )  # fmt: skip
        self._batch_seconds = Histogram(
            "winnow_batch_seconds", "Time of one batch in the graph", buckets=SECONDS, registry=self.registry
        )
        self._unreadable_images = Counter(
            "winnow_unreadable_images_total", "Images that could not be decoded", registry=self.registry
        )
        self._refused_requests = Counter(
            "winnow_refused_requests_total", "Requests turned away before their work began", ["reason"],
            registry=self.registry,
        )  # fmt: skip
        self._model_info = Gauge(
            "winnow_model_info", "1 for the bundle that is served", ["version", "taxonomy"],
            multiprocess_mode="livemax", registry=self.registry,
        )  # fmt: skip
        self._cohorts = Counter(
            "winnow_cohorts_total", "Cohorts by what became of them at sealing", ["outcome"], registry=self.registry
        )
        self._bundle_swaps = Counter(
            "winnow_bundle_swaps_total", "Promoted bundles that a worker took over or refused", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._served: tuple[str, str] | None = None
        self._in_flight = Gauge(
            "winnow_requests_in_flight", "Requests that are being answered", multiprocess_mode="livesum",
            registry=self.registry,
        )  # fmt: skip
        self._stage_seconds = Histogram(
            "winnow_stage_seconds", "Time in one stage: decode a request's images; wait, encode, infer, score a batch",
            ["stage"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._stages = {
            stage: self._stage_seconds.labels(stage) for stage in (*get_args(RequestStage), *get_args(BatchStage))
        }
        self._series: dict[tuple[str, Outcome], tuple[Counter, Histogram]] = {}
        self._model_created = self._latest(
            "winnow_model_created_timestamp_seconds", "When the bundle that is served was made"
        )
        self._register_traffic(Counter, Gauge)
        self._register_queue(Counter)
        self._register_training()
        self._begin_at_nought()

    def _begin_at_nought(self) -> None:
        """Show every outcome of the small closed sets from the start, so that its first increase is seen as one."""
        closed: tuple[tuple[Counter, Iterable[str]], ...] = (
            (self._refused_requests, REASONS),
            (self._cohorts, get_args(CohortOutcome)),
            (self._bundle_swaps, get_args(SwapOutcome)),
            (self._image_fetches, FETCH_OUTCOMES),
            (self._written, get_args(TaskOutcome)),
        )
        for counter, values in closed:
            for value in values:
                counter.labels(value)
        for outcome in get_args(Outcome):
            self._requests.labels("/classify", outcome)

    def _latest(self, name: str, documentation: str, labels: tuple[str, ...] = ()) -> Gauge:
        """A gauge that means the same in all workers: the newest value counts."""
        from prometheus_client import Gauge  # noqa: PLC0415

        return Gauge(name, documentation, labels, multiprocess_mode="livemostrecent", registry=self.registry)

    def _register_traffic(self, counter: type[Counter], gauge: type[Gauge]) -> None:
        self._positives = counter(
            "winnow_positives_total", "Products answered with yes", ["class"], registry=self.registry
        )
        self._probabilities = counter(
            "winnow_probabilities_total", "Products whose probability is at most the bound", ["class", "le"],
            registry=self.registry,
        )  # fmt: skip
        self._bits = {
            name: counter(
                f"winnow_{name}_total", f"Products whose highest {name}, in bits, is at most the bound", ["le"],
                registry=self.registry,
            )
            for name in ("uncertainty", "disagreement")
        }  # fmt: skip
        self._abstentions = counter(
            "winnow_abstentions_total", "Products for which a member had nothing to read", ["member"],
            registry=self.registry,
        )  # fmt: skip
        self._drift = gauge(
            "winnow_drift_index", "Population stability index against the bundle's reference", ["kind", "name"],
            multiprocess_mode="livemax", registry=self.registry,
        )  # fmt: skip
        self._image_fetches = counter(
            "winnow_image_fetches_total", "Images fetched by URL, by outcome", ["outcome"], registry=self.registry
        )

    def _register_queue(self, counter: type[Counter]) -> None:
        self._written = counter(
            "winnow_queue_tasks_total", "Label tasks by what became of them on the way to the store", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._store_failures = counter(
            "winnow_queue_store_failures_total", "Writes that found the store away", registry=self.registry
        )
        self._labels = counter(
            "winnow_labels_total", "Answers accepted from annotators", ["class", "answer"], registry=self.registry
        )
        self._store_up = self._latest("winnow_queue_store_up", "1 if the label queue's store answered when last asked")
        self._tasks = self._latest("winnow_label_tasks", "Label tasks in the store", ("state",))
        self._oldest = self._latest("winnow_label_queue_oldest_seconds", "Age of the oldest open label task")
        self._conflicts = self._latest("winnow_label_conflicts", "Questions on which the answers tie")
        self._agreement = self._latest(
            "winnow_annotator_agreement_ratio", "Share of questions with several answers on which all agree"
        )
        self._lapsed = self._latest(
            "winnow_label_lapsed_leases",
            "Open label tasks that were leased and neither answered nor given back in time",
        )
        self._annotator_errors = self._latest(
            "winnow_annotator_error_ratio",
            "Estimated share of wrong answers, of the annotator who errs most and of the median one",
            ("rank",),
        )
        self._waiting = self._waiting_gauge()
        self._spilled = self._latest(
            "winnow_queue_spilled_cohorts", "Cohorts that wait on this replica's disk for the store"
        )
        self._live_quality = self._latest(
            "winnow_live_quality_ratio",
            "Estimated precision and recall of what the bundle serves, with the bounds of a 95 % interval",
            ("measure", "class", "bound"),
        )
        self._sampling_z = self._latest(
            "winnow_sampling_check_z", "How far the sampling weights are from what they stand for", ("unit",)
        )

    def _register_training(self) -> None:
        self._retrained_at = self._latest(
            "winnow_retraining_timestamp_seconds", "When a retraining last ended so; 0 if none did", ("outcome",)
        )
        self._retrained_answers = self._latest(
            "winnow_retraining_answers", "Answers of people that the last candidate learned from"
        )
        self._retraining_cpu = self._latest(
            "winnow_retraining_cpu_seconds", "Processor time of the last candidate's training"
        )
        self._retraining_gain = self._latest(
            "winnow_retraining_gain",
            "What the gate measured of the last candidate against what was served, with the bounds of its interval",
            ("bound",),
        )

    def _waiting_gauge(self) -> Gauge:
        from prometheus_client import Gauge  # noqa: PLC0415

        return Gauge(
            "winnow_queue_waiting_tasks", "Label tasks that wait in memory for the store", multiprocess_mode="livesum",
            registry=self.registry,
        )  # fmt: skip

    def entered(self) -> None:
        """Count a request in."""
        self._tally.count(self._in_flight, +1)

    def left(self) -> None:
        """Count a request out."""
        self._tally.count(self._in_flight, -1)

    def stage(self, stage: RequestStage, seconds: float) -> None:
        """Count the time of one stage of a request."""
        self._tally.observe(self._stages[stage], seconds)

    def batch_stage(self, stage: BatchStage, seconds: float) -> None:
        """Count the time of one stage of a batch; from any thread."""
        self._stages[stage].observe(seconds)

    def classes(self, n_positive: Mapping[str, int], cumulated: Mapping[str, Mapping[str, int]]) -> None:
        """Count answers per class: those with yes, and those at or below each bound of the probability."""
        for name, n_products in n_positive.items():
            self._positives.labels(name).inc(n_products)
        for name, counts in cumulated.items():
            for bound, n_products in counts.items():
                self._probabilities.labels(name, bound).inc(n_products)

    def bits(self, name: str, cumulated: Mapping[str, int]) -> None:
        """Count products at or below each bound, in bits, of their "uncertainty" or "disagreement"."""
        for bound, n_products in cumulated.items():
            self._bits[name].labels(bound).inc(n_products)

    def abstained(self, n_products: Mapping[str, int]) -> None:
        """Count products for which each member abstained."""
        for member, n_abstained in n_products.items():
            self._abstentions.labels(member).inc(n_abstained)

    def drift(self, indices: Mapping[tuple[Kind, str], float]) -> None:
        """Say how far the traffic is from the reference."""
        for (kind, name), index in indices.items():
            self._drift.labels(kind, name).set(index)

    def image_fetched(self, outcome: FetchOutcome) -> None:
        """Count one image that was to be fetched."""
        self._image_fetches.labels(outcome).inc()

    def labelled(self, submission: Submission) -> None:
        """Count the accepted answers."""
        for labels in submission.labels:
            for class_name, answer in labels.answers.items():
                self._labels.labels(class_name, answer).inc()

    def writer(self, counts: WriterCounts, before: WriterCounts, *, n_spilled: int) -> None:
        """Count what the writer did since the last time, and the cohorts that wait on disk."""
        self._written.labels("written").inc(counts.written_tasks - before.written_tasks)
        self._written.labels("spilled").inc(counts.spilled_tasks - before.spilled_tasks)
        self._written.labels("dropped").inc(counts.dropped_tasks - before.dropped_tasks)
        self._written.labels("refused").inc(counts.refused_tasks - before.refused_tasks)
        self._store_failures.inc(counts.failures - before.failures)
        self._waiting.set(counts.waiting_tasks)
        self._spilled.set(n_spilled)

    def store(self, *, is_up: bool) -> None:
        """Say whether the store answered."""
        self._store_up.set(is_up)

    def label_queue(self, stats: Stats) -> None:
        """Say what is in the store."""
        for state in ("open", "leased", "completed", "withdrawn"):
            self._tasks.labels(state).set(getattr(stats, state))
        self._lapsed.set(stats.lapsed)
        self._oldest.set(stats.oldest_open_seconds or 0.0)
        self._conflicts.set(stats.conflicts)
        if stats.agreement is not None:
            self._agreement.set(stats.agreement)

    def annotators(self, errors: Sequence[AnnotatorError]) -> None:
        """Say how often annotators err, without names: whoever answered too little with others is left out."""
        known = sorted(annotator.error for annotator in errors if annotator.n_shared >= N_ENOUGH)
        self._annotator_errors.labels("highest").set(known[-1] if known else nan)
        self._annotator_errors.labels("median").set(median(known) if known else nan)

    def retrainings(self, results: Sequence[Result]) -> None:
        """Say when retrainings ended, and what the last candidate was like."""
        for outcome in RETRAINING_OUTCOMES:
            ended = (result.ended_seconds for result in results if result.outcome == outcome)
            self._retrained_at.labels(outcome).set(max(ended, default=0.0))
        judged = [result for result in results if result.gain is not None]
        if judged and judged[-1].gain is not None:
            self._retrained_answers.set(judged[-1].n_answers or 0)
            self._retraining_cpu.set(judged[-1].cpu_seconds or 0.0)
            for bound, value in asdict(judged[-1].gain).items():
                self._retraining_gain.labels(bound).set(value)

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

    def request(self, *, route: str, outcome: Outcome, seconds: float) -> None:
        """Count one answered request; `route` is a template, never a path as it came."""
        series = self._series.get((route, outcome))
        if series is None:  # looking it up by its labels costs as much as counting
            series = self._requests.labels(route, outcome), self._request_seconds.labels(route)
            self._series[route, outcome] = series
        self._tally.count(series[0])
        self._tally.observe(series[1], seconds)

    def refused(self, reason: Reason) -> None:
        """Count one request that the guards turned away, or whose client hung up before its body was complete."""
        self._refused_requests.labels(reason).inc()

    def classified(self, n_products: int, n_unreadable_images: int) -> None:
        """Count the products of one classify request."""
        self._tally.observe(self._request_products, n_products)
        if n_unreadable_images:
            self._unreadable_images.inc(n_unreadable_images)

    def batch(self, n_products: int, seconds: float) -> None:
        """Count one run of the graph."""
        self._batch_products.observe(n_products)
        self._batch_seconds.observe(seconds)

    def cohort(self, outcome: CohortOutcome) -> None:
        """Count one cohort: handed to the writer, dropped for want of room, or a batch that could not be sampled."""
        self._cohorts.labels(outcome).inc()

    def serving(self, *, version: str, taxonomy: str, created_seconds: float) -> None:
        """Say which bundle is served from now on, and when it was made."""
        self._model_created.set(created_seconds)
        if self._served is not None:
            self._model_info.labels(*self._served).set(0)
        self._served = (version, taxonomy)
        self._model_info.labels(version, taxonomy).set(1)

    def swap(self, outcome: SwapOutcome) -> None:
        """Count one attempt to take over a promoted bundle, or that an older one serves in its place."""
        self._bundle_swaps.labels(outcome).inc()
