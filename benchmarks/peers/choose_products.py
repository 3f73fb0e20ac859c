"""Which products other people's active learning would label next; runs in an environment that has their packages.

Run by `benchmarks.label_peers`. A line of JSON in names a file of arrays, a strategy and a number; a line out the rows.
The strategies are the packages' own code; the models whose probabilities they read are ours, the same for all.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Round:
    """What a strategy may look at.

    Parameters
    ----------
    probabilities : (n, n_classes)
    features : (n, n_dimensions), dense
    labelled : (n,), True where the product has been asked about
    answers : (n, n_classes), 1 or 0 where labelled
    """

    probabilities: Floats
    features: Floats
    labelled: NDArray[np.bool_]
    answers: Rows
    n_drawn: int

    @property
    def fresh(self) -> Rows:
        """Rows that may be drawn."""
        return np.flatnonzero(~self.labelled)


class Known:
    """A fitted classifier whose answers are known; its features are row numbers."""

    def __init__(self, one: Round, *, sparse: bool) -> None:
        self._round = one
        self._sparse = sparse

    def predict_proba(self, rows: Any) -> Floats:
        """Probabilities of the rows, (n, n_classes)."""
        return np.asarray(self._round.probabilities[np.asarray(rows).ravel()])

    def predict(self, rows: Any) -> Any:
        """The yes/no answers."""
        says = (self.predict_proba(rows) >= 0.5).astype(np.int64)
        return csr_matrix(says) if self._sparse else says


def modal(name: str) -> Callable[[Round], Rows]:
    """A multi-label strategy of modAL (Danka, Horvath 2018, arXiv:1805.00979)."""

    def draw(one: Round) -> Rows:
        strategy = getattr(importlib.import_module("modAL.multilabel"), name)
        chosen = strategy(Known(one, sparse=False), one.fresh[:, None], n_instances=one.n_drawn)
        rows = chosen[0] if isinstance(chosen, tuple) else chosen
        return np.asarray(one.fresh[np.asarray(rows).ravel()])

    return draw


def activeml(name: str) -> Callable[[Round], Rows]:
    """A strategy of scikit-activeml (Kottke et al. 2021) that spreads its choice over the features."""

    def draw(one: Round) -> Rows:
        strategy = getattr(importlib.import_module("skactiveml.pool"), name)(random_state=0)
        labels = np.where(one.labelled, 0.0, np.nan)
        return np.asarray(strategy.query(X=one.features, y=labels, batch_size=one.n_drawn))

    return draw


def small_text(name: str) -> Callable[[Round], Rows]:
    """A multi-label strategy of small-text (Schröder et al. 2023, arXiv:2107.10314)."""

    def draw(one: Round) -> Rows:
        strategy = getattr(importlib.import_module("small_text"), name)()
        told = np.flatnonzero(one.labelled)
        rows = np.arange(len(one.labelled))[:, None]
        answers = csr_matrix(one.answers[told])
        return np.asarray(strategy.query(Known(one, sparse=True), rows, one.fresh, told, answers, n=one.n_drawn))

    return draw


STRATEGIES = {
    "modAL avg_confidence": modal("avg_confidence"),
    "modAL max_score": modal("max_score"),
    "scikit-activeml CoreSet": activeml("CoreSet"),
    "scikit-activeml TypiClust": activeml("TypiClust"),
    "small-text CVIRS": small_text("CategoryVectorInconsistencyAndRanking"),
}


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        with np.load(order["file"]) as stored:
            one = Round(n_drawn=order["n_drawn"], **{name: stored[name] for name in stored.files})
        try:
            with redirect_stdout(sys.stderr):
                answer: dict[str, Any] = {"rows": STRATEGIES[order["strategy"]](one).tolist()}
        except Exception as error:  # noqa: BLE001  whatever their code raises is a result
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
