"""Scoring a chunk of a catalogue in a process of its own: check, encode, classify, weigh.

Handing out chunks and collecting what comes of them is left to `training.scoring.score_run` and
`training.scoring.pool`.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.acquisition.scores import ScoreMeans, Scores, prospect, question_weights, score, summary
from service.bundles.bundle import read_bundle
from service.contracts import Predictions
from service.ensemble import Ensemble
from service.errors import UnreadableImage
from service.features.batch_encoder import BatchEncoder
from service.features.image import decode_image
from training.catalogues.catalogue import Catalogue
from training.catalogues.tables import Cells
from training.scoring.scored_table import ScoredRows, write_rows

BATCH_SIZE = 128  # more than the service runs at once: nobody waits for one of them

Result = TypeVar("Result")
Record = dict[str, Any]


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a part's product table, as they were read.

    Parameters
    ----------
    number : of the chunk, from 0
    first_row : from 1
    columns : cells by column
    """

    number: int
    first_row: int
    columns: dict[str, Cells]

    @property
    def n_rows(self) -> int:
        """How many rows it has."""
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True)
class ScoredChunk:
    """A chunk with what is said of its products, in the order of the rows."""

    records: list[Record]
    predictions: Predictions
    scores: Scores


class Scorer:
    """One bundle, and the catalogue whose chunks it scores.

    Parameters
    ----------
    directory : of the bundle
    """

    def __init__(self, directory: Path, catalogue: Catalogue, part: str) -> None:
        bundle = read_bundle(directory)
        self.manifest = bundle.manifest
        self.catalogue = catalogue
        self._part = part
        self._encoder = BatchEncoder(bundle.manifest.fields, bundle.encoding)
        self._image_size = bundle.encoding.image_size
        self._ensemble = Ensemble(bundle)
        self._thresholds = np.asarray(bundle.manifest.thresholds)
        self._member_weights = np.asarray([member.weights for member in bundle.manifest.members])

    def score(self, chunk: Chunk) -> ScoredChunk:
        """Check the cells of a chunk and say what there is to say.

        Raises
        ------
        CatalogueError
            If a cell is not what its column should hold.
        """
        records = self.catalogue.checked(self._part, chunk.columns, first_row=chunk.first_row)  # type: ignore[arg-type]
        batch = self._encoder.encode(records, [self._image(record) for record in records])
        predictions = self._ensemble.predict_by_length(batch, BATCH_SIZE)
        scores = score(
            probabilities=predictions.probabilities,
            member_probabilities=predictions.member_probabilities,
            present=predictions.present,
            thresholds=self._thresholds,
            member_weights=self._member_weights,
        )
        return ScoredChunk(records, predictions, scores)

    def rows(self, chunk: Chunk) -> ScoredRows:
        """Score a chunk, as it goes into a file; the weight is that under the means of the training."""
        scored = self.score(chunk)
        predictions, scores = scored.predictions, scored.scores
        weights = question_weights(
            scores, prospect(predictions.probabilities), means=ScoreMeans.from_priors(self.manifest.priors)
        )
        return ScoredRows(
            ids=[str(record[self.manifest.fields.id]) for record in scored.records],
            probabilities=predictions.probabilities,
            positive=predictions.probabilities >= self._thresholds,
            uncertainty=summary(scores.uncertainty),
            disagreement=summary(scores.disagreement),
            weight=weights.weights.sum(axis=1),
            present=predictions.present,
        )

    def _image(self, record: Record) -> NDArray[np.uint8] | None:
        column = self.manifest.fields.image
        content = record[column] if column else None
        if content is None:
            return None
        try:
            return decode_image(content, self._image_size)
        except UnreadableImage:
            return None


def postable(record: Record, image_field: str | None) -> Record:
    """A record as a backend posts it: the image in base64."""
    content = record.get(image_field) if image_field else None
    return record if content is None else {**record, str(image_field): base64.b64encode(content).decode("ascii")}


# A worker process has one scorer; it is made once, by `start_worker`, and used by the functions below.
_worker: list[Scorer] = []


def start_worker(directory: Path, catalogue: Catalogue, part: str) -> None:
    """Make the scorer of this process, which ends when the process that started it does, however that ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker[:] = [Scorer(directory, catalogue, part)]


def write_scores(chunk: Chunk, path: Path) -> int:
    """Score a chunk in a worker, write its rows to a file, and return how many there are."""
    (scorer,) = _worker
    manifest = scorer.manifest
    members = [member.name for member in manifest.members]
    rows = scorer.rows(chunk)
    write_rows(path, rows, id_field=manifest.fields.id, classes=manifest.taxonomy.classes, members=members)
    return len(rows.ids)


def scored(chunk: Chunk) -> ScoredChunk:
    """Score a chunk in a worker; its records come as a backend posts them."""
    (scorer,) = _worker
    found = scorer.score(chunk)
    image = scorer.manifest.fields.image
    return ScoredChunk([postable(record, image) for record in found.records], found.predictions, found.scores)


def _end_with_parent(end: Callable[[int], Any] = os._exit) -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        end(1)
