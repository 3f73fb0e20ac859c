"""A bundle over a catalogue: the same numbers whatever the batch, a readable refusal, a report that stands alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.bundles.bundle import read_bundle
from service.contracts import Product
from service.ensemble import Ensemble
from service.errors import CatalogueError
from service.features.encoder import Encoder, collate
from tests.tiny_bundle import CLASSES
from tests.trainings import silent
from training.catalogues.catalogue import open_catalogue
from training.predict import encode, evaluate_bundle, predict
from training.report import write_report

CATALOGUE = """
name = "shop"
[fields]
id = "product_id"
text = ["title", "description"]
categorical = ["brand", { column = "merchant_category", separator = "," }]
numerical = ["price", "n_images"]
image = "image"
[train]
products = "products.jsonl"
[test]
products = "products.jsonl"
truth = "truth.jsonl"
"""
TITLES = ("black dress", "leather boots", "red shirt", "cotton sale", "unknown thing")


def write_catalogue(directory: Path, n_products: int = 70) -> Path:
    rng = np.random.default_rng(0)
    products, truth = [], []
    for index in range(n_products):
        row = {"product_id": f"p{index}", "title": TITLES[index % 5], "description": None, "brand": "acme"}
        products.append({**row, "merchant_category": "shoes,sale", "price": float(index), "n_images": 1, "image": None})
        answers = {name: int(answer) for name, answer in zip(CLASSES, rng.integers(0, 2, len(CLASSES)), strict=True)}
        truth.append({"product_id": f"p{index}", **answers, "sale": None if index % 2 else 1})
    for name, rows in (("products", products), ("truth", truth)):
        (directory / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (directory / "catalogue.toml").write_text(CATALOGUE)
    return directory


def test_predictions_come_in_the_order_of_the_products_whatever_the_batch(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    products = open_catalogue(write_catalogue(tmp_path)).read("test").products
    encoder, ensemble = Encoder(bundle.encoding), Ensemble(bundle)

    together = predict(bundle, products, progress=silent)

    alone = [ensemble.predict(collate([encode(encoder, product)])).probabilities[0] for product in products]
    np.testing.assert_allclose(together.probabilities, alone, atol=1e-6)


def test_an_image_that_cannot_be_decoded_counts_as_missing(tiny_bundle: Path) -> None:
    encoder = Encoder(read_bundle(tiny_bundle).encoding)
    product = Product("p1", ("black dress", ""), (("acme",), ()), (1.0, 1.0), b"no image")

    encoded = encode(encoder, product)

    assert encoded.image is None
    assert encoded.present == (True, False, True, True)


def test_evaluation_refuses_a_catalogue_with_other_classes(tiny_bundle: Path, tmp_path: Path) -> None:
    directory = write_catalogue(tmp_path)
    truth = (directory / "truth.jsonl").read_text()
    (directory / "truth.jsonl").write_text(truth.replace("womens", "gentlemens"))

    with pytest.raises(CatalogueError, match="the classes of shop differ from those of tiny-1"):
        evaluate_bundle(read_bundle(tiny_bundle), open_catalogue(directory), part="test", progress=silent)


def test_evaluation_needs_a_truth(tiny_bundle: Path, tmp_path: Path) -> None:
    directory = write_catalogue(tmp_path)

    with pytest.raises(CatalogueError, match=r"\[train\] of shop names no truth"):
        evaluate_bundle(read_bundle(tiny_bundle), open_catalogue(directory), part="train", progress=silent)


def test_the_report_stands_alone_and_shows_every_member_and_class(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    evaluation, said, truth = evaluate_bundle(
        bundle, open_catalogue(write_catalogue(tmp_path)), part="test", progress=silent
    )

    html = write_report(tmp_path / "report.html", bundle.manifest, evaluation, said, truth).read_text()

    assert html.count("<svg") >= 4
    assert not re.search(r"<(script|link|img|iframe)\b|@import|url\(http", html)
    for name in (*CLASSES, *(member.name for member in bundle.manifest.members)):
        assert name in html
    assert f"{evaluation.ensemble.macro_ap:.3f}" in html


def test_a_report_of_classes_that_are_named_like_html_has_no_script(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    evaluation, said, truth = evaluate_bundle(
        bundle, open_catalogue(write_catalogue(tmp_path)), part="test", progress=silent
    )
    hostile = tuple(f"<script>{name}</script>" for name in evaluation.classes)

    path = write_report(
        tmp_path / "report.html", bundle.manifest, replace(evaluation, classes=hostile, catalogue="<b>"), said, truth
    )

    html = path.read_text()
    assert "<script" not in html
    assert "<b>" not in re.sub(r'<div class="figure"><b>', "", html)
    assert "&lt;script&gt;" in html
