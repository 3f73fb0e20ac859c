"""The HTML report of a training or an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundles.bundle import Manifest
from service.contracts import Predictions
from training import plots
from training.catalogues.catalogue import Labels
from training.evaluate import Evaluation, binned
from training.page import drawings, write_page


def write_report(path: Path, manifest: Manifest, evaluation: Evaluation, said: Predictions, targets: Labels) -> Path:
    """Write the report of one evaluation and return where it is."""
    return write_page(
        path,
        "report.html",
        manifest=manifest,
        evaluation=evaluation,
        provenance=_flat(manifest.provenance),
        plots=drawings(_plots(manifest, evaluation, said, targets)),
    )


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
