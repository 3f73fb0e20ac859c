"""Encoding many products at once says what encoding them one by one says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.contracts import FieldSpec
from service.features import text_batch
from service.features.batch_encoder import BatchEncoder
from service.features.categorical import CategoricalEncoding
from service.features.encoder import Encoder, Encoding, collate
from service.features.numerical import NumericalEncoding
from service.features.text import TextEncoding
from service.features.text_batch import TextBatchEncoder

FIELDS = FieldSpec.model_validate(
    {
        "id": "id",
        "text": ["title", "text"],
        "categorical": ["brand", {"column": "shelf", "separator": ","}],
        "numerical": ["price", "stock"],
        "image": "image",
    }
)
BAG = ("red", "shoe", "red shoe", "shoe red", "shoe sale", "sale", "#<re", "#oes>", "#hoes", "été")
ENCODING = Encoding(
    text=TextEncoding(
        words={"red": 3, "shoe": 4, "été": 5}, bag={name: 1 + index for index, name in enumerate(BAG)}, n_tokens=7
    ),
    categorical=CategoricalEncoding(values=({"acme": 1, "none": 0}, {"shoes": 3, "sale": 4}), unknown=(2, 0), n_ids=5),
    numerical=NumericalEncoding(means=(1.5, 0.0), deviations=(0.5, 2.0), factors=(1.0, 1e12)),
    image_size=32,
)
SORTED = ("bag_ids", "category_ids")  # of which the order in a row means nothing

texts = (
    st.none()
    | st.lists(st.sampled_from(("red", "Shoe", "SHOES", "sale", "reds", "Été", "ﬁne", "a\0b", "寿司")), max_size=9).map(
        " ".join
    )
    | st.text(max_size=12)
)
brands = st.none() | st.sampled_from(("acme", " ACME ", "none", "other", "")) | st.lists(st.just("acme"), max_size=2)
shelves = st.none() | st.sampled_from(("Shoes,Sale", "sale", "else", ",")) | st.lists(st.text(max_size=4), max_size=3)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9).map(float)
records = st.fixed_dictionaries(
    {"id": st.just("1")},
    optional={"title": texts, "text": texts, "brand": brands, "shelf": shelves, "price": numbers, "stock": numbers},
)
pictures = st.none() | st.integers(0, 255).map(lambda shade: np.full((32, 32, 3), shade, dtype=np.uint8))
batches = st.lists(st.tuples(records, pictures), min_size=1, max_size=6)


def one_by_one(
    posted: Sequence[tuple[Mapping[str, Any], NDArray[np.uint8] | None]], encoding: Encoding = ENCODING
) -> dict[str, NDArray[Any]]:
    encoder = Encoder(encoding)
    return collate([encoder.encode(FIELDS.product(record), image) for record, image in posted])


def assert_same(found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        one, other = (np.sort(rows, axis=1) if name in SORTED else rows for rows in (found[name], values))
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7, err_msg=name)


@given(st.lists(batches, min_size=1, max_size=3))
def test_a_batch_is_encoded_as_its_products_are(several: list[list[tuple[dict[str, Any], NDArray[np.uint8]]]]) -> None:
    encoder = BatchEncoder(FIELDS, ENCODING)  # one for all, so that words and cells are met again

    for posted in several:
        batch = encoder.encode([record for record, _ in posted], [image for _, image in posted])

        assert_same(batch.inputs(np.arange(len(posted))), one_by_one(posted))


@given(batches, st.data())
def test_any_rows_of_a_batch_in_any_order_make_a_batch(
    posted: list[tuple[dict[str, Any], NDArray[np.uint8]]], data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.integers(0, len(posted) - 1), min_size=1, max_size=8))
    batch = BatchEncoder(FIELDS, ENCODING).encode([record for record, _ in posted], [image for _, image in posted])

    assert_same(batch.inputs(np.asarray(rows)), one_by_one([posted[row] for row in rows]))
    lengths = batch.token_ids.lengths[batch.by_length()].tolist()
    assert sorted(batch.by_length().tolist()) == list(range(len(posted)))
    assert lengths == sorted(lengths)


@given(st.lists(batches, min_size=2, max_size=4))
def test_what_is_known_of_words_may_be_forgotten_at_any_time(several: list[Any]) -> None:
    encoder = BatchEncoder(FIELDS, ENCODING)
    for posted in several:
        encoder._text._slots.room = -1  # as if a flood of words had come
        for _, cells in encoder._categories:
            cells._room = -1

        batch = encoder.encode([record for record, _ in posted], [image for _, image in posted])

        assert_same(batch.inputs(np.arange(len(posted))), one_by_one(posted))


def test_words_without_end_are_not_kept_without_end() -> None:
    encoder = TextBatchEncoder(ENCODING.text)
    kept = []
    for start in range(0, 200_000, 20_000):
        encoder(
            [
                [" ".join(f"w{number}" for number in range(start + part, start + part + 400))]
                for part in range(0, 20_000, 400)
            ]
        )
        kept.append(len(encoder._slots))

    assert max(kept) <= 20_000 + text_batch.ROOM // text_batch.WORD_BYTES
    assert kept[-1] < 200_000


def test_a_catalogue_of_images_alone_can_be_encoded() -> None:
    fields = FieldSpec.model_validate({"id": "id", "image": "image"})
    encoding = Encoding(image_size=32)

    batch = BatchEncoder(fields, encoding).encode([{"id": "1"}, {"id": "2"}], [None, None])

    expected = collate([Encoder(encoding).encode(fields.product({"id": name}), None) for name in ("1", "2")])
    assert_same(batch.inputs(np.arange(2)), expected)
