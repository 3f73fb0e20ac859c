"""Do the intervals of live quality cover the truth as often as they say, and how far off are the macro rates?

Run: python -m benchmarks.coverage [--seeds 200]
     python -m benchmarks.coverage --catalogue CATALOGUE --home HOME [--seeds 60]

Each seed is new traffic: 5,000 products, 49 classes, 400 products opened with five questions each: 2,000 answers. The
model is calibrated, or overconfident: the truth follows log odds that are 30 % nearer to zero than the model says.
Annotators are flawless, or each errs on their own in 2 or 5 of 100 answers, and answers that surprise are asked again.
The first negative control has the annotators served from the open cohort while it fills, and counts every answer; the
second takes the answers of those who err as they come. The exit status says whether the promises hold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.claims import Claim, conclude
from benchmarks.real_traffic import Stream, read_stream
from benchmarks.simulated_traffic import NOON, Traffic, answer, answer_by_people, make_batch, make_traffic, part, seal
from service.acquisition.cohort import Cohort, SampledProduct, SealedCohort, SealReason
from service.quality.answered_cohort import AnsweredCohort
from service.quality.live_quality import Estimate, LiveQuality, live_quality

N_PRODUCTS, N_CLASSES, N_OPENED, N_QUESTIONS = 5_000, 49, 400, 5
ENOUGH = 50  # true positives in the traffic, for a class to be judged
N_STAGES = 10  # of the open cohort: the first tenth of the traffic meets half of the annotators' time

Serve = Callable[[Traffic, bytes], AnsweredCohort]


@dataclass
class Tally:
    """What all seeds of one row of the table add up to."""

    hits: dict[str, list[bool]] = field(default_factory=lambda: {"precision": [], "recall": []})
    widths: dict[str, list[float]] = field(default_factory=lambda: {"precision": [], "recall": []})
    errors: dict[str, list[float]] = field(default_factory=lambda: {"precision": [], "recall": []})
    macro_hits: dict[str, list[bool]] = field(default_factory=lambda: {"precision": [], "recall": []})
    alarms: list[bool] = field(default_factory=list)

    def add(self, quality: LiveQuality, traffic: Traffic) -> None:
        """Compare one seed's estimates with its truth."""
        enough = traffic.truth.sum(axis=0) >= ENOUGH
        self.alarms.append(quality.self_check.alarming)
        for name, truth in (("precision", traffic.precision), ("recall", traffic.recall)):
            for index in np.flatnonzero(enough & ~np.isnan(truth)):
                estimate: Estimate = getattr(quality.classes[index], name)
                self.hits[name].append(estimate.lower <= truth[index] <= estimate.upper)
                self.widths[name].append(estimate.upper - estimate.lower)
            macro: Estimate = getattr(quality, f"macro_{name}")
            true_macro = float(np.nanmean(truth))
            self.errors[name].append(abs((macro.value or 0.0) - true_macro))
            self.macro_hits[name].append(macro.lower <= true_macro <= macro.upper)

    def cells(self) -> list[str]:
        """Return the table's cells of this row."""
        cells: list[str] = []
        for name in ("precision", "recall"):
            cells += [f"{np.mean(self.hits[name]):.3f}", f"{np.median(self.widths[name]):.2f}"]
            cells += [f"{np.mean(self.errors[name]):.4f}", f"{np.mean(self.macro_hits[name]):.2f}"]
        return [*cells, f"{np.mean(self.alarms):.3f}"]


def serve_sealed(traffic: Traffic, salt: bytes) -> AnsweredCohort:
    """Answer the products of a sealed cohort, all of them."""
    return answer(_sealed(traffic, salt, N_OPENED), traffic)


