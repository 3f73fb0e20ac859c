"""Categorical columns as ids: one id per known (column, value), one per column for every value not known."""

from __future__ import annotations

from collections.abc import Sequence

from service.contracts import Frozen

NOT_READ = 0  # id of what no member reads; the same as padding


class CategoricalEncoding(Frozen):
    """Ids start at 1 (0 is padding); `unknown` holds the id of a column's unknown values, 0 if it is not read."""

    values: tuple[dict[str, int], ...] = ()  # per categorical field, in its order
    unknown: tuple[int, ...] = ()
    n_ids: int = 1  # all ids are below


def category_ids(encoding: CategoricalEncoding, categories: Sequence[Sequence[str]]) -> list[int]:
    """Distinct ids of a product's values, in the order of the fields; case does not matter."""
    ids = dict.fromkeys(
        known.get(value.casefold(), unknown)
        for known, unknown, values in zip(encoding.values, encoding.unknown, categories, strict=True)
        for value in values
    )
    ids.pop(NOT_READ, None)
    return list(ids)
