"""A change in the world, for `winnow loop`: products of a class that no training has seen appear in the stream.

Holding them back and measuring what becomes of them are here; sending and labelling are left to `training.loop.rounds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from service.errors import CatalogueError
from training.catalogues.catalogue import Catalogue, Labels, Part
from training.catalogues.catalogue_file import PartName
from training.loop.simulate import Traffic

FIRST_ROUND = 2  # in which they appear: one round before shows what is usual


@dataclass(frozen=True)
class Newcomers:
    """What became of them in one round; "others" are all other products of its traffic.

    Parameters
    ----------
    share_of_traffic, share_of_queue : of the products sent, and of those that annotators opened; None if there was none
    uncertainty, disagreement : mean over them, in bits; None in a round without any
    drift : greatest stability index of each kind at the end of the traffic
    test_error_rate, others_test_error_rate : share of wrong yes/no answers of the bundle served at the end of the round
    test_ap : average precision of their class
    """

    class_name: str
    share_of_traffic: float
    share_of_queue: float | None
    uncertainty: float | None
    others_uncertainty: float
    disagreement: float | None
    others_disagreement: float
    drift: dict[str, float]
    test_error_rate: float
    others_test_error_rate: float
    test_ap: float

    @property
    def lift(self) -> float | None:
        """How many times more often than by chance they reached the queue."""
        if self.share_of_queue is None or self.share_of_traffic == 0.0:
            return None
        return self.share_of_queue / self.share_of_traffic


@dataclass(frozen=True)
class _WithoutClass(Catalogue):
    """A catalogue whose train part knows no product of a class, by its truth where there is one, else its merchants."""

    class_name: str = ""

    def read(self, part: PartName) -> Part:
        whole = super().read(part)
        if part != "train":
            return whole
        labels = [known for known in (whole.truth, whole.merchant_labels) if known is not None]
        column = self.taxonomy.classes.index(self.class_name)
        kept = np.flatnonzero(np.all([known[:, column] != 1 for known in labels], axis=0))
        return replace(
            whole,
            products=[whole.products[row] for row in kept],
            merchant_labels=None if whole.merchant_labels is None else whole.merchant_labels[kept],
            truth=None if whole.truth is None else whole.truth[kept],
        )


def without_class(catalogue: Catalogue, class_name: str) -> Catalogue:
    """The catalogue as if nobody had sold such products before.

    Raises
    ------
    CatalogueError
        If there is no such class.
    """
    if class_name not in catalogue.taxonomy.classes:
        known = ", ".join(catalogue.taxonomy.classes)
        raise CatalogueError(f"{catalogue.name} has no class {class_name!r}; it has {known}")
    try:
        known_truth = catalogue.with_truth("train")
    except CatalogueError:  # then what the merchants say has to do
        known_truth = catalogue
    own = {one.name: getattr(known_truth, one.name) for one in fields(Catalogue)}
    return _WithoutClass(**own, class_name=class_name)


def rounds_with(is_newcomer: NDArray[np.bool_], *, n_rounds: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Rows of each round, equally many, with newcomers from `FIRST_ROUND` on, spread evenly."""
    order = rng.permutation(len(is_newcomer))
    size = len(order) // n_rounds
    late = max(n_rounds - FIRST_ROUND + 1, 1)
    newcomers, others = order[is_newcomer[order]], list(order[~is_newcomer[order]])
    shares = np.array_split(newcomers[: size * late], late)
    rows = []
    for number in range(1, n_rounds + 1):
        own = shares[number - FIRST_ROUND] if number >= FIRST_ROUND or n_rounds == 1 else newcomers[:0]
        taken, others = others[: size - len(own)], others[size - len(own) :]
        rows.append(rng.permutation(np.concatenate([own, np.asarray(taken, dtype=np.int64)])))
    least = min(map(len, rows))  # a cohort is sealed by the number of its products
    return [own[:least] for own in rows]


def measured(
    class_name: str,
    is_newcomer: NDArray[np.bool_],
    traffic: Traffic,
    *,
    ids: Sequence[str],
    opened: Sequence[str],
    drift: dict[str, float],
    test: TestAnswers,
) -> Newcomers:
    """What became of the newcomers of one round.

    Parameters
    ----------
    is_newcomer : (n_products,), of the round's traffic, whose products have the `ids`
    opened : ids of the products that annotators opened
    """
    new = {product_id for product_id, one in zip(ids, is_newcomer, strict=True) if one}
    return Newcomers(
        class_name=class_name,
        share_of_traffic=float(is_newcomer.mean()),
        share_of_queue=sum(one in new for one in opened) / len(opened) if opened else None,
        uncertainty=_mean(traffic.uncertainty[is_newcomer]),
        others_uncertainty=_mean(traffic.uncertainty[~is_newcomer]) or 0.0,
        disagreement=_mean(traffic.disagreement[is_newcomer]),
        others_disagreement=_mean(traffic.disagreement[~is_newcomer]) or 0.0,
        drift=drift,
        test_error_rate=test.error_rate(newcomers=True),
        others_test_error_rate=test.error_rate(newcomers=False),
        test_ap=test.average_precision,
    )


@dataclass(frozen=True)
class TestAnswers:
    """What a bundle says of the test part; arrays (n_products, n_classes).

    Parameters
    ----------
    column : of the newcomers' class
    average_precision : of that class
    """

    positive: NDArray[np.bool_]
    truth: Labels
    column: int
    average_precision: float

    def error_rate(self, *, newcomers: bool) -> float:
        """Share of wrong yes/no answers about newcomers, or about all others."""
        rows = (self.truth[:, self.column] == 1) == newcomers
        known = self.truth[rows] >= 0
        wrong = self.positive[rows] != (self.truth[rows] == 1)
        return float(wrong[known].mean()) if known.any() else 0.0


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
