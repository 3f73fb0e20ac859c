"""The HTML report of a retraining: what was learned, what the gate said and why, class by class, and what it cost."""

from __future__ import annotations

from pathlib import Path

from training import plots
from training.page import drawing, write_page
from training.retraining.retrain import Retraining


def write_retrain_report(path: Path, done: Retraining) -> Path:
    """Write the report and return where it is."""
    gains = _gains(done)
    return write_page(
        path,
        "retrain.html",
        filters={"signed": lambda value: f"{value:+.4f}"},
        done=done,
        gains=drawing(gains) if gains else None,
    )


def _gains(done: Retraining) -> str | None:
    """Gain of every class that had enough answers, with its interval."""
    classes = done.verdict.classes
    if not classes:
        return None
    values = [(one.difference, one.low, one.high) for one in classes]
    return plots.intervals([one.name for one in classes], values, x_label="gain in the standardised Brier score")
