"""Whose a product is: the column that the catalogue names, or the one that is called so."""

from __future__ import annotations

import pytest

from service.contracts import FieldSpec, Product
from service.features.categorical import NOT_READ
from training.catalogues.merchants import NO_MERCHANT, merchants_of
from training.encode import learn_encoding

PRODUCTS = [Product(str(row), (), (("acme",), ("Huber",), ("m7",)), (), None) for row in range(3)]


def fields(*columns: str, merchant: str | None = None) -> FieldSpec:
    return FieldSpec.model_validate({"id": "id", "categorical": columns, "merchant": merchant})


@pytest.mark.parametrize(
    ("spec", "merchant", "read"),
    [
        (fields("Marke", "Händler", "Ort"), NO_MERCHANT, [True, True, True]),
        (fields("Marke", "Händler", "Ort", merchant="Händler"), "Huber", [True, False, True]),
        (fields("Marke", "Händler", "Merchant_ID"), "m7", [True, True, False]),
        (fields("Marke", "Händler", "merchant_id", merchant="Händler"), "Huber", [True, False, False]),
    ],
)
def test_the_named_column_says_whose_a_product_is_and_no_member_reads_it(
    spec: FieldSpec, merchant: str, read: list[bool]
) -> None:
    encoding = learn_encoding(PRODUCTS, spec)

    assert merchants_of(spec, PRODUCTS) == [merchant] * 3
    assert [unknown != NOT_READ for unknown in encoding.categorical.unknown] == read


def test_fields_that_were_written_before_merchants_could_be_named_are_the_same_fields() -> None:
    spec = fields("Marke", "merchant")
    before = {name: value for name, value in spec.model_dump(mode="json").items() if name != "merchant"}

    assert FieldSpec.model_validate(before) == spec
    assert FieldSpec.model_validate(before) != fields("Marke", "merchant", merchant="Marke")
