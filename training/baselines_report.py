"""The table and the HTML report of the baselines, and the file that keeps what was measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from training import plots
from training.baselines import Baseline, Study
from training.report import template_environment

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


class Kept:
    """What was measured of one study, one JSON line each; another catalogue, sample or label source is another file."""

    def __init__(self, directory: Path, study: Study) -> None:
        digest = hashlib.blake2b(study.targets.tobytes() + study.truth.tobytes(), digest_size=6).hexdigest()
        self._path = directory / f"baselines-{study.catalogue.name}-{digest}.jsonl"

    def rows(self) -> list[Baseline]:
        """All that was measured so far."""
        if not self._path.is_file():
            return []
        return [Baseline(**json.loads(line)) for line in self._path.read_text(encoding="utf-8").splitlines()]

    def add(self, row: Baseline) -> None:
        """Keep one more."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")

    def clear(self) -> None:
        """Forget what was measured."""
        self._path.unlink(missing_ok=True)


def write_baselines_report(path: Path, study: Study, rows: Sequence[Baseline]) -> Path:
    """Write the report and return where it is."""
    found = summaries(rows)
    page = template_environment().get_template("baselines.html").render(
        catalogue=study.catalogue.name,
        n_train=len(study.targets),
        n_test=len(study.truth),
        n_classes=study.targets.shape[1],
        summaries=found,
        plot=Markup(  # our own SVG
            plots.member_comparison(
                {one.name: one.means["macro_ap"] for one in found},
                {one.name: one.means["rare_quarter_ap"] for one in found},
            )
        ),
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path
