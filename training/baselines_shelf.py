"""The file that keeps what baselines were measured, so that a study that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from service.bundles import history
from service.errors import CatalogueError
from training.baselines import Baseline, Combination, Study, combinations, measure
from training.joint import JointOptions
from training.progress import Progress

_ROW = TypeAdapter(Baseline)


class Shelf:
    """What was measured of one study, one JSON line each.

    Other labels, images or options are another file.
    """

    def __init__(self, directory: Path, study: Study, options: JointOptions) -> None:
        features = study.train.image_features
        asked = [asdict(options), features is not None]
        digest = hashlib.blake2b(json.dumps(asked).encode(), digest_size=6)
        for array in (study.targets, study.truth, *(() if features is None else (features,))):
            digest.update(np.ascontiguousarray(array).data)
        self._path = directory / f"baselines-{study.catalogue.name}-{digest.hexdigest()}.jsonl"
        self.options = options

    def rows(self) -> list[Baseline]:
        """All that was measured so far."""
        return history.read(self._path, _ROW)

    def add(self, row: Baseline) -> None:
        """Keep one more."""
        history.append(self._path, asdict(row))

    def clear(self) -> None:
        """Forget what was measured."""
        self._path.unlink(missing_ok=True)


def measure_all(
    study: Study,
    shelf: Shelf,
    *,
    n_seeds: int,
    only: Sequence[str],
    progress: Progress,
) -> list[Baseline]:
    """Measure what the shelf lacks, seed after seed, and return all that was asked for.

    Parameters
    ----------
    only : names of combinations; all of them where none is given

    Raises
    ------
    CatalogueError
        If there is no such combination on this catalogue.
    """
    wanted = [(seed, one) for seed in range(n_seeds) for one in _named(study, only)]
    known = {(row.seed, row.name) for row in shelf.rows()}
    for n_done, (seed, combination) in enumerate(wanted, 1):
        if (seed, combination.name) not in known:
            shelf.add(measure(study, combination, seed=seed, options=shelf.options))
        progress("measure", n_done, len(wanted))
    asked = {(seed, combination.name) for seed, combination in wanted}
    return [row for row in shelf.rows() if (row.seed, row.name) in asked]


def _named(study: Study, names: Sequence[str]) -> list[Combination]:
    known = {one.name: one for one in combinations(study.train.modalities)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CatalogueError(f"there is no combination {unknown[0]!r}; there are {'; '.join(known)}")
    return [one for one in known.values() if not names or one.name in names]
