"""Whom to trust where a modality is missing: stacking weights for such products, learned on held-out ones made so.

Members that read several modalities, and were not trained to do without one of them, go astray where it is missing and
do not know it. Each kind of gap has weights of its own; where several are missing, their factors multiply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.contracts import MODALITIES, Modality
from training.calibrate import Calibration
from training.catalogues.catalogue import Labels
from training.platt import EDGE
from training.stacking import fit_stacking

N_SAMPLED = 1_500  # products of a fold that are asked again with a gap
MAX_FACTOR = 1e3


@dataclass(frozen=True)
class Gap:
    """What members said of products that they had not seen and that had lost a modality.

    Parameters
    ----------
    rows : (n_sampled,), of the train part
    logits : (n_sampled, n_members, n_classes)
    present : (n_sampled, n_members), False where a member abstains
    """

    modality: Modality
    rows: NDArray[np.int64]
    logits: NDArray[np.float32]
    present: NDArray[np.bool_]


def sampled_gaps(
    rows: NDArray[np.int64],
    have: NDArray[np.bool_],
    ask: Callable[[NDArray[np.int64], Modality], tuple[NDArray[np.float32], NDArray[np.bool_]]],
    *,
    seed: int,
) -> Iterator[Gap]:
    """One gap for every modality that products have beside another.

    Parameters
    ----------
    rows : of products that the members have not seen
    have : (n_rows, n_modalities)
    ask : what members say of some rows without a modality, and which of them do
    """
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    for column, modality in enumerate(MODALITIES):
        fit = shuffled[have[shuffled, column] & (have[shuffled].sum(axis=1) > 1)][:N_SAMPLED]
        if len(fit):
            yield Gap(modality, rows[fit], *ask(rows[fit], modality))


def gap_factors(
    gaps: Sequence[Gap], calibration: Calibration, targets: Labels, weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Factor of each stacking weight where a modality is missing, (n_modalities, n_members, n_classes); 1 if unknown.

    Parameters
    ----------
    targets, weights : (n_products, n_classes), of the train part
    """
    factors = np.ones((len(MODALITIES), *calibration.stacking.shape))
    for column, modality in enumerate(MODALITIES):
        same = [gap for gap in gaps if gap.modality == modality]
        if same:
            rows = np.concatenate([gap.rows for gap in same])
            shares = fit_stacking(
                calibration.members.log_odds(np.concatenate([gap.logits for gap in same])),
                np.concatenate([gap.present for gap in same]),
                targets[rows] == 1,
                weights[rows],
            )
            factors[column] = np.clip((shares + EDGE) / (calibration.stacking + EDGE), 1 / MAX_FACTOR, MAX_FACTOR)
    return factors
