"""Cross-fitting inside the train part: what models say of products they have not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.contracts import Modality, Product
from service.features.text import words
from training.committee import Committee, Prepared
from training.gaps import Gap, sampled_gaps
from training.members.linear import linear_logits
from training.members.linear_fit import fit_linear, image_components
from training.platt import sigmoid

Values = TypeVar("Values", bound=np.generic)
Report = Callable[[int, int], None]  # steps done, steps in all
MIN_GROUPS, MIN_GROUP_SHARE = 20, 0.05  # distinct texts, in all and as a share of the products


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


def make_folds(products: Sequence[Product], *, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each product, (n_products,); products with the same first text share one, where texts mostly differ."""
    keys = [" ".join(words(product.texts[0])) if product.texts else "" for product in products]
    named = [key or f"\0{row}" for row, key in enumerate(keys)]  # a product without a title stands alone
    distinct, group = np.unique(named, return_inverse=True)
    if len(distinct) < MIN_GROUPS + len(products) * MIN_GROUP_SHARE:  # a text is then a kind, not a product
        group = np.arange(len(products))
    fold_of_group = np.random.default_rng(seed).permutation(int(group.max()) + 1) % n_folds
    return fold_of_group[group].astype(np.int64)


def merchant_folds(
    merchants: Sequence[str], products: Sequence[Product], *, n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Fold of each product, (n_products,), in which each merchant is whole; those of `make_folds` where few are known.

    A model that learned from a merchant repeats the mistakes that the merchant makes throughout, and then believes its
    other labels. One that did not learn from it sees them.

    Parameters
    ----------
    merchants : of each product
    """
    names, of_product, sizes = np.unique(np.asarray(merchants), return_inverse=True, return_counts=True)
    if len(names) < n_folds or sizes.max() > len(products) / 2:
        return make_folds(products, n_folds=n_folds, seed=seed)
    fold_of, filled = np.zeros(len(names), dtype=np.int64), np.zeros(n_folds, dtype=np.int64)
    for name in np.argsort(-sizes, kind="stable"):
        fold_of[name] = int(np.argmin(filled))
        filled[fold_of[name]] += sizes[name]
    return np.asarray(fold_of[of_product], dtype=np.int64)


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
