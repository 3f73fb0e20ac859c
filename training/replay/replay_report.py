"""The HTML report of a replay: one file with the curves, the table and the answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training import plots
from training.page import drawings, write_page
from training.replay.savings import Estimate, Measure, Study, curve
from training.replay.strategies import RANDOM_PRODUCTS, SHIPPED

TITLES: dict[tuple[Measure, int], str] = {
    ("macro_ap", 0): "Macro average precision over answers",
    ("macro_ap", 3): "Macro average precision over cost, where opening a product costs as much as 3 answers",
    ("rare_quarter_ap", 0): "Average precision of the rarest quarter of the classes over answers",
    ("macro_f1", 0): "Macro F1 over answers",
}


def write_replay_report(path: Path, study: Study) -> Path:
    """Write the report and return where it is."""
    return write_page(
        path,
        "replay.html",
        filters={"estimate": _with_deviation, "signed": lambda value: "–" if value is None else f"{value:+.4f}"},
        study=study,
        warm_seconds=float(np.mean([row.warm_seconds for row in study.summaries])),
        plots=drawings({title: _plot(study, *key) for key, title in TITLES.items()}),
    )


def _plot(study: Study, measure: Measure, opening_cost: int) -> str:
    curves = {
        row.strategy: curve(
            [run for run in study.runs if run.strategy == row.strategy], measure, opening_cost=opening_cost
        )
        for row in study.summaries
    }
    target = study.target if measure == "macro_ap" else None
    label = "answers" if opening_cost == 0 else f"answers + {opening_cost} · products opened"
    return plots.learning_curves(
        curves, target=target, cost_label=label, reference=RANDOM_PRODUCTS.name, shown=SHIPPED.name
    )


def _with_deviation(value: Estimate, digits: int) -> str:
    if value.mean is None:
        return "–"
    return f"{value.mean:.{digits}f}" + ("" if value.sd is None else f" ± {value.sd:.{digits}f}")
