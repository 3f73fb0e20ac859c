"""Reading catalogues: what comes out of every format."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.product_reader import MAX_TEXT_CHARACTERS, ProductReader
from service.contracts import Product
from tests.catalogues import bad_images
from tests.small_catalogue import PRODUCTS, TOML, make_catalogue, png
from training.catalogues.catalogue import open_catalogue
from training.catalogues.catalogue_file import read_catalogue_file
from training.catalogues.cells import (
    NUMBERS,
    TEXTS,
    Place,
    category_cell,
    id_cell,
    number_cell,
    plain_column,
    plain_ids,
    text_cell,
)
from training.catalogues.tables import BATCH_ROWS, write_table

FASHION = Path(__file__).parents[2] / "shared" / "data" / "fashion"
FORMATS = ("parquet", "jsonl", "csv")


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_reads_the_same(tmp_path: Path, suffix: str) -> None:
    make_catalogue(tmp_path, suffix)

    catalogue = open_catalogue(tmp_path)
    part = catalogue.read("train")

    assert catalogue.taxonomy.classes == ("home", "fragile")
    assert part.products[0] == Product(
        "007", ("Mug, large\nblue",), (("Kilnley",), ("Home", "Kitchen")), (12.5,), png()
    )
    assert part.products[1].texts == ("",)
    assert part.products[1].categories == (("Ravel",), ())
    assert math.isnan(part.products[1].numbers[0])
    assert part.products[1].image is None
    assert part.merchant_labels is not None
    assert part.merchant_labels.dtype == np.int8
    assert part.merchant_labels.tolist() == [[1, 1], [0, -1]]
    assert part.truth is None


@pytest.mark.parametrize("suffix", FORMATS)
def test_records_are_what_the_feed_holds(tmp_path: Path, suffix: str) -> None:
    make_catalogue(tmp_path, suffix)

    records = list(open_catalogue(tmp_path / "catalogue.toml").records("train"))

    assert records == [
        {
            "sku": "007",
            "title": "Mug, large\nblue",
            "brand": "Kilnley",
            "path": "Home > Kitchen",
            "price": 12.5,
            "photo": png(),
        },
        {"sku": "8", "title": None, "brand": "Ravel", "path": None, "price": None, "photo": None},
    ]


texts = st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
rows = st.tuples(
    texts, texts, st.none() | st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([None, 0, 1])
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(rows, min_size=1, max_size=8), suffix=st.sampled_from(FORMATS))
def test_what_is_written_is_what_is_read(tmp_path: Path, table: list[tuple[object, ...]], suffix: str) -> None:
    titles, brands, prices, answers = (list(column) for column in zip(*table, strict=True))
    ids = [f"0{row}" for row in range(len(table))]
    toml = TOML.replace('image = "photo"', "").replace(', { column = "path", separator = ">" }', "")
    columns = {"sku": ids, "title": titles, "brand": brands, "price": prices}
    make_catalogue(tmp_path, suffix, products=columns, labels={"sku": ids, "home": answers}, toml=toml)

    catalogue = open_catalogue(tmp_path)
    records = list(catalogue.records("train"))
    labels = catalogue.read("train").merchant_labels

    assert records == [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert labels is not None
    assert labels[:, 0].tolist() == [-1 if answer is None else answer for answer in answers]


def test_rows_beyond_the_first_batch_keep_their_order(tmp_path: Path) -> None:
    n_rows = 2 * BATCH_ROWS + 3
    ids = [str(row) for row in range(n_rows)]
    products = {name: ids if name == "sku" else [cells[0]] * n_rows for name, cells in PRODUCTS.items()}
    make_catalogue(tmp_path, products=products, labels={"sku": ids[::-1], "home": [row % 2 for row in range(n_rows)]})

    part = open_catalogue(tmp_path).read("train")

    assert [product.product_id for product in part.products] == ids
    assert part.merchant_labels is not None
    assert part.merchant_labels[:, 0].tolist() == [(n_rows - 1 - row) % 2 for row in range(n_rows)]


@pytest.mark.parametrize("answers", [[True, False], ["true", "False"], ["1.0", "0.0"], [1.0, 0.0]])
def test_labels_may_be_written_as_booleans_or_decimals(tmp_path: Path, answers: list[object]) -> None:
    make_catalogue(tmp_path, "jsonl", labels={"sku": ["007", "8"], "home": answers})

    labels = open_catalogue(tmp_path).read("train").merchant_labels

    assert labels is not None
    assert labels.tolist() == [[1], [0]]


def test_lists_are_categories_and_integer_ids_are_text(tmp_path: Path) -> None:
    columns = PRODUCTS | {"sku": [7, 8], "path": [["Home", "Kitchen"], []], "photo": [png(), b""]}
    make_catalogue(tmp_path, "parquet", products=columns, labels={"sku": [7.0, 8.0], "home": [True, None]})

    part = open_catalogue(tmp_path).read("train")

    assert [product.product_id for product in part.products] == ["7", "8"]
    assert [product.categories[1] for product in part.products] == [("Home", "Kitchen"), ()]
    assert [product.image for product in part.products] == [png(), None]
    assert part.merchant_labels is not None
    assert part.merchant_labels.tolist() == [[1], [-1]]


def test_a_csv_cell_may_be_longer_than_the_readers_own_limit(tmp_path: Path) -> None:
    long = "mug " * 50_000

    make_catalogue(tmp_path, products=PRODUCTS | {"title": [long, None]})

    assert open_catalogue(tmp_path).read("train").products[0].texts == (long[:20_000],)


def test_numbers_that_are_not_finite_are_missing(tmp_path: Path) -> None:
    make_catalogue(tmp_path, products=PRODUCTS | {"price": ["inf", "NaN"]})

    products = open_catalogue(tmp_path).read("train").products

    assert all(math.isnan(product.numbers[0]) for product in products)


def test_a_product_without_a_label_row_is_unknown_and_a_label_row_without_a_product_is_counted(tmp_path: Path) -> None:
    make_catalogue(tmp_path, labels={"sku": ["8", "9"], "home": [1, 1]})

    part = open_catalogue(tmp_path).read("train")

    assert part.merchant_labels is not None
    assert part.merchant_labels.tolist() == [[-1], [1]]
    assert part.n_unmatched_labels == 1


def test_images_that_cannot_be_used_are_listed_with_a_reason(tmp_path: Path) -> None:
    make_catalogue(tmp_path, products=PRODUCTS | {"photo": ["mug.png", "gone.png"]})
    (tmp_path / "mug.png").write_bytes(png()[:40])

    part = open_catalogue(tmp_path).read("train")

    assert part.products[1].image is None
    assert bad_images(part, 8) == [
        ("8", "the file cannot be read (FileNotFoundError)"),
        ("007", "the image cannot be decoded; send a complete JPEG, PNG or WebP"),
    ]


def test_threshold_settings_are_inherited_by_exceptions(tmp_path: Path) -> None:
    table = """
