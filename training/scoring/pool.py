"""`winnow queue fill`: the questions most worth asking about a whole catalogue, as one cohort of the label queue.

The same draw as from traffic, with known probabilities; where the catalogue has merchant labels, a likely wrong one
counts as a likely positive does. Such a cohort says nothing of traffic: `service.quality.cohort_records` keeps it
apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.acquisition.cohort import SealedCohort
from service.acquisition.intake import AcquisitionRule, Intake, SealPolicy, ServedBundle
from service.bundles.bundle import read_manifest
from service.errors import CatalogueError
from service.label_queue.store import LabelQueue
from service.quality.cohort_records import POOL, new_cohort
from training.catalogues.catalogue import Catalogue, Labels
from training.catalogues.catalogue_file import PartName
from training.catalogues.tables import count_rows
from training.progress import Progress
from training.scoring.score_run import AHEAD, chunks, in_turn, workers
from training.scoring.scoring import scored

MOST_PRODUCTS = 1_000_000_000  # no cohort of a catalogue is sealed before its end


@dataclass(frozen=True)
class PoolOptions:
    """How many products are drawn, and how many questions are asked about each."""

    n_tasks: int = 1_000
    n_questions: int = 5


def pool_cohort(
    directory: Path,
    catalogue: Catalogue,
    *,
    part: PartName,
    options: PoolOptions,
    salt: bytes,
    now: datetime,
    n_processes: int,
    progress: Progress,
) -> SealedCohort:
    """Score a part of a catalogue and draw from all of it.

    Raises
    ------
    CatalogueError
        If the catalogue does not fit the bundle, a cell is wrong, or the part has no products.
    """
    manifest = read_manifest(directory)
    catalogue.check_fit(manifest)
    intake = Intake(
        new_salt=lambda: salt,
        policy=SealPolicy(MOST_PRODUCTS, timedelta.max, options.n_tasks),
        rule=AcquisitionRule(n_questions=options.n_questions),
    )
    claims = catalogue.merchant_labels(part)
    served, n_rows, done = ServedBundle.of(manifest), count_rows(catalogue.path(part)), 0
    with workers(directory, catalogue, part, n_processes) as pool:
        given = chunks(catalogue, part)
        for chunk in in_turn(given, lambda one: pool.submit(scored, one), n_ahead=AHEAD * n_processes):
            intake.take(
                served=served,
                records=chunk.records,
                probabilities=chunk.predictions.probabilities,
                scores=chunk.scores,
                now=now,
                merchant_labels=claims and _claimed(chunk.records, manifest.fields.id, *claims),
            )
            done += len(chunk.records)
            progress("score", done, max(n_rows, done))
    sealed = intake.close(now=now)
    if not sealed:
        raise CatalogueError(f"[{part}] of {catalogue.name} has no products; name another part")
    return sealed[0]


def enqueue_pool(queue: LabelQueue, sealed: SealedCohort) -> None:
    """Put the draw from a catalogue into the label queue, in one transaction."""
    queue.enqueue([new_cohort(sealed, worker=POOL)], now=sealed.sealed_at)


def _claimed(
    records: Sequence[Mapping[str, Any]], id_field: str, row_of: Mapping[str, int], labels: Labels
) -> NDArray[np.float64]:
    """What the merchants say, (n_products, n_classes): 0, 1, or NaN where they say nothing."""
    claims = np.full((len(records), labels.shape[1]), np.nan)
    for row, record in enumerate(records):
        place = row_of.get(str(record[id_field]))
        if place is not None:
            claims[row] = np.where(labels[place] < 0, np.nan, labels[place])
    return claims
