"""What the ensemble adds to its best member, and what each of its parts adds to it: macro average precision on test.

Run: python -m benchmarks.committee CATALOGUE train [--labels merchant] [--own] [--variant shipped] [--seeds 0 1 2]
     python -m benchmarks.committee CATALOGUE report

Every training is kept under `--keep`; what is there is not trained again, so a study can be stopped and gone on with.
Nothing is chosen on the test part: it is classified once by each bundle.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.committee_runs import VARIANTS, Run, Setting, read_runs, run
from training.catalogues.catalogue import Labels, open_catalogue
from training.evaluate import MIN_POSITIVES_FOR_CALIBRATION, expected_calibration_error
from training.platt import logit

N_RARE = 12
N_RESAMPLES = 1_000
Probabilities = NDArray[np.floating]
Groups = dict[str, NDArray[np.int64]]  # name -> class indices


def class_groups(truth: Labels) -> Groups:
    """All classes, those whose truth is known for all products, those where it is not, and the rarest."""
    known, positives = (truth >= 0).mean(axis=0), (truth == 1).sum(axis=0)
    rates = positives / np.maximum((truth >= 0).sum(axis=0), 1)
    have = np.flatnonzero(positives)
    return {
        "all": have,
        "always known": have[known[have] == 1],
        "partly known": have[known[have] < 1],
        f"{N_RARE} rarest": have[np.argsort(rates[have], kind="stable")[:N_RARE]],
    }


class Precisions:
    """Average precision of each class, for the products or for a resample of them.

    Parameters
    ----------
    probabilities, truth : (n_products, n_classes)
    """

    def __init__(self, probabilities: Probabilities, truth: Labels) -> None:
        self._classes = []
        for column, targets in zip(probabilities.T, truth.T, strict=True):
            known = np.flatnonzero(targets >= 0)
            order = known[np.argsort(-column[known], kind="stable")]
            self._classes.append((order, targets[order] == 1))

    def __call__(self, counts: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Per class; not a number where there is no positive.

        Parameters
        ----------
        counts : how often each product is in the resample
        """
        found = np.full(len(self._classes), np.nan)
        for index, (order, positive) in enumerate(self._classes):
            weight = np.ones(len(order)) if counts is None else counts[order].astype(np.float64)
            hits = weight * positive
            if hits.sum():
                precision = np.cumsum(hits) / np.maximum(np.cumsum(weight), 1e-12)
                found[index] = (hits * precision).sum() / hits.sum()
        return found


def paired_bootstrap(better: Probabilities, worse: Probabilities, truth: Labels) -> tuple[float, float]:
    """Difference of macro average precision, and the share of resamples of products in which it is not positive."""
    rng = np.random.default_rng(0)
    one, other = Precisions(better, truth), Precisions(worse, truth)
    n_products = len(truth)
    differences = []
    for _ in range(N_RESAMPLES):
        counts = np.bincount(rng.integers(0, n_products, n_products), minlength=n_products)
        differences.append(np.nanmean(one(counts) - other(counts)))
    return float(np.mean(one() - other())), float(np.mean(np.asarray(differences) <= 0))


def main() -> None:
    """Train what is missing, or print the tables of what is there."""
    arguments = _arguments()
    if arguments.what == "train":
        for setting in _settings(arguments):
            if not (arguments.keep / f"{setting.name}.npz").exists():
                run(open_catalogue(arguments.catalogue), setting, keep=arguments.keep)
                Console().print(f"{setting.name}: done")
        return
    runs = read_runs(arguments.keep)
    console = Console(width=150)
    for table in (_scores(runs), _against_best(runs), _joined(runs), _missing(runs), _calibration(runs)):
        console.print(table)


def _settings(arguments: argparse.Namespace) -> Iterator[Setting]:
    for seed in arguments.seeds:
        yield Setting(arguments.labels, not arguments.own, arguments.variant, arguments.products, seed)


def _grouped(runs: Sequence[Run]) -> dict[tuple[str, ...], list[Run]]:
    """Runs that differ in their seed alone."""
    groups: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for one in runs:
        setting = one.setting
        images = "pretrained" if setting.pretrained else "own network"
        groups[setting.labels, images, str(setting.n_products or "all"), setting.variant].append(one)
    return dict(sorted(groups.items()))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < 4 else "right")
    return table


def _scores(runs: Sequence[Run]) -> Table:
    names = list(class_groups(runs[0].truth))
    table = _table(
        "Macro average precision on test, mean ± sd",
        "labels",
        "images",
        "products",
        "variant",
        *names,
        "seeds",
        "CPU s",
    )
    for key, same in _grouped(runs).items():
        cells = [
            spread([macro(one.probabilities, one.truth, indices) for one in same])
            for indices in class_groups(same[0].truth).values()
        ]
        table.add_row(*key, *cells, str(len(same)), f"{np.mean([one.cpu_seconds['training'] for one in same]):.0f}")
    return table


