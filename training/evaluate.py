"""How good probabilities are against known targets: ranking, decisions and calibration, per class and in the mean.

Pure arithmetic; running a bundle over products is left to `training.predict`, showing the result to `training.report`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

N_CALIBRATION_BINS = 15
N_RELIABILITY_BINS = 10
MIN_POSITIVES_FOR_CALIBRATION = 100  # with fewer, the error of a bin is mostly chance


@dataclass(frozen=True)
class Scores:
    """One model's scores on one set of targets; arrays are per class, NaN where the targets cannot tell.

    Parameters
    ----------
    average_precision, f1, brier, calibration_error : (n_classes,), in [0, 1]
    """

    average_precision: NDArray[np.float64]
    f1: NDArray[np.float64]
    brier: NDArray[np.float64]
    calibration_error: NDArray[np.float64]
    n_positives: NDArray[np.int64]
    n_known: NDArray[np.int64]

    @property
    def macro_ap(self) -> float:
        """Mean average precision over the classes that have a known positive."""
        return _mean(self.average_precision)

    @property
    def rare_quarter_ap(self) -> float:
        """Mean average precision over the quarter of the classes with the lowest positive rate."""
        return _mean(self.average_precision[rare_quarter(self.n_positives, self.n_known)])

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the yes/no answers over the classes that have a known positive."""
        return _mean(self.f1)

    @property
    def mean_brier(self) -> float:
        """Mean squared error of the probabilities, over classes."""
        return _mean(self.brier)

    @property
    def mean_calibration_error(self) -> float:
        """Mean expected calibration error over the classes with at least 100 known positives (all, if none has)."""
        enough = self.n_positives >= MIN_POSITIVES_FOR_CALIBRATION
        return _mean(self.calibration_error[enough] if enough.any() else self.calibration_error)

    def summary(self) -> dict[str, float | None]:
        """The means by name, as `winnow evaluate --json` prints them; None where nothing could be measured."""
        means = {
            "macro_ap": self.macro_ap,
            "rare_quarter_ap": self.rare_quarter_ap,
            "macro_f1": self.macro_f1,
            "brier": self.mean_brier,
            "calibration_error": self.mean_calibration_error,
        }
        return {name: None if math.isnan(value) else round(value, 6) for name, value in means.items()}


@dataclass(frozen=True)
class Evaluation:
    """The ensemble's and every member's scores on one part of a catalogue."""

    model_version: str
    catalogue: str
    part: str
    targets: str  # "truth" or "merchant"
    classes: tuple[str, ...]
    n_products: int
    ensemble: Scores
    members: dict[str, Scores]

    def to_json(self) -> dict[str, Any]:
        """Everything by name: the means, and for the ensemble each class."""
        return {
            "model_version": self.model_version,
            "catalogue": self.catalogue,
            "part": self.part,
            "targets": self.targets,
            "n_products": self.n_products,
            "ensemble": self.ensemble.summary(),
            "members": {name: scores.summary() for name, scores in self.members.items()},
            "classes": {name: _of_class(self.ensemble, index) for index, name in enumerate(self.classes)},
        }


def score(probabilities: NDArray[np.floating[Any]], targets: NDArray[np.int8], thresholds: Sequence[float]) -> Scores:
    """Score probabilities against targets of which some are unknown.

    Parameters
    ----------
    probabilities : (n_products, n_classes), in [0, 1]
    targets : (n_products, n_classes), 1 yes, 0 no, -1 unknown (left out)
    thresholds : per class, positive where the probability is at least this
    """
    columns = [
        _score_class(probabilities[known, index].astype(np.float64), targets[known, index] == 1, thresholds[index])
        for index, known in enumerate((targets >= 0).T)
    ]
    average_precision, f1, brier, calibration_error = np.asarray(columns, dtype=np.float64).reshape(-1, 4).T
    n_positives, n_known = (targets == 1).sum(axis=0), (targets >= 0).sum(axis=0)
    return Scores(average_precision, f1, brier, calibration_error, n_positives, n_known)


def rare_quarter(n_positives: NDArray[np.int64], n_known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the quarter (at least one) of the classes with positives that have the lowest positive rate."""
    have = np.flatnonzero(n_positives)
    rates = n_positives[have] / n_known[have]
    return have[np.argsort(rates, kind="stable")[: max(1, len(have) // 4)]]


def expected_calibration_error(probabilities: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Mean distance between predicted and observed rate, over bins of equally many products, weighted by their number.

    Source: Naeini, Cooper, Hauskrecht 2015 (expected calibration error); equal-mass bins after Nguyen & O'Connor 2015.
    """
    order = np.argsort(probabilities, kind="stable")
    bins = np.array_split(order, min(N_CALIBRATION_BINS, len(order)))
    gaps = [len(rows) * abs(probabilities[rows].mean() - positive[rows].mean()) for rows in bins]
    return float(sum(gaps) / len(order))


def binned(probabilities: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> list[list[float]]:
    """Mean prediction, observed rate and number of answers in bins of equal width; empty bins are left out.

    Parameters
    ----------
    probabilities, positive : (n_answers,)
    """
    bins = np.minimum((probabilities * N_RELIABILITY_BINS).astype(int), N_RELIABILITY_BINS - 1)
    counts = np.bincount(bins, minlength=N_RELIABILITY_BINS)
    filled = counts > 0
    predicted = np.bincount(bins, weights=probabilities, minlength=N_RELIABILITY_BINS)[filled] / counts[filled]
    observed = np.bincount(bins, weights=positive, minlength=N_RELIABILITY_BINS)[filled] / counts[filled]
    return [np.round(predicted, 5).tolist(), np.round(observed, 5).tolist(), counts[filled].tolist()]


def _score_class(
    probabilities: NDArray[np.float64], positive: NDArray[np.bool_], threshold: float
) -> tuple[float, float, float, float]:
    if not positive.any():
        return (math.nan, math.nan, math.nan, math.nan)
    return (
        float(average_precision_score(positive, probabilities)),
        _f1(probabilities >= threshold, positive),
        float(np.mean((probabilities - positive) ** 2)),
        expected_calibration_error(probabilities, positive),
    )


def _f1(answers: NDArray[np.bool_], positive: NDArray[np.bool_]) -> float:
    return float(2 * (answers & positive).sum() / (answers.sum() + positive.sum()))


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _of_class(scores: Scores, index: int) -> dict[str, float | int | None]:
    names = ("average_precision", "f1", "brier", "calibration_error")
    values = {name: float(getattr(scores, name)[index]) for name in names}
    rounded = {name: None if math.isnan(value) else round(value, 6) for name, value in values.items()}
    return rounded | {"n_positives": int(scores.n_positives[index]), "n_known": int(scores.n_known[index])}
