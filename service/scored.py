"""What is said about a batch of products: the arrays, and each product's answer as it goes into JSON.

Made once a batch, where arithmetic and lists cost least a product. Putting answers together is left to
`service.api.classify_api`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.acquisition.scores import Scores, summary
from service.contracts import Predictions
from service.telemetry.traffic import Seen

DECIMALS = 7  # of a number in an answer: finer than the agreement of two processors


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """What is said about the products of one batch.

    Parameters
    ----------
    predictions : of the ensemble
    scores : per product and class, in bits
    positive : (n_products, n_classes), bool, probability at or above the class's threshold
    uncertainty, disagreement : (n_products,), in bits, each the highest of its classes, rounded
    answers : per product, what every answer says of it
    """

    predictions: Predictions
    scores: Scores
    positive: NDArray[np.bool_]
    uncertainty: NDArray[np.float64]
    disagreement: NDArray[np.float64]
    answers: Sequence[Mapping[str, Any]]

    def seen(self, records: Sequence[Mapping[str, Any]]) -> Seen:
        """What the traffic's numbers need of it, with some of the products as they came."""
        present = self.predictions.present
        probabilities = self.predictions.probabilities
        return Seen(probabilities, self.positive, self.uncertainty, self.disagreement, present, records)


@dataclass(frozen=True, slots=True)
class Scored:
    """Some products of a batch, one after the other: those from `start` up to, not including, `stop`."""

    batch: ScoredBatch
    start: int
    stop: int

    def rows(self, start: int, stop: int) -> Scored:
        """The part for the products from `start` up to, not including, `stop`, counted from here."""
        return Scored(self.batch, self.start + start, self.start + stop)

    @property
    def answers(self) -> Sequence[Mapping[str, Any]]:
        """Per product, what every answer says of it."""
        return self.batch.answers[self.start : self.stop]

    @property
    def predictions(self) -> Predictions:
        """Of the ensemble, for these products."""
        part, whole = slice(self.start, self.stop), self.batch.predictions
        return Predictions(
            probabilities=whole.probabilities[part],
            member_probabilities=whole.member_probabilities[part],
            present=whole.present[part],
            embedding=whole.embedding[part],
        )

    @property
    def scores(self) -> Scores:
        """Per product and class, for these products."""
        part, whole = slice(self.start, self.stop), self.batch.scores
        return Scores(whole.uncertainty[part], whole.disagreement[part], whole.doubt[part])


def scored_batch(
    predictions: Predictions,
    scores: Scores,
    *,
    thresholds: NDArray[np.float64],
    classes: Sequence[str],
    members: Sequence[str],
) -> ScoredBatch:
    """Put together what is said about a batch.

    Parameters
    ----------
    thresholds : (n_classes,)
    classes, members : names, in the order of the predictions
    """
    positive = predictions.probabilities >= thresholds
    uncertainty, disagreement = rounded(summary(scores.uncertainty)), rounded(summary(scores.disagreement))
    answers = [
        {
            "probabilities": dict(zip(classes, probabilities, strict=True)),
            "positive": list(compress(classes, is_positive)),
            "uncertainty": unsure,
            "disagreement": split,
            "abstained": list(compress(members, is_absent)),
        }
        for probabilities, is_positive, unsure, split, is_absent in zip(
            rounded(predictions.probabilities).tolist(),
            positive.tolist(),
            uncertainty.tolist(),
            disagreement.tolist(),
            (~predictions.present).tolist(),
            strict=True,
        )
    ]
    return ScoredBatch(predictions, scores, positive, uncertainty, disagreement, answers)


def rounded(values: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers as they are answered: short when written, and no less exact than they are."""
    exact: NDArray[np.float64] = values.astype(np.float64)
    return exact.round(DECIMALS)
