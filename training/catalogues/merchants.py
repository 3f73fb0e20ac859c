"""Which merchant a product is of, as far as a column of the catalogue says it."""

from __future__ import annotations

from collections.abc import Sequence

from service.contracts import FieldSpec, Product

MERCHANT_COLUMNS = {"merchant", "merchant_id"}
NO_MERCHANT = "–"


def merchants_of(fields: FieldSpec, products: Sequence[Product]) -> list[str]:
    """The merchant of each product; `NO_MERCHANT` where none is named."""
    columns = [field.column.casefold() for field in fields.categorical]
    found = [index for index, column in enumerate(columns) if column in MERCHANT_COLUMNS]
    if not found:
        return [NO_MERCHANT] * len(products)
    return [(*product.categories[found[0]], NO_MERCHANT)[0] for product in products]
