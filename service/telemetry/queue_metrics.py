"""The way to the label queue, the queue, and the answers from it, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from service.label_queue.rows import Stats, TaskLabels, TaskState
from service.telemetry.registry import ALL_CLASSES, MAX_CLASSES_APART, MetricRegistry, begin_at_nought

if TYPE_CHECKING:
    from service.label_queue.writer import WriterCounts

CohortOutcome = Literal["sealed", "dropped", "failed"]
TaskOutcome = Literal["written", "spilled", "dropped", "refused"]


class QueueMetrics:
    """What one worker brings to the queue, and what the queue says of itself."""

    def __init__(self, registry: MetricRegistry) -> None:
        self._register_writing(registry)
        self._register_waiting(registry)
        self._register_answers(registry)
        begin_at_nought(self._cohorts, get_args(CohortOutcome))
        begin_at_nought(self._written, get_args(TaskOutcome))

    def _register_writing(self, registry: MetricRegistry) -> None:
        self._cohorts = registry.counter(
            "winnow_cohorts_total", "Cohorts by what became of them at sealing", ("outcome",)
        )
        self._written = registry.counter(
            "winnow_queue_tasks_total", "Label tasks by what became of them on the way to the store", ("outcome",)
        )
        self._store_failures = registry.counter("winnow_queue_store_failures_total", "Writes that found the store away")
        self._waiting = registry.gauge(
            "winnow_queue_waiting_tasks", "Label tasks that wait in memory for the store", together="livesum"
        )
        self._spilled = registry.gauge(
            "winnow_queue_spilled_cohorts", "Cohorts that wait on this replica's disk for the store"
        )

    def _register_waiting(self, registry: MetricRegistry) -> None:
        self._store_up = registry.gauge(
            "winnow_queue_store_up", "1 if the label queue's store answered when last asked"
        )
        self._tasks = registry.gauge("winnow_label_tasks", "Label tasks in the store", ("state",))
        self._oldest = registry.gauge("winnow_label_queue_oldest_seconds", "Age of the oldest open label task")
        self._lapsed = registry.gauge(
            "winnow_label_lapsed_leases",
            "Open label tasks that were leased and neither answered nor given back in time",
        )

    def _register_answers(self, registry: MetricRegistry) -> None:
        self._labels = registry.counter("winnow_labels_total", "Answers stored over HTTP", ("class", "answer"))
        self._newest = registry.gauge(
            "winnow_label_newest_timestamp_seconds", "When the newest answer was stored; 0 if there is none"
        )
        self._conflicts = registry.gauge("winnow_label_conflicts", "Questions on which the answers tie")
        self._agreement = registry.gauge(
            "winnow_annotator_agreement_ratio", "Share of questions with several answers on which all agree"
        )

    def cohort(self, outcome: CohortOutcome) -> None:
        """Count one cohort: handed to the writer, dropped for want of room, or a batch that could not be sampled."""
        self._cohorts.labels(outcome).inc()

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
        for state in get_args(TaskState):
            self._tasks.labels(state).set(getattr(stats, state))
        self._lapsed.set(stats.lapsed)
        self._oldest.set(stats.oldest_open_seconds or 0.0)
        self._newest.set(stats.newest_answer_at.timestamp() if stats.newest_answer_at else 0.0)
        self._conflicts.set(stats.conflicts)
        if stats.agreement is not None:
            self._agreement.set(stats.agreement)

    def labelled(self, stored: Sequence[TaskLabels], classes: Sequence[str]) -> None:
        """Count answers that were stored, by class unless the served classes are too many."""
        is_apart = len(classes) <= MAX_CLASSES_APART
        for labels in stored:
            for class_name, answer in labels.answers.items():
                self._labels.labels(class_name if is_apart else ALL_CLASSES, answer).inc()