def _against_best(runs: Sequence[Run]) -> Table:
    table = _table("The ensemble against its best member", "labels", "images", "seed", "member", "gain", "p")
    for one in runs:
        if one.setting.variant == "shipped" and not one.setting.n_products:
            scores = [macro(one.members[:, index], one.truth) for index in range(len(one.names))]
            best = int(np.argmax(scores))
            gain, p_value = paired_bootstrap(one.probabilities, one.members[:, best], one.truth)
            images = "pretrained" if one.setting.pretrained else "own network"
            cells = (one.setting.labels, images, str(one.setting.seed), f"{one.names[best]} {scores[best]:.4f}")
            table.add_row(*cells, f"{gain:+.4f}", f"{p_value:.3f}")
    return table


def _joined(runs: Sequence[Run]) -> Table:
    """How the members are joined; and each of them alone."""
    members = list(dict.fromkeys(name for one in runs for name in one.names))
    ways = ["stacked", "mean probability", "mean logit", *members]
    table = _table("Ways to join the members, and each alone", "labels", "images", "products", "variant", *ways)
    for key, same in _grouped(runs).items():
        if key[3] != "shipped":
            continue
        cells = []
        for way in ways:
            values = [macro(said, one.truth) for one in same if (said := _way(one, way)) is not None]
            cells.append(f"{np.mean(values):.3f}" if values else "–")
        table.add_row(*key, *cells)
    return table


def _way(one: Run, way: str) -> Probabilities | None:
    if way == "stacked":
        return one.probabilities
    if way == "mean probability":
        return np.asarray(np.nanmean(one.members, axis=1))
    if way == "mean logit":
        return np.asarray(np.nanmean(logit(one.members), axis=1))
    return one.members[:, one.names.index(way)] if way in one.names else None


def _missing(runs: Sequence[Run]) -> Table:
    table = _table(
        "Parts missing at prediction time", "labels", "images", "seed", "missing", "ensemble", "best member left", "AP"
    )
    for one in runs:
        for part, (said, members) in one.missing.items():
            truth = one.truth[: len(said)]
            left = {
                name: macro(_filled(members[:, index]), truth)
                for index, name in enumerate(one.names)
                if not np.isnan(members[:, index]).all()
            }
            filled = {name: value for name, value in left.items() if not np.isnan(value)}
            best = max(filled, key=filled.__getitem__)
            images = "pretrained" if one.setting.pretrained else "own network"
            cells = (one.setting.labels, images, str(one.setting.seed), part)
            table.add_row(*cells, f"{macro(said, truth):.3f}", best, f"{filled[best]:.3f}")
    return table


def _filled(said: Probabilities) -> Probabilities:
    """A member's probabilities, where it abstains their mean."""
    return np.where(np.isnan(said), np.nanmean(said, axis=0), said)


def _calibration(runs: Sequence[Run]) -> Table:
    table = _table(
        f"Expected calibration error over classes with at least {MIN_POSITIVES_FOR_CALIBRATION} positives",
        "labels", "images", "products", "variant", "mean", "worst class",
    )  # fmt: skip
    for key, same in _grouped(runs).items():
        errors = [_calibration_errors(one) for one in same]
        if all(errors):
            table.add_row(*key, spread([float(np.mean(one)) for one in errors]), f"{max(map(max, errors)):.3f}")
    return table


def _calibration_errors(one: Run) -> list[float]:
    errors = []
    for probabilities, targets in zip(one.probabilities.T, one.truth.T, strict=True):
        if (targets == 1).sum() >= MIN_POSITIVES_FOR_CALIBRATION:
            known = targets >= 0
            errors.append(expected_calibration_error(probabilities[known].astype(np.float64), targets[known] == 1))
    return errors


def macro(probabilities: Probabilities, truth: Labels, indices: NDArray[np.int64] | None = None) -> float:
    """Macro average precision over the classes that have a positive."""
    values = Precisions(probabilities, truth)()
    chosen = values if indices is None else values[indices]
    return float(np.nanmean(chosen)) if np.isfinite(chosen).any() else float("nan")


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation, or the one value."""
    return f"{np.mean(values):.4f}" + (f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("what", choices=["train", "report"])
    parser.add_argument("--keep", type=Path, default=Path("studies/committee"), help="where trainings are kept")
    parser.add_argument("--labels", choices=["merchant", "truth"], default="merchant")
    parser.add_argument("--own", action="store_true", help="images seen by a network trained here")
    parser.add_argument("--variant", choices=list(VARIANTS), default="shipped")
    parser.add_argument("--products", type=int, default=0, help="train on a sample of so many")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    return parser.parse_args()


if __name__ == "__main__":
    main()
