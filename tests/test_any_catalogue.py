"""Whatever a shop's catalogue looks like, it can be used: no column, class or modality is taken for granted."""

from __future__ import annotations

import datetime
import json
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.errors import CatalogueError
from tests.catalogues import N_PRODUCTS, SCRIPTS, SHAPES, WORDS, bad_images
from tests.trainings import silent
from training.catalogues.catalogue import open_catalogue
from training.catalogues.catalogue_file import PartName
from training.catalogues.tables import column_names, write_table
from training.replay.replay_pool import read_pool


@pytest.mark.parametrize("shape", SHAPES)
def test_a_catalogue_of_any_shape_is_read_whole(tmp_path: Path, shape: str) -> None:
    catalogue = open_catalogue(SHAPES[shape](tmp_path / shape))

    for name in ("train", "test", "stream"):
        part = catalogue.read(name)
        labels = part.merchant_labels if name == "train" else part.truth
        assert len(part.products) == N_PRODUCTS[name]
        assert labels is not None
        assert labels.shape == (N_PRODUCTS[name], len(catalogue.taxonomy))
        assert bad_images(part, 16) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_records_arrange_to_the_products_that_are_read(tmp_path: Path, shape: str) -> None:
    catalogue = open_catalogue(SHAPES[shape](tmp_path / shape))
    fields = catalogue.fields

    arranged = [
        fields.product(record, image=record[fields.image] if fields.image else None)
        for record in catalogue.records("test")
    ]

    assert repr(arranged) == repr(catalogue.read("test").products)  # NaN differs from itself, not its repr


def test_one_class_is_enough(tmp_path: Path) -> None:
    catalogue = open_catalogue(SHAPES["one_class"](tmp_path))

    truth = catalogue.read("test").truth

    assert catalogue.taxonomy.classes == ("mug",)
    assert truth is not None
    assert [int(product.texts[0] == "mug") for product in catalogue.read("test").products] == truth[:, 0].tolist()


def test_three_hundred_classes_keep_their_order(tmp_path: Path) -> None:
    catalogue = open_catalogue(SHAPES["three_hundred_classes"](tmp_path))

    labels = catalogue.read("train").merchant_labels

    assert catalogue.taxonomy.classes == tuple(f"class {number:03}" for number in range(300))
    assert labels is not None
    assert labels[:, 4:].max() == 0
    assert (labels[:, :4].sum(axis=1) == 1).all()


def test_columns_without_a_value_are_missing_not_zero(tmp_path: Path) -> None:
    catalogue = open_catalogue(SHAPES["constant_and_empty_columns"](tmp_path))

    part = catalogue.read("train")

    assert all(product.texts[1] == "" and product.categories == ((),) for product in part.products)
    assert all(product.numbers[0] == 9.9 and math.isnan(product.numbers[1]) for product in part.products)
    assert part.merchant_labels is not None
    assert [np.unique(column).tolist() for column in part.merchant_labels.T] == [[0, 1], [1], [0], [-1]]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_every_script_survives_every_format(tmp_path: Path, suffix: str) -> None:
    rows = [SCRIPTS[word] for word in WORDS]
    write_table(tmp_path / f"p.{suffix}", {"номер": rows, "题": rows, "عدد": [1.5, 2, None, 4]})
    write_table(tmp_path / f"l.{suffix}", {"номер": rows[::-1], "чашка": [0, 0, 0, 1]})
    fields = '[fields]\nid = "номер"\ntext = ["题"]\nnumerical = ["عدد"]\n'
    tables = f'[train]\nproducts = "p.{suffix}"\nmerchant_labels = "l.{suffix}"\n'
    (tmp_path / "catalogue.toml").write_text(f'name = "店"\n{fields}{tables}', encoding="utf-8")

    catalogue = open_catalogue(tmp_path)
    part = catalogue.read("train")

    assert [(product.product_id, *product.texts) for product in part.products] == [(row, row) for row in rows]
    assert catalogue.taxonomy.classes == ("чашка",)
    assert part.merchant_labels is not None
    assert part.merchant_labels[:, 0].tolist() == [1, 0, 0, 0]


