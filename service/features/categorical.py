"""Categorical columns as ids: one id per known (column, value), one per column for every value not known."""

from __future__ import annotations

from collections.abc import Sequence

from service.contracts import Frozen


class CategoricalEncoding(Frozen):
    """Ids start at 1 (0 is padding); `unknown` holds the id of a column's unknown values."""

    values: tuple[dict[str, int], ...] = ()  # per categorical field, in its order
    unknown: tuple[int, ...] = ()
    n_ids: int = 1  # all ids are below


def category_ids(encoding: CategoricalEncoding, categories: Sequence[Sequence[str]]) -> list[int]:
    """Distinct ids of a product's values, in the order of the fields; case and surrounding space do not matter."""
    ids = dict.fromkeys(
        known.get(value.casefold(), unknown)
        for known, unknown, values in zip(encoding.values, encoding.unknown, categories, strict=True)
        for value in values
    )
    return list(ids)