[thresholds]
objective = "precision-floor"
precision = 0.8
[thresholds.classes.fragile]
precision = 0.95
[thresholds.classes.home]
objective = "f-beta"
beta = 2
"""
    make_catalogue(tmp_path, toml=TOML + table)

    thresholds = open_catalogue(tmp_path).thresholds

    assert (thresholds.of("fragile").objective, thresholds.of("fragile").precision) == ("precision-floor", 0.95)
    assert (thresholds.of("home").objective, thresholds.of("home").beta) == ("f-beta", 2.0)
    assert (thresholds.of("other").objective, thresholds.of("other").precision) == ("precision-floor", 0.8)


@pytest.mark.skipif(not FASHION.is_dir(), reason="the fashion catalogue is not beside this checkout")
def test_the_fashion_catalogue_is_read_whole() -> None:
    catalogue = open_catalogue(FASHION)

    test = catalogue.read("test")

    assert len(catalogue.taxonomy) == 49
    assert test.truth is not None
    assert test.truth.shape == (len(test.products), 49) == (5482, 49)
    assert set(np.unique(test.truth)) == {-1, 0, 1}
    assert 0.03 < np.mean([product.image is None for product in test.products]) < 0.07


def test_a_truth_that_the_toml_leaves_out_is_found_beside_the_products(tmp_path: Path) -> None:
    catalogue = open_catalogue(make_catalogue(tmp_path))
    write_table(tmp_path / "truth.csv", {"sku": ["8"], "home": [1], "fragile": [0]})

    found = catalogue.with_truth("train").read("train").truth

    assert catalogue.read("train").truth is None
    assert found is not None
    assert found.tolist() == [[-1, -1], [1, 0]]


plain_or_not = st.none() | st.text(max_size=3) | st.integers() | st.floats() | st.booleans() | st.binary(max_size=2)


@given(st.lists(plain_or_not, max_size=6))
def test_a_column_that_counts_as_plain_passes_the_check_of_every_cell_unchanged(cells: list[object]) -> None:
    place = Place(Path("table.jsonl"), "column", 1)
    for kinds, check in ((TEXTS, text_cell), (TEXTS, category_cell), (NUMBERS, number_cell)):
        if plain_column(cells, kinds=kinds):
            checked = [check(cell, place) for cell in cells]
            assert checked == cells
            assert list(map(type, checked)) == list(map(type, cells))


@given(st.lists(st.sampled_from(["7", "a b", " 7", "", 7, None]) | st.text(max_size=3), max_size=3))
def test_ids_that_count_as_plain_pass_the_check_of_every_id_unchanged(cells: list[object]) -> None:
    if plain_ids(cells):
        assert [id_cell(cell, Place(Path("table.jsonl"), "sku", 1)) for cell in cells] == cells


@pytest.mark.parametrize("suffix", FORMATS)
def test_text_is_cut_to_what_classify_takes(tmp_path: Path, suffix: str) -> None:
    long, longest = "x" * (MAX_TEXT_CHARACTERS + 1), "y" * MAX_TEXT_CHARACTERS
    make_catalogue(tmp_path, suffix, products=PRODUCTS | {"title": [long, longest]})

    records = list(open_catalogue(tmp_path).records("train"))

    assert [record["title"] for record in records] == [long[:-1], longest]
    reader = ProductReader(open_catalogue(tmp_path).fields, max_products=2)
    posted = [record | {"photo": None} for record in records]
    assert reader.read(json.dumps({"products": posted}).encode()).records == posted


@pytest.mark.parametrize("page", ["README.md", "docs/catalogue.md"])
def test_the_catalogue_that_a_page_shows_can_be_read(page: str, tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / page).read_text(encoding="utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "catalogue.toml").write_text(example, encoding="utf-8")

    shown = read_catalogue_file(tmp_path / "catalogue.toml")

    assert set(shown.parts) == {"train", "test", "stream"}
    assert shown.fields.modalities == ("text", "image", "categorical", "numerical")