def test_parquet_types_of_every_kind_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "sku": pa.array([1, 2], pa.int32()),
            "title": pa.array(["Mug", None], pa.string()).dictionary_encode(),
            "season": pa.array([datetime.date(2026, 11, 23), None], pa.date32()),
            "size": pa.array([42, 43], pa.int8()),
            "tags": pa.array([["a", None, "b"], None], pa.large_list(pa.string())),
            "price": pa.array([Decimal("12.50"), None], pa.decimal128(9, 2)),
            "new": pa.array([True, False]),
            "stock": pa.array([float("nan"), float("inf")]),
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    write_table(tmp_path / "l.parquet", {"sku": [1, 2], "mug": [True, None]})
    fields = (
        'id = "sku"\ntext = ["title", "season"]\ncategorical = ["size", "tags"]\nnumerical = ["price", "new", "stock"]'
    )
    tables = '[train]\nproducts = "p.parquet"\nmerchant_labels = "l.parquet"'
    (tmp_path / "catalogue.toml").write_text(f'name = "kinds"\n[fields]\n{fields}\n{tables}')

    first, second = open_catalogue(tmp_path).read("train").products

    assert (first.product_id, first.texts, first.categories) == ("1", ("Mug", "2026-11-23"), (("42",), ("a", "b")))
    assert (second.texts, second.categories) == (("", ""), (("43",), ()))
    assert first.numbers[:2] == (12.5, 1.0)
    assert second.numbers[1] == 0.0
    assert [math.isnan(first.numbers[2]), math.isnan(second.numbers[0]), math.isnan(second.numbers[2])] == [True] * 3


def test_half_a_character_at_the_end_of_a_cut_title_is_replaced(tmp_path: Path) -> None:
    rows = ({"sku": "1", "title": "Mug \ud83d"}, {"sku": "2", "title": "Mug 😀"})
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "l.jsonl").write_text('{"sku": "1", "mug": 1}\n')
    tables = '[train]\nproducts = "p.jsonl"\nmerchant_labels = "l.jsonl"'
    (tmp_path / "catalogue.toml").write_text(f'name = "cut"\n[fields]\nid = "sku"\ntext = ["title"]\n{tables}')

    products = open_catalogue(tmp_path).read("train").products

    assert [product.texts[0] for product in products] == ["Mug \ufffd", "Mug 😀"]


def test_a_whole_number_beyond_all_others_is_missing(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(f'{{"sku": "1", "price": 1{"0" * 400}}}\n{{"sku": "2", "price": 7}}\n')
    (tmp_path / "l.jsonl").write_text('{"sku": "1", "mug": 1}\n')
    tables = '[train]\nproducts = "p.jsonl"\nmerchant_labels = "l.jsonl"'
    (tmp_path / "catalogue.toml").write_text(f'name = "vast"\n[fields]\nid = "sku"\nnumerical = ["price"]\n{tables}')

    first, second = open_catalogue(tmp_path).read("train").products

    assert math.isnan(first.numbers[0])
    assert second.numbers == (7.0,)


def test_a_part_without_products_is_empty(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("sku,title\n")
    (tmp_path / "l.csv").write_text("sku,mug\n1,1\n")
    tables = '[stream]\nproducts = "p.csv"\ntruth = "l.csv"'
    (tmp_path / "catalogue.toml").write_text(f'name = "empty"\n[fields]\nid = "sku"\ntext = ["title"]\n{tables}')

    part = open_catalogue(tmp_path).read("stream")

    assert part.products == []
    assert part.truth is not None
    assert part.truth.shape == (0, 1)
    assert part.n_unmatched_labels == 1
    with pytest.raises(CatalogueError, match=r"\[stream\] of empty has no products; fill its table p.csv"):
        open_catalogue(tmp_path).read_filled("stream")


@pytest.mark.parametrize("part", ["train", "stream", "test"])
def test_a_replay_of_a_part_without_products_is_refused_in_words(tmp_path: Path, part: PartName) -> None:
    directory = SHAPES["text_only"](tmp_path)
    catalogue = open_catalogue(directory)
    table = catalogue.path(part)
    names = column_names(table)
    table.unlink()
    write_table(table, {name: [] for name in names})

    with pytest.raises(CatalogueError, match=rf"\[{part}\] of .* has no products"):
        read_pool(open_catalogue(directory), progress=silent)
