"""Which merchant a product is of, as far as a column of the catalogue says it."""

from __future__ import annotations

from collections.abc import Sequence

from service.contracts import FieldSpec, Product

MERCHANT_COLUMNS = {"merchant", "merchant_id"}  # that say it also where [fields] names none
NO_MERCHANT = "–"


def tells_merchant(fields: FieldSpec) -> list[bool]:
    """Of each categorical column, whether it says whose a product is; members do not read it then."""
    columns = [field.column for field in fields.categorical]
    return [column == fields.merchant or column.casefold() in MERCHANT_COLUMNS for column in columns]


def merchants_of(fields: FieldSpec, products: Sequence[Product]) -> list[str]:
    """The merchant of each product; `NO_MERCHANT` where none is named."""
    found = [index for index, tells in enumerate(tells_merchant(fields)) if tells]
    named = [index for index in found if fields.categorical[index].column == fields.merchant]
    if not found:
        return [NO_MERCHANT] * len(products)
    column = (*named, *found)[0]
    return [(*product.categories[column], NO_MERCHANT)[0] for product in products]
