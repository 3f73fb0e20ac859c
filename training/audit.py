"""Finds the merchant labels that are most likely wrong, by models that were trained without the product.

How a label becomes a weight in training is left to `training.noise`; here the same trust says what to look at first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import CatalogueError
from training.catalogues.catalogue import Catalogue, Labels
from training.catalogues.merchants import merchants_of
from training.fit import prepare_part
from training.folds import merchant_folds
from training.held_out import believed
from training.noise import label_trust
from training.platt import fit_platt, logit
from training.progress import Progress
from training.weights import mask

SUSPECT = 0.5  # a yes that models believe less than the class's prior, a no that they believe less than a yes
PRECISION_AT = (100, 500, 1_000, 5_000, 10_000)


@dataclass(frozen=True)
class Claims:
    """How the labels of one merchant, or of all, fare in one class."""

    merchant: str
    class_name: str
    n_labels: int
    n_suspect: int
    n_suspect_yes: int  # of those, a yes that should be a no

    @property
    def share(self) -> float:
        """Of the labels that are suspect."""
        return self.n_suspect / self.n_labels


@dataclass(frozen=True)
class Audit:
    """Every merchant label with what models that never saw it believe.

    Parameters
    ----------
    merchants : per product
    labels, truth : (n_products, n_classes)
    probabilities : (n_products, n_classes), out of fold
    trust : (n_products, n_classes), in the label, in [0.02, 1]; 0 where there is none
    """

    catalogue: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    merchants: tuple[str, ...]
    labels: Labels
    truth: Labels | None
    probabilities: NDArray[np.float64]
    trust: NDArray[np.float32]

    def ranked(self, limit: int) -> list[tuple[int, int]]:
        """Product and class numbers of the labels least trusted, the least first."""
        order = np.argsort(np.where(self.labels >= 0, self.trust, np.inf), axis=None, kind="stable")
        n_labels = int((self.labels >= 0).sum())
        rows, columns = np.unravel_index(order[: min(limit, n_labels)], self.labels.shape)
        return list(zip(rows.tolist(), columns.tolist(), strict=True))

    def table(self, limit: int) -> dict[str, list[Any]]:
        """Columns of the list: one row a label, the least trusted first; the truth where it is known."""
        places = self.ranked(limit)
        columns: dict[str, list[Any]] = {
            "product_id": [self.ids[row] for row, _ in places],
            "merchant": [self.merchants[row] for row, _ in places],
            "class": [self.classes[column] for _, column in places],
            "label": [int(self.labels[place]) for place in places],
            "probability": [round(float(self.probabilities[place]), 5) for place in places],
            "trust": [round(float(self.trust[place]), 5) for place in places],
        }
        if self.truth is not None:
            known = [int(self.truth[place]) for place in places]
            columns["truth"] = [answer if answer >= 0 else None for answer in known]
        return columns

    def precision_at(self) -> dict[int, float]:
        """Share of wrong labels among the k least trusted whose truth is known; empty without a truth."""
        if self.truth is None:
            return {}
        judged = [place for place in self.ranked(self.labels.size) if self.truth[place] >= 0]
        wrong = np.array([self.truth[place] != self.labels[place] for place in judged], dtype=np.float64)
        return {k: float(wrong[:k].mean()) for k in PRECISION_AT if k <= len(wrong)}

    def share_wrong(self) -> float | None:
        """Share of all labels that are wrong, which is what a list in random order would find."""
        if self.truth is None:
            return None
        judged = (self.labels >= 0) & (self.truth >= 0)
        return float((self.labels != self.truth)[judged].mean()) if judged.any() else None

    def by_merchant(self) -> list[Claims]:
        """Every merchant and class with a suspect label, the most suspect first."""
        names = np.array(self.merchants)
        found = [
            _claims(self, merchant, np.flatnonzero(names == merchant), column)
            for merchant in sorted(set(self.merchants))
            for column in range(len(self.classes))
        ]
        return sorted((one for one in found if one.n_suspect), key=lambda one: (-one.n_suspect, -one.share))

    def to_json(self, limit: int) -> dict[str, Any]:
        """Everything by name."""
        table = self.table(limit)
        return {
            "catalogue": self.catalogue,
            "n_labels": int((self.labels >= 0).sum()),
            "n_suspect": int(self._suspect().sum()),
            "share_wrong": self.share_wrong(),
            "precision_at": {str(k): round(value, 4) for k, value in self.precision_at().items()},
            "by_merchant": [
                {"merchant": one.merchant, "class": one.class_name, "n_labels": one.n_labels,
                 "n_suspect": one.n_suspect, "n_suspect_yes": one.n_suspect_yes, "share": round(one.share, 4)}
                for one in self.by_merchant()
            ],
            "labels": [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)],
        }  # fmt: skip

    def _suspect(self) -> NDArray[np.bool_]:
        return (self.labels >= 0) & (self.trust < SUSPECT)


def audit(catalogue: Catalogue, *, n_folds: int, seed: int, progress: Progress) -> Audit:
    """Cross-validate linear members, and say of every merchant label how far to trust it.

    Raises
    ------
    CatalogueError
        If the train part has no merchant labels, or nothing but images to tell by.
    """
    part = catalogue.read_filled("train")
    if part.merchant_labels is None:
        raise CatalogueError(f"{catalogue.name}: the train part has no merchant_labels table; name one in [train]")
    labels = part.merchant_labels
    data = prepare_part(catalogue, part.products, images=None, report=partial(progress, "encode products"))
    if not data.designs and not data.has_table:
        raise CatalogueError(
            f"{catalogue.name}: labels are audited by text, categories and numbers; it has images only"
        )
    merchants = merchants_of(catalogue.fields, part.products)
    weights, folds = mask(labels), merchant_folds(merchants, part.products, n_folds=n_folds, seed=seed)
    said = logit(believed(data, labels, weights, folds, report=partial(progress, "cross-validate")))
    probabilities = fit_platt(said, labels == 1, weights)(said)
    return Audit(
        catalogue=catalogue.name,
        classes=catalogue.taxonomy.classes,
        ids=tuple(product.product_id for product in part.products),
        merchants=tuple(merchants),
        labels=labels,
        truth=part.truth,
        probabilities=probabilities,
        trust=label_trust(labels, probabilities),
    )


def _claims(found: Audit, merchant: str, rows: NDArray[np.int64], column: int) -> Claims:
    labels, trust = found.labels[rows, column], found.trust[rows, column]
    suspect = (labels >= 0) & (trust < SUSPECT)
    return Claims(
        merchant=merchant,
        class_name=found.classes[column],
        n_labels=int((labels >= 0).sum()),
        n_suspect=int(suspect.sum()),
        n_suspect_yes=int((suspect & (labels == 1)).sum()),
    )
