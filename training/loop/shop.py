"""The shop that a loop plays with: a catalogue's stream cut into rounds, and those who know its truth.

What is done in a round is left to `training.loop.rounds`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import CatalogueError
from training.catalogues.catalogue import Catalogue, Labels
from training.catalogues.tables import count_rows
from training.loop.newcomers import rounds_with
from training.loop.simulate import Annotators

LEAST_PRODUCTS = 2  # of a round, as the service seals no shorter cohort


@dataclass(frozen=True)
class Slice:
    """The part of the stream that one round sends."""

    records: list[dict[str, Any]]
    ids: list[str]
    truth: Labels
    is_newcomer: NDArray[np.bool_]


@dataclass(frozen=True)
class Shop:
    """What the loop plays with: the stream cut into rounds, and those who know its truth."""

    slices: list[Slice]
    annotators: Annotators


def check_playable(catalogue: Catalogue, *, n_rounds: int) -> None:
    """Refuse a catalogue that the loop could not work with, before anything is trained on it.

    Raises
    ------
    CatalogueError
        If a part, or the labels of it that are needed, is missing, or the stream is too short.
    """
    catalogue.check_filled("train", "merchant_labels")
    catalogue.check_filled("test", "truth")
    catalogue.check_filled("stream", "truth")  # by which annotators are simulated
    if count_rows(catalogue.path("stream")) < LEAST_PRODUCTS * n_rounds:
        raise CatalogueError(
            f"[stream] of {catalogue.name} has fewer than {LEAST_PRODUCTS} products a round; ask for fewer --rounds"
        )


def open_shop(catalogue: Catalogue, *, n_rounds: int, unseen_class: str | None, error_rate: float, seed: int) -> Shop:
    """Read the stream, and cut it into rounds.

    Parameters
    ----------
    unseen_class : whose products appear from the second round on
    error_rate : share of the annotators' answers that are wrong

    Raises
    ------
    CatalogueError
        If the stream has no product or no truth.
    """
    part = catalogue.read_filled("stream")
    if part.truth is None:
        raise CatalogueError("the loop needs the truth of the stream, to simulate annotators by it")
    ids = [product.product_id for product in part.products]
    classes, records = catalogue.taxonomy.classes, list(catalogue.records("stream"))
    is_newcomer = np.zeros(len(ids), dtype=np.bool_)
    if unseen_class is not None:
        is_newcomer = part.truth[:, classes.index(unseen_class)] == 1
    rows = rounds_with(is_newcomer, n_rounds=n_rounds, rng=np.random.default_rng(seed))
    return Shop(
        slices=[
            Slice(
                [records[row] for row in own.tolist()],
                [ids[row] for row in own.tolist()],
                part.truth[own],
                is_newcomer[own],
            )
            for own in rows
        ],
        annotators=Annotators(ids, part.truth, classes=classes, error_rate=error_rate, seed=seed),
    )
