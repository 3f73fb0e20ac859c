"""Retrainings in numbers: when they ended, and what the last candidate was like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from service.bundles.retrainings import OUTCOMES, Result
from service.telemetry.registry import MetricRegistry


class RetrainingMetrics:
    """What is known of retrainings, which run in processes of their own; the same in all workers."""

    def __init__(self, registry: MetricRegistry) -> None:
        self._ended_at = registry.gauge(
            "winnow_retraining_timestamp_seconds", "When a retraining last ended so; 0 if none did", ("outcome",)
        )
        self._answers = registry.gauge(
            "winnow_retraining_answers", "Answers of people that the last candidate learned from"
        )
        self._cpu_seconds = registry.gauge(
            "winnow_retraining_cpu_seconds", "Processor time of the last candidate's training"
        )
        self._gain = registry.gauge(
            "winnow_retraining_gain",
            "What the gate measured of the last candidate against what was served, with the bounds of its interval",
            ("bound",),
        )

    def ended(self, results: Sequence[Result]) -> None:
        """Say when retrainings ended, and what the last candidate was like.

        Parameters
        ----------
        results : all there are, oldest first
        """
        for outcome in OUTCOMES:
            seconds = (result.ended_seconds for result in results if result.outcome == outcome)
            self._ended_at.labels(outcome).set(max(seconds, default=0.0))
        judged = [result for result in results if result.gain is not None]
        if judged and judged[-1].gain is not None:
            self._answers.set(judged[-1].n_answers or 0)
            self._cpu_seconds.set(judged[-1].cpu_seconds or 0.0)
            for bound, value in asdict(judged[-1].gain).items():
                self._gain.labels(bound).set(value)
