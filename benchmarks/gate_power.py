"""How often the gate promotes candidates of known quality, on simulated traffic.

Run: python -m benchmarks.gate_power [--runs 300]

Each run draws traffic, two models of known quality and the answers to 500 products, as the tests of the gate do; the
intervals are Wilson's. "Shifted" means that both models say a logit more than their calibrated odds everywhere.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import binomtest

from tests.gate_simulation import BETTER, SAME, WORSE, Float, Traffic, judged, traffic
from training.retraining.gate import Checks, judge

FINE = Checks(incumbent_seconds=0.010, candidate_seconds=0.010, parity_difference=0.0)
CANDIDATES = {"equal": SAME, "worse by .02": WORSE, "better by .02": BETTER}
WORLDS = {"errors correlated by .9": (0.9, 0.0), "by .8": (0.8, 0.0), "by .8, both shifted": (0.8, 1.0)}


def main() -> None:
    """Print a row a candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    runs = parser.parse_args().runs
    table = Table(title=f"Promoted, of {runs} runs (95 %)")
    for heading in ("candidate", *WORLDS):
        table.add_column(heading)
    for name, separation in CANDIDATES.items():
        cells = [
            _share(_promoted(separation, alike, shift, runs, f"{name}, {world}"), runs)
            for world, (alike, shift) in WORLDS.items()
        ]
        table.add_row(name, *cells)
    Console().print(table)


def _promoted(separation: float, alike: float, shift: float, runs: int, what: str) -> int:
    n_promoted = 0
    for run in track(range(runs), description=what):
        rng = np.random.default_rng(run)
        answers = judged(rng, _shifted(traffic(rng, separation, alike=alike), shift))
        n_promoted += judge(answers, checks=FINE).promote
    return n_promoted


def _shifted(world: Traffic, logits: float) -> Traffic:
    return replace(world, incumbent=_more(world.incumbent, logits), candidate=_more(world.candidate, logits))


def _more(probabilities: Float, logits: float) -> Float:
    odds = np.exp(logits) * probabilities
    moved: Float = odds / (odds + 1 - probabilities)
    return moved


def _share(count: int, runs: int) -> str:
    interval = binomtest(count, runs).proportion_ci(method="wilson")
    return f"{count / runs:.3f} ({interval.low:.3f}–{interval.high:.3f})"


if __name__ == "__main__":
    main()