def serve_prefix(traffic: Traffic, salt: bytes) -> AnsweredCohort:
    """Answer the first 5 of every 8 products of a sealed cohort."""
    return answer(_sealed(traffic, salt, N_OPENED), traffic, n_completed=5 * N_OPENED // 8)


def by_people(wrong: float, *, second_opinions: bool = True) -> Serve:
    """Have annotators who err answer a sealed cohort."""

    def serve(traffic: Traffic, salt: bytes) -> AnsweredCohort:
        rng = np.random.default_rng(list(salt))
        sealed = _sealed(traffic, salt, N_OPENED)
        return answer_by_people(sealed, traffic, wrong=wrong, rng=rng, second_opinions=second_opinions)

    return serve


def _sealed(traffic: Traffic, salt: bytes, capacity: int) -> SealedCohort:
    return seal(make_batch(traffic), salt=salt, capacity=capacity, n_questions=N_QUESTIONS)


def serve_open(traffic: Traffic, salt: bytes) -> AnsweredCohort:
    """Answer half of the products while a tenth of the traffic is in, the others at the end, and count them all."""
    batch = make_batch(traffic)
    cohort = Cohort(
        salt=salt,
        bundle_version="open",
        id_field="id",
        classes=[str(index) for index in range(N_CLASSES)],
        opened_at=NOON,
        capacity=2 * N_OPENED,
        n_questions=N_QUESTIONS,
    )
    early_size = N_PRODUCTS // N_STAGES
    cohort.add(part(batch, slice(0, early_size)))
    early = cohort.seal(now=NOON, reason=SealReason.COUNT).products[: N_OPENED // 2]
    cohort.add(part(batch, slice(early_size, N_PRODUCTS)))
    sealed = cohort.seal(now=NOON, reason=SealReason.COUNT)
    seen = {product.fingerprint for product in early}
    late = [product for product in sealed.products if product.fingerprint not in seen]
    n_late = N_OPENED - len(early)
    products = (*_above(early, late[n_late].priority), *late[:n_late])
    return answer(replace(sealed, products=products, threshold=late[n_late].priority), traffic)


def _above(products: tuple[SampledProduct, ...], threshold: float) -> list[SampledProduct]:
    """Pretend that these were drawn by the threshold: what a queue does that forgets when it served them."""
    return [
        replace(product, priority=max(product.priority, threshold + 1.0 + rank))
        for rank, product in enumerate(products)
    ]


ROWS: dict[str, tuple[Serve, float]] = {
    "sealed, calibrated model": (serve_sealed, 1.0),
    "sealed, overconfident model": (serve_sealed, 0.7),
    "prefix of a cohort, calibrated": (serve_prefix, 1.0),
    "prefix of a cohort, overconfident": (serve_prefix, 0.7),
    "2 % wrong, calibrated": (by_people(0.02), 1.0),
    "2 % wrong, overconfident": (by_people(0.02), 0.7),
    "5 % wrong, calibrated": (by_people(0.05), 1.0),
    "5 % wrong, overconfident": (by_people(0.05), 0.7),
    "NOT SEALED, calibrated model": (serve_open, 1.0),
    "NOT SEALED, overconfident model": (serve_open, 0.7),
    "NO SECOND OPINIONS, 2 % wrong": (by_people(0.02, second_opinions=False), 1.0),
}


REAL_ROWS: dict[str, Serve] = {
    "flawless": serve_sealed,
    "2 % wrong": by_people(0.02),
    "5 % wrong": by_people(0.05),
    "NO SECOND OPINIONS, 2 % wrong": by_people(0.02, second_opinions=False),
    "NO SECOND OPINIONS, 5 % wrong": by_people(0.05, second_opinions=False),
}


def main() -> int:
    """Print the table and the claims."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument(
        "--catalogue", type=Path, help="simulate annotators on its stream, as the bundle in HOME sees it"
    )
    parser.add_argument("--home", type=Path, help="a model store")
    options = parser.parse_args()
    seeds = track(range(options.seeds), description="simulating", console=Console(stderr=True))
    if options.catalogue and options.home:
        tallies = real_tallies(read_stream(options.catalogue, options.home), seeds)
    else:
        tallies = simulated_tallies(seeds)
    _print(tallies, options.seeds)
    return conclude("live quality", claims(tallies))


def simulated_tallies(seeds: Iterable[int]) -> dict[str, Tally]:
    """Every row of the table on traffic that is drawn anew for each seed."""
    tallies = {name: Tally() for name in ROWS}
    for seed in seeds:
        for honesty in (1.0, 0.7):
            traffic = make_traffic(N_PRODUCTS, N_CLASSES, rng=np.random.default_rng(seed), honesty=honesty)
            for name, (serve, own) in ROWS.items():
                if own == honesty:
                    answered = serve(traffic, seed.to_bytes(4, "little"))
                    tallies[name].add(live_quality([answered], n_classes=N_CLASSES), traffic)
    return tallies


def real_tallies(stream: Stream, seeds: Iterable[int]) -> dict[str, Tally]:
    """Annotators who err and who do not, on samples of a real stream."""
    tallies = {name: Tally() for name in REAL_ROWS}
    for seed in seeds:
        traffic = stream.sample(N_PRODUCTS, rng=np.random.default_rng(seed))
        for name, serve in REAL_ROWS.items():
            answered = serve(traffic, seed.to_bytes(4, "little"))
            tallies[name].add(live_quality([answered], n_classes=stream.n_classes), traffic)
    return tallies


def claims(tallies: dict[str, Tally]) -> list[Claim]:
    """What live quality promises of the rows, and that the controls miss it."""
    found = []
    for name, tally in tallies.items():
        if name.startswith("prefix"):
            continue  # 1,250 answers: shown, but promised of 2,000
        is_control = name.split(",")[0].isupper()
        covered = [float(np.mean(tally.hits[rate])) for rate in ("precision", "recall")]
        errors = [float(np.mean(tally.errors[rate])) for rate in ("precision", "recall")]
        keeps = min(covered) >= 0.92 and max(covered) <= 0.98 and errors[0] <= 0.03 and errors[1] <= 0.04
        sentence = "covers 92 to 98 % per class, macro errors at most .03 and .04"
        facts = f"{covered[0]:.3f}, {covered[1]:.3f}; {errors[0]:.3f}, {errors[1]:.3f}"
        found.append(Claim(f"{name}: {'does not hold: ' if is_control else ''}{sentence}", facts, keeps != is_control))
    return found


def _print(tallies: dict[str, Tally], n_seeds: int) -> None:
    table = Table(title=f"{n_seeds} seeds, classes with {ENOUGH} positives or more, intervals of 95 %")
    table.add_column("")
    for rate in ("precision", "recall"):
        table.add_column(f"{rate}\ncovered", justify="right")
        table.add_column("median\nwidth", justify="right")
        table.add_column("macro\nerror", justify="right")
        table.add_column("macro\ncovered", justify="right")
    table.add_column("self-check\nalarms", justify="right")
    for name, tally in tallies.items():
        table.add_row(name, *tally.cells())
    Console(width=140).print(table)


if __name__ == "__main__":
    sys.exit(main())
