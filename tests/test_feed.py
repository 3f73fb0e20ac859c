"""A feed's record means the same in a catalogue and in a request, however it writes ids, texts and numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.acquisition.sampling import fingerprint
from service.api.product_reader import ProductReader
from service.contracts import FieldSpec
from service.errors import CatalogueError, RequestRefused
from training.catalogues.records import checked_records

FIELDS = FieldSpec.model_validate(
    {"id": "sku", "text": ["title"], "categorical": ["brand"], "numerical": ["price"], "image": "photo"}
)
READER = ProductReader(FIELDS, max_products=3)

written = st.integers(-(10**20), 10**20) | st.floats(-1e30, 1e30) | st.booleans()
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)


def posted(**values: object) -> dict[str, Any]:
    return dict(READER.read(json.dumps({"products": [{"sku": "a", **values}]}).encode()).records[0])


def in_a_catalogue(**values: object) -> dict[str, Any]:
    record = json.loads(json.dumps({"sku": "a", **values}))
    table = Path("products.jsonl")
    return checked_records(FIELDS, Path(), table, {name: [cell] for name, cell in record.items()}, first_row=1)[0]


@given(title=st.none() | written | texts, brand=st.none() | written | texts | st.lists(st.none() | written | texts))
def test_a_text_that_is_written_as_a_number_is_the_same_text_in_both(title: object, brand: object) -> None:
    assert posted(title=title, brand=brand) == in_a_catalogue(title=title, brand=brand)


@example(price=2**53 + 1)
@given(price=st.none() | written | st.just("") | st.floats(-1e30, 1e30).map(str))
def test_a_number_that_is_written_as_text_is_the_same_number_in_both(price: object) -> None:
    number = in_a_catalogue(price=price)["price"]

    assert posted(price=price)["price"] == (None if number is None else float(number))  # what an encoder reads


@given(sku=written | st.none())
def test_an_id_that_is_written_as_a_number_is_the_same_id_in_both_or_refused_by_both(sku: object) -> None:
    try:
        expected = in_a_catalogue(sku=sku)
    except CatalogueError:
        with pytest.raises(RequestRefused, match="field sku: must be a string of 1 to 200 characters, or a whole numb"):
            posted(sku=sku)
        return

    assert posted(sku=sku) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"sku": 7}, {"sku": "7"}),
        ({"sku": 7.0}, {"sku": "7"}),
        ({"brand": 7}, {"brand": "7"}),
        ({"brand": ["x", None]}, {"brand": ["x"]}),
        ({"price": "499.90"}, {"price": 499.9}),
        ({"price": ""}, {"price": None}),
        ({"photo": ""}, {"photo": None}),
    ],
)
def test_a_product_has_one_fingerprint_however_it_is_written(one: dict[str, object], other: dict[str, object]) -> None:
    assert fingerprint(posted(**one)) == fingerprint(posted(**other))
