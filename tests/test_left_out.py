"""What of a catalogue cannot be used: said once with a count and an example, or refused with the remedy."""

from __future__ import annotations

import base64
import warnings
from pathlib import Path

import pytest

from service.contracts import Product
from service.errors import CatalogueError
from tests.catalogues import everything
from tests.shell import Shell
from tests.small_catalogue import PRODUCTS, make_catalogue, message, png
from tests.test_pretrained import encoder_in, no_progress
from training.catalogues.catalogue import open_catalogue
from training.catalogues.left_out import LeftOut
from training.catalogues.tables import write_table
from training.encode import learn_encoding
from training.fit import arranged

IDS = [str(row) for row in range(10)]
EVERY_ID = {name: IDS if name == "sku" else [None] * len(IDS) for name in PRODUCTS}


def said(directory: Path) -> list[str]:
    """What is warned of while the train part is read."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_catalogue(directory).read("train")
    return [str(warning.message) for warning in caught if issubclass(warning.category, LeftOut)]


def test_a_catalogue_of_which_all_can_be_used_is_read_in_silence(tmp_path: Path) -> None:
    assert said(make_catalogue(tmp_path)) == []


def test_images_that_are_not_there_are_counted_with_an_example(tmp_path: Path) -> None:
    make_catalogue(tmp_path, products=PRODUCTS | {"photo": ["mug.png", "gone.png"]})

    (line,) = said(tmp_path)
    assert line == (
        "[train] of shop: 1 of 2 images (50.0%) cannot be read, such as that of '8': "
        "the file cannot be read (FileNotFoundError)"
    )


def test_an_empty_file_is_an_image_that_is_missing(tmp_path: Path) -> None:
    make_catalogue(tmp_path, products=PRODUCTS | {"photo": ["mug.png", "empty.png"]})
    (tmp_path / "empty.png").touch()

    (line,) = said(tmp_path)

    assert line.endswith("1 of 2 images (50.0%) cannot be read, such as that of '8': the file is empty")
    assert [record["photo"] for record in open_catalogue(tmp_path).records("train")] == [png(), None]


def test_files_that_are_all_gone_are_said_and_not_refused(tmp_path: Path) -> None:
    make_catalogue(tmp_path, products=PRODUCTS | {"photo": [None, "gone.png"]})

    assert said(tmp_path)[0].startswith("[train] of shop: 1 of 1 images (100.0%) cannot be read")


PHOTOS = [png(), png()[:40], None, b"GIF89a", png()]
URL = "https://cdn.shop.example/a/../mug.png"
BASE64 = base64.b64encode(png()).decode()


@pytest.mark.parametrize(
    ("cell", "remedy"),
    [
        (URL, "holds URLs; download them and give paths"),
        ("//cdn.shop.example/mug.png", "holds URLs; download them and give paths"),
        (BASE64, "holds base64; decode it to bytes or files"),
        (f"data:image/png;base64,{BASE64}", "holds base64; decode it to bytes or files"),
        ("/9j/4AAQSkZJRg", "holds base64; decode it to bytes or files"),
    ],
)
def test_a_column_that_holds_something_else_than_images_is_refused(tmp_path: Path, cell: str, remedy: str) -> None:
    make_catalogue(tmp_path, "jsonl", products=PRODUCTS | {"photo": [cell, None]})

    assert message(tmp_path) == f"[train] of shop: none of 1 images can be read; the column 'photo' {remedy}"


def test_one_image_that_can_be_read_makes_urls_a_warning(tmp_path: Path) -> None:
    make_catalogue(tmp_path, products=PRODUCTS | {"photo": ["mug.png", URL]})

    assert said(tmp_path) == [
        "[train] of shop: 1 of 2 images (50.0%) cannot be read, such as that of '8': the cell holds a URL, not a path"
    ]


def test_label_rows_without_a_product_are_counted_with_an_example(tmp_path: Path) -> None:
    make_catalogue(tmp_path, products=EVERY_ID, labels={"sku": [*IDS[:9], "x9"], "home": [1] * 10})

    assert said(tmp_path) == [
        "labels.csv: 1 of 10 rows (10.0%) are passed over, such as that of 'x9': no product of this part has this id"
    ]


@pytest.mark.parametrize(("n_lost", "refused"), [(5, False), (6, True)])
def test_a_table_most_of_whose_rows_have_no_product_is_refused(tmp_path: Path, n_lost: int, refused: bool) -> None:
    ids = [*(f"00{product_id}" for product_id in IDS[:n_lost]), *IDS[n_lost:]]
    make_catalogue(tmp_path, products=EVERY_ID, labels={"sku": ids, "home": [1] * 10})

    if not refused:
        assert len(said(tmp_path)) == 1
        return
    with pytest.raises(CatalogueError, match=r"labels.csv: 6 of 10 rows \(60.0%\), more than half, .* '000'; .* zeros"):
        open_catalogue(tmp_path).read("train")


def test_a_table_may_hold_the_rows_of_other_parts_too(tmp_path: Path) -> None:
    others = [f"test-{row}" for row in range(90)]
    make_catalogue(tmp_path, products=EVERY_ID, labels={"sku": [*IDS, *others], "home": [1] * 100})

    assert said(tmp_path)[0].startswith("labels.csv: 90 of 100 rows (90.0%) are passed over")


@pytest.mark.parametrize("pretrained", [True, False])
def test_images_that_cannot_be_decoded_are_counted_in_training(tmp_path: Path, pretrained: bool) -> None:
    catalogue = open_catalogue(everything(tmp_path / "shop"))
    products = [Product(f"train-{row}", ("mug",), (("b",),), (1.0,), photo) for row, photo in enumerate(PHOTOS)]
    images = encoder_in(tmp_path / "cache")[0] if pretrained else None

    with pytest.warns(LeftOut) as caught:
        arranged(catalogue, products, learn_encoding(products, catalogue.fields), images=images, report=no_progress)

    (warning,) = caught
    assert str(warning.message) == (
        "[train] of shop: 2 of 4 images (50.0%) cannot be decoded, such as that of 'train-1': "
        "the image cannot be decoded; send a complete JPEG, PNG or WebP"
    )


def test_the_command_line_says_what_is_left_out_in_one_line_each(tmp_path: Path) -> None:
    directory = everything(tmp_path / "shop")
    labels = directory / "train.labels.parquet"
    catalogue = open_catalogue(directory)
    ids = [product.product_id for product in catalogue.read("train").products]
    write_table(labels, {"sku": [*ids, "gone"], **{name: [1] * (len(ids) + 1) for name in catalogue.taxonomy.classes}})

    result = Shell(tmp_path).winnow("audit-labels", "shop")

    (line,) = [line for line in result.stderr.splitlines() if "warning" in line]
    assert line == (
        "warning: train.labels.parquet: 1 of 121 rows (0.8%) are passed over, such as that of 'gone': "
        "no product of this part has this id"
    )
