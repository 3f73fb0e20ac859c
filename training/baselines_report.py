"""The table and the HTML report of the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training import plots
from training.baselines import Baseline, Study
from training.page import drawing, write_page

MEASURES = ("macro_ap", "rare_quarter_ap", "macro_f1", "calibration_error", "cpu_seconds", "megabytes", "microseconds")


@dataclass(frozen=True)
class Summary:
    """One combination over its seeds: mean and standard deviation of each measure."""

    name: str
    n_seeds: int
    means: dict[str, float]
    deviations: dict[str, float]

    def cell(self, measure: str, digits: int) -> str:
        """Mean, and the deviation where there are several seeds."""
        mean = f"{self.means[measure]:.{digits}f}"
        return mean if self.n_seeds < 2 else f"{mean} ± {self.deviations[measure]:.{digits}f}"


def summaries(rows: Sequence[Baseline]) -> list[Summary]:
    """One a combination, the best first."""
    found = []
    for name in dict.fromkeys(row.name for row in rows):
        same = [row for row in rows if row.name == name]
        values = {measure: np.array([getattr(row, measure) for row in same]) for measure in MEASURES}
        deviations = {measure: float(one.std(ddof=1)) if len(same) > 1 else 0.0 for measure, one in values.items()}
        found.append(Summary(name, len(same), {m: float(one.mean()) for m, one in values.items()}, deviations))
    return sorted(found, key=lambda one: -one.means["macro_ap"])


def write_baselines_report(path: Path, study: Study, rows: Sequence[Baseline]) -> Path:
    """Write the report and return where it is."""
    found = summaries(rows)
    return write_page(
        path,
        "baselines.html",
        catalogue=study.catalogue.name,
        n_train=len(study.targets),
        n_test=len(study.truth),
        n_classes=study.targets.shape[1],
        summaries=found,
        plot=drawing(
            plots.member_comparison(
                {one.name: one.means["macro_ap"] for one in found},
                {one.name: one.means["rare_quarter_ap"] for one in found},
            )
        ),
    )
