"""The HTML report of a training or an evaluation: one file, plots inside, nothing fetched from anywhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from service.bundles.bundle import Manifest
from service.contracts import Predictions
from training import plots
from training.catalogues.catalogue import Labels
from training.evaluate import Evaluation, binned


def write_report(path: Path, manifest: Manifest, evaluation: Evaluation, said: Predictions, targets: Labels) -> Path:
    """Write the report of one evaluation and return where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(manifest, evaluation, said, targets), encoding="utf-8")
    return path


def render(manifest: Manifest, evaluation: Evaluation, said: Predictions, targets: Labels) -> str:
    """Render the report as HTML."""
    return (
        template_environment()
        .get_template("report.html")
        .render(
            manifest=manifest,
            evaluation=evaluation,
            provenance=_flat(manifest.provenance),
            plots={
                name: Markup(svg) for name, svg in _plots(manifest, evaluation, said, targets).items()
            },  # our own SVG
        )
    )


def template_environment() -> Environment:
    """The templates of all reports, which escape what they are given."""
    environment = Environment(
        loader=PackageLoader("training", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["score"] = _three_digits
    return environment


def _plots(manifest: Manifest, evaluation: Evaluation, said: Predictions, targets: Labels) -> dict[str, str]:
    models = {"ensemble": evaluation.ensemble, **evaluation.members}
    ranked = np.argsort(np.nan_to_num(evaluation.ensemble.average_precision, nan=2.0))  # worst class first
    drawn = {
        "Members": plots.member_comparison(
            {name: scores.macro_ap for name, scores in models.items()},
            {name: scores.rare_quarter_ap for name, scores in models.items()},
        ),
        "Precision and recall, weakest classes": plots.precision_recall(
            evaluation.classes,
            said.probabilities,
            targets,
            [index for index in ranked if evaluation.ensemble.n_positives[index]],
        ),
        "Reliability, all classes pooled": plots.reliability({"ensemble": _pooled(said.probabilities, targets)}),
        "Average precision per class": plots.per_class_ap(evaluation.classes, evaluation.ensemble.average_precision),
    }
    held_out = manifest.metrics.get("reliability")  # bundles of an earlier version have none
    if held_out:
        drawn["Reliability on held-out training labels, before and after calibration"] = plots.reliability(held_out)
    curves = manifest.provenance.get("curves")
    return drawn | ({"Training loss": plots.training_curves(curves)} if curves else {})


def _pooled(probabilities: NDArray[np.float32], targets: Labels) -> list[list[float]]:
    known = targets >= 0
    return binned(probabilities[known].astype(np.float64), targets[known] == 1)


def _flat(provenance: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in provenance.items() if name != "curves"}


def _three_digits(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
