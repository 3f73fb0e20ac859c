"""Cross-fitting inside the train part: what models say of products they have not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.contracts import Modality
from training.committee import Committee, Prepared
from training.gaps import Gap, sampled_gaps
from training.members.linear import linear_logits
from training.members.linear_fit import fit_linear, image_components
from training.platt import sigmoid

Values = TypeVar("Values", bound=np.generic)
Report = Callable[[int, int], None]  # steps done, steps in all


@dataclass(frozen=True)
class HeldOut:
    """Predictions of members that had not seen the products.

    Parameters
    ----------
    logits : (n_products, n_members, n_classes)
    present : (n_products, n_members), False where a member abstains
    gaps : what they said of some of the products when these had lost a modality
    """

    logits: NDArray[np.float32]
    present: NDArray[np.bool_]
    gaps: tuple[Gap, ...] = ()


def believed(
    data: Prepared,
    targets: NDArray[np.int8],
    weights: NDArray[np.float32],
    folds: NDArray[np.int64],
    *,
    report: Report,
) -> NDArray[np.float64]:
    """What linear members say of products they had not seen, (n_products, n_classes).

    The mean probability of one that reads all that linear members can, and of one for each modality alone: these do
    not learn the same mistakes.

    Parameters
    ----------
    data : with at least one design
    targets, weights : (n_products, n_classes)
    """
    widest = list(data.designs.values())[-1]
    parts = widest.parts()
    readers = [widest, *parts] if len(parts) > 1 else [widest]
    image = image_components(widest)
    blocks: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    for fold, (seen, unseen) in enumerate(_splits(folds)):
        said = []
        for number, reader in enumerate(readers, 1):
            shown = None if reader.image_features is None else image
            member = fit_linear(reader.take(seen), targets[seen], weights[seen], image=shown)
            said.append(sigmoid(linear_logits(member, reader.take(unseen))))
            report(fold * len(readers) + number, (int(folds.max()) + 1) * len(readers))
        blocks.append((unseen, np.mean(said, axis=0)))
    return _in_order(blocks)


def cross_fit(
    data: Prepared,
    folds: NDArray[np.int64],
    *,
    fit: Callable[[NDArray[np.int64], Report], Committee],
    report: Report,
    seed: int = 0,
) -> HeldOut:
    """What all members say of products they had not seen.

    Parameters
    ----------
    fit : fits the members on these rows and reports its steps
    """
    n_folds = int(folds.max()) + 1
    blocks: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    gaps: list[Gap] = []
    for fold, (seen, unseen) in enumerate(_splits(folds)):

        def further(step: int, n_steps: int, fold: int = fold) -> None:
            report(fold * n_steps + step, n_folds * n_steps)

        committee = fit(seen, further)
        blocks.append((unseen, committee.logits(data.take(unseen))))
        gaps += sampled_gaps(unseen, data.have[unseen], partial(_ask_without, data, committee), seed=seed)
    return HeldOut(_in_order(blocks), data.present(committee.members), tuple(gaps))


def _ask_without(
    data: Prepared, committee: Committee, rows: NDArray[np.int64], modality: Modality
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    blind = data.take(rows).without(modality)
    return committee.logits(blind), blind.present(committee.members)


def _splits(folds: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    for fold in range(int(folds.max()) + 1):
        yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)


def _in_order(blocks: Sequence[tuple[NDArray[np.int64], NDArray[Values]]]) -> NDArray[Values]:
    rows = np.concatenate([block_rows for block_rows, _ in blocks])
    return np.concatenate([values for _, values in blocks])[np.argsort(rows)]
