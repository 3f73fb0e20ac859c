"""What the exported questions alone tell: the share of the whole traffic's products that each class is true of.

Run: python -m benchmarks.recover_rates questions.jsonl     rates of a real export
     python -m benchmarks.recover_rates [--seeds 200]       coverage of the intervals on simulated traffic

A line is a question as `service.quality.cohort_records.exported_questions` arranges it. The arithmetic is all in
`rates`: an answer stands for W = max(1, τ'/w) / π questions, where τ' is the highest priority of a product that still
waits for an answer, or the cohort's threshold τ, and only products above τ' count.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.simulated_traffic import Traffic, make_batch, make_traffic, seal
from service.acquisition.cohort import SealedCohort
from service.quality.gamma_interval import gamma_interval

N_PRODUCTS, N_CLASSES, N_OPENED, N_ASKED = 5_000, 49, 400, 5
Line = Mapping[str, Any]
Rate = tuple[float, float, float]  # value, lower, upper


def rates(lines: Iterable[Line]) -> dict[str, Rate]:
    """Positive rate of each class over all products of the cohorts, with 95 % intervals."""
    cohorts: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        cohorts[line["cohort"]].append(line)
    n_products = sum(own[0]["n_products"] for own in cohorts.values())
    columns: dict[str, list[tuple[float, bool, bool, float]]] = defaultdict(list)
    for own in cohorts.values():
        waiting = (line["priority"] for line in own if line["answer"] is None)
        threshold = max(own[0]["threshold"], *waiting, 0.0)
        for line in own:
            if line["priority"] > threshold:
                weight = max(1.0, threshold / line["product_weight"]) / line["inclusion_probability"]
                answer = line["answer"]
                columns[line["class"]].append((weight, answer == "yes", answer == "unsure", line["probability"]))
    return {name: _rate(np.array(rows, dtype=np.float64).T, n_products) for name, rows in sorted(columns.items())}


def _rate(columns: NDArray[np.float64], n_products: int) -> Rate:
    weights, yes, unsure, probabilities = columns
    known = n_products - float(weights @ unsure)
    count = float(weights @ yes)
    spread = weights * (weights - 1.0)
    next_weight = max(1.0, float(weights @ probabilities / max(probabilities.sum(), 1e-12)))
    lower, upper = gamma_interval(
        count,
        variance=float(spread @ (yes + probabilities)) / 2.0 if count else 0.0,
        next_weight=next_weight,
        next_variance=next_weight * (next_weight - 1.0),
    )
    return count / known, lower / known, min(upper / known, 1.0)


def simulated_lines(sealed: SealedCohort, traffic: Traffic) -> Iterator[Line]:
    """Export a cohort that a flawless annotator has answered."""
    for product in sealed.products:
        for question in product.questions:
            true = traffic.truth[product.record["id"], int(question.class_name)]
            yield {
                "cohort": sealed.cohort_id,
                "n_products": sealed.totals.n_products,
                "threshold": sealed.threshold,
                "product_weight": product.weight,
                "priority": product.priority,
                "class": question.class_name,
                "inclusion_probability": question.inclusion_probability,
                "probability": question.probability,
                "answer": "yes" if true else "no",
            }


def simulate(n_seeds: int, console: Console) -> None:
    """Print how often the intervals cover the true rate, by how common the class is."""
    hits: dict[int, list[bool]] = defaultdict(list)
    misses: dict[int, list[float]] = defaultdict(list)
    for seed in track(range(n_seeds), description="simulating", console=Console(stderr=True)):
        traffic = make_traffic(N_PRODUCTS, N_CLASSES, rng=np.random.default_rng(seed))
        salt = b"rates" + seed.to_bytes(4, "little")
        sealed = seal(make_batch(traffic), salt=salt, capacity=N_OPENED, n_questions=N_ASKED)
        for name, (value, lower, upper) in rates(simulated_lines(sealed, traffic)).items():
            true = float(traffic.truth[:, int(name)].mean())
            hits[int(name)].append(lower <= true <= upper)
            misses[int(name)].append(abs(value / true - 1.0))
    table = Table("classes", "covered", "median error, relative", title=f"{n_seeds} seeds, intervals of 95 %")
    for label, names in (("rarest third", range(17)), ("middle", range(17, 33)), ("commonest", range(33, N_CLASSES))):
        covered = np.mean([hit for name in names for hit in hits[name]])
        error = np.median([miss for name in names for miss in misses[name]])
        table.add_row(label, f"{covered:.3f}", f"{error:.3f}")
    everything = np.mean([hit for own in hits.values() for hit in own])
    worst = min(np.mean(own) for own in hits.values())
    table.add_row("all (worst class)", f"{everything:.3f} ({worst:.3f})", "")
    console.print(table)


def report(path: Path, console: Console) -> None:
    """Print the rates that an export tells."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    table = Table("class", "positive rate", "95 % interval")
    for name, (value, lower, upper) in rates(lines).items():
        table.add_row(name, f"{value:.4f}", f"{lower:.4f} to {upper:.4f}")
    console.print(table)


def main() -> None:
    """Report on a file, or simulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--seeds", type=int, default=200)
    arguments = parser.parse_args()
    if arguments.file is None:
        simulate(arguments.seeds, Console())
    else:
        report(arguments.file, Console())


if __name__ == "__main__":
    main()
