"""Catalogues that cannot be read: every refusal names file, row, column and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import CatalogueError
from tests.small_catalogue import OUTSIDE, PRODUCTS, TOML, make_catalogue, message, png
from training.catalogues.catalogue import open_catalogue
from training.catalogues.tables import write_table


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"sku": ["7", "7"]}, "row 2, column 'sku': the id is that of row 1 again; give every row its own"),
        ({"sku": ["7", None]}, "row 2, column 'sku': the id is null; give every row an id"),
        ({"sku": ["7", " "]}, "row 2, column 'sku': the id is empty; give every row an id"),
        (
            {"price": ["1", "1,299"]},
            "row 2, column 'price': holds text; a numerical column holds plain numbers such as 1299.90",
        ),
        (
            {"photo": ["mug.png", "../mug.png"]},
            f"row 2, column 'photo': {OUTSIDE}",
        ),
        (
            {"photo": ["/etc/hosts", None]},
            f"row 1, column 'photo': {OUTSIDE}",
        ),
    ],
)
def test_a_wrong_product_cell_is_named(tmp_path: Path, columns: dict[str, list[object]], expected: str) -> None:
    make_catalogue(tmp_path, products=PRODUCTS | columns)

    assert message(tmp_path) == f"products.csv, {expected}"


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("title", {"de": "Becher"}, "holds an object; a text column holds text"),
        ("brand", {"name": "Ravel"}, "holds an object; a categorical column holds text, or a list of texts"),
        ("brand", [["Ravel"]], "holds a list; a categorical column holds text, or a list of texts"),
        (
            "photo",
            {"bytes": None, "path": "mug.png"},
            "holds an object; an image column holds the bytes of a JPEG, PNG or WebP file, or its path",
        ),
    ],
)
def test_a_cell_of_another_kind_is_told_what_its_column_holds(
    tmp_path: Path, column: str, cell: object, expected: str
) -> None:
    make_catalogue(tmp_path, "jsonl", products=PRODUCTS | {column: [None, cell]})

    assert message(tmp_path) == f"products.jsonl, row 2, column {column!r}: {expected}"


def test_an_image_path_cannot_leave_by_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "secret.png"
    outside.write_bytes(png())
    inside = tmp_path / "shop"
    inside.mkdir()
    make_catalogue(inside, products=PRODUCTS | {"photo": ["link.png", None]})
    (inside / "link.png").symlink_to(outside)

    assert message(inside) == (
        "products.csv, row 1, column 'photo': the path is a link that leads outside the catalogue; put the file inside"
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (
            {"sku": ["007", "8"], "home": [1, 2]},
            "row 2, column 'home': the label is another number; use 1 for yes, 0 for no, and nothing for unknown",
        ),
        (
            {"sku": ["007", "8"], "home": [1, -1]},
            "row 2, column 'home': the label is a negative number; use 1 for yes, 0 for no, and nothing for unknown",
        ),
        (
            {"sku": ["007", "8"], "home": [1, "yes"]},
            "row 2, column 'home': the label is text; use 1 for yes, 0 for no, and nothing for unknown",
        ),
        (
            {"sku": ["8", "8"], "home": [1, 1]},
            "row 2, column 'sku': the id is that of row 1 again; give every row its own",
        ),
    ],
)
def test_a_wrong_label_cell_is_named(tmp_path: Path, labels: dict[str, list[object]], expected: str) -> None:
    make_catalogue(tmp_path, labels=labels)

    assert message(tmp_path) == f"labels.csv, {expected}"


def test_a_label_column_without_a_name_is_told_by_its_place(tmp_path: Path) -> None:
    make_catalogue(tmp_path, labels={"": [0, 1], "sku": ["007", "8"], "home": [1, 0]})

    assert message(tmp_path) == (
        "labels.csv: column 1 has no name; give it that of its class, or remove it "
        "(pandas writes its index so, without index=False)"
    )


def test_labels_of_other_products_are_refused(tmp_path: Path) -> None:
    make_catalogue(tmp_path, labels={"sku": ["x1", "x2"], "home": [1, 1]})

    assert message(tmp_path) == "labels.csv: none of its ids is a product of this part; check the column 'sku'"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    make_catalogue(tmp_path)
    (tmp_path / "labels.csv").unlink()

    assert message(tmp_path) == f"labels.csv: there is no such file in {tmp_path}; correct the path in catalogue.toml"


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    make_catalogue(tmp_path, products={name: cells for name, cells in PRODUCTS.items() if name != "price"})

    assert message(tmp_path) == (
        "products.csv: there is no column 'price', which [fields] names; it has sku, title, brand, path, photo"
    )


def test_label_tables_must_have_the_same_classes(tmp_path: Path) -> None:
    make_catalogue(tmp_path, toml=TOML + 'truth = "truth.csv"\n')
    write_table(tmp_path / "truth.csv", {"sku": ["8"], "home": [1]})

    assert message(tmp_path) == (
        "truth.csv: the class 'fragile' is in only one of it and labels.csv; give all label tables the same classes"
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            'image = "photo"',
            'foto = "photo"',
            "unknown key 'foto' in [fields]; allowed are id, text, categorical, numerical, image, merchant",
        ),
        (
            'image = "photo"',
            'merchant = "title"',
            "fields: merchant = 'title' is none of the categorical columns; list it among them",
        ),
        ("[train]", "[training]", "unknown key 'training'; allowed are name, fields, train, test, stream, thresholds"),
        ('name = "shop"', "", "'name' is missing; add it"),
        ("merchant_labels", "labels", "unknown key 'labels' in [train]; allowed are products, merchant_labels, truth"),
        ('"title"', '"brand"', "fields: each column can have one meaning; listed more than once: brand"),
        ('merchant_labels = "labels.csv"', "", "no part has labels; give at least one part merchant_labels or truth"),
        (
            "[train]",
            "[thresholds]\nprecision = 0.8\n[train]",
            'thresholds: objective = "f-beta" has no precision; remove it or change the objective',
        ),
        (
            "[train]",
            "[thresholds.classes.hom]\nbeta = 2\n[train]",
            "[thresholds.classes] names 'hom', which is no class of the catalogue",
        ),
    ],
)
def test_a_wrong_catalogue_file_is_explained(tmp_path: Path, old: str, new: str, expected: str) -> None:
    make_catalogue(tmp_path, toml=TOML.replace("SUFFIX", "csv").replace(old, new))

    assert message(tmp_path) == f"catalogue.toml: {expected}"


def test_a_part_that_is_not_there_is_refused(tmp_path: Path) -> None:
    catalogue = open_catalogue(make_catalogue(tmp_path))

    assert list(catalogue.tables) == ["train"]
    with pytest.raises(CatalogueError) as caught:
        next(catalogue.records("stream"))
    assert str(caught.value) == "the catalogue 'shop' has no stream part; add [stream] to its catalogue.toml"


@pytest.mark.parametrize(
    ("suffix", "content", "expected"),
    [
        ("parquet", b"PAR0", "products.parquet: not a readable Parquet file; write it anew or correct its suffix"),
        ("jsonl", b'{"sku": "7"}\n\n{"sku"\n', "products.jsonl, row 2: not JSON; write one object a line"),
        ("jsonl", b"[1]\n", "products.jsonl, row 1: not a JSON object; write one object a line"),
        (
            "csv",
            b"sku,title,brand,path,price,photo\n7,a,b,c,1,\n8,a\n",
            "products.csv, row 2: 2 cells where the header has 6; quote cells that hold a comma or a line break",
        ),
        (
            "csv",
            b"sku,title,brand,path,price,photo\n7,\xff,b,c,1,\n",
            "products.csv, after row 0: not CSV in UTF-8; save it so, quotes doubled",
        ),
        (
            "csv",
            b'sku,title,brand,path,price,photo\n7,"' + b"a" * 10_000_001 + b'",b,c,1,\n',
            "products.csv, after row 0: a cell of more than 10,000,000 characters; shorten it, or close its quote",
        ),
        ("csv", b"sku,sku\n", "products.csv: the column 'sku' stands there more than once; rename one of them"),
        ("csv", b"", "products.csv: there is no column 'sku', which [fields] names; it has "),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, suffix: str, content: bytes, expected: str) -> None:
    make_catalogue(tmp_path, suffix)
    (tmp_path / f"products.{suffix}").write_bytes(content)

    assert message(tmp_path) == expected


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    make_catalogue(tmp_path, toml=TOML.replace("products.SUFFIX", "products.xlsx"))

    assert message(tmp_path) == "products.xlsx: the format is not known by its suffix; use .parquet, .jsonl, .csv"


def test_a_truth_that_is_nowhere_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"\[train\] of shop names no truth; add truth"):
        open_catalogue(make_catalogue(tmp_path)).with_truth("train")
