"""The HTML report of a retraining: what was learned, what the gate said and why, class by class, and what it cost."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from training import plots
from training.report import template_environment
from training.retraining.retrain import Retraining


def write_retrain_report(path: Path, done: Retraining) -> Path:
    """Write the report and return where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = template_environment()
    environment.filters["signed"] = lambda value: f"{value:+.4f}"
    drawn = _gains(done)
    page = environment.get_template("retrain.html").render(done=done, gains=Markup(drawn) if drawn else None)
    path.write_text(page, encoding="utf-8")
    return path


def _gains(done: Retraining) -> str | None:
    """Gain of every class that had enough answers, with its interval."""
    classes = done.verdict.classes
    if not classes:
        return None
    values = [(one.difference, one.low, one.high) for one in classes]
    return plots.intervals([one.name for one in classes], values, x_label="gain in the standardised Brier score")
