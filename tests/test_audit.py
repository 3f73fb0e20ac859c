"""The label audit: labels that were turned over come first, whoever turned them, and the list says how good it is."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from typer.testing import CliRunner

from service.errors import CatalogueError
from tests.catalogues import WORDS, Columns, write
from tests.trainings import silent
from training.audit import Audit, audit
from training.catalogues.catalogue import Catalogue, Part, open_catalogue
from training.catalogues.catalogue_file import PartName, PartTables
from training.cli import app


def shop(directory: Path) -> Path:
    """Products whose title names their class, from two merchants."""

    def columns(words: Sequence[str], rng: Random) -> Columns:
        return {
            "title": [f"{word} number {rng.randrange(10_000)}" for word in words],
            "merchant": [rng.choice(["careful", "careless"]) for _ in words],
            "price": [rng.uniform(1, 3) * (1 + WORDS.index(word)) for word in words],
        }

    return write(directory, 'text = ["title"]\ncategorical = ["merchant"]\nnumerical = ["price"]', columns)


class Turned(Catalogue):
    """A catalogue in which the careless merchant has turned over some labels of the first class; the truth is kept."""

    def read(self, part: PartName) -> Part:
        whole = super().read(part)
        assert whole.merchant_labels is not None
        labels = whole.merchant_labels.copy()
        careless = [row for row, product in enumerate(whole.products) if product.categories[0] == ("careless",)]
        labels[careless[:8], 0] = 1 - labels[careless[:8], 0]
        return replace(whole, merchant_labels=labels, truth=whole.merchant_labels)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    opened = open_catalogue(shop(tmp_path_factory.mktemp("catalogues") / "shop"))
    fields = {name: getattr(opened, name) for name in Catalogue.__dataclass_fields__}
    return audit(Turned(**fields), n_folds=3, seed=0, progress=silent)


def test_labels_that_were_turned_over_come_first(found: Audit) -> None:
    assert found.truth is not None
    wrong = {tuple(place) for place in np.argwhere(found.truth != found.labels).tolist()}

    first = set(found.ranked(len(wrong)))

    assert len(wrong) == 8
    assert len(first & wrong) >= 7


def test_the_merchant_and_class_at_fault_stand_on_top(found: Audit) -> None:
    top = found.by_merchant()[0]

    assert (top.merchant, top.class_name) == ("careless", found.classes[0])
    assert 6 <= top.n_suspect <= 10
    assert top.n_suspect_yes <= top.n_suspect <= top.n_labels


def test_the_list_is_ordered_and_tells_the_truth_beside_each_label(found: Audit) -> None:
    table = found.table(30)

    assert len(table["product_id"]) == 30
    assert table["trust"] == sorted(table["trust"])
    row = table["product_id"].index(table["product_id"][0])
    number = found.ids.index(table["product_id"][row])
    column = found.classes.index(table["class"][row])
    assert table["label"][row] == found.labels[number, column] != table["truth"][row]


def test_precision_counts_only_labels_whose_truth_is_known(found: Audit) -> None:
    assert found.truth is not None
    hidden = found.truth.copy()
    hidden[found.labels != found.truth] = -1

    blind = replace(found, truth=hidden)

    assert set(blind.precision_at().values()) == {0.0}
    assert blind.share_wrong() == 0.0
    assert replace(found, truth=None).precision_at() == {}
    assert found.precision_at()[100] == pytest.approx(0.08, abs=0.011)


def test_a_catalogue_without_merchant_labels_says_so(tmp_path: Path) -> None:
    opened = open_catalogue(shop(tmp_path / "shop"))
    tables: dict[PartName, PartTables] = {
        "train": opened.tables["train"].model_copy(update={"merchant_labels": None, "truth": "train.labels.parquet"})
    }

    with pytest.raises(CatalogueError, match="has no merchant_labels table"):
        audit(replace(opened, tables=tables), n_folds=3, seed=0, progress=silent)


def test_the_command_writes_the_list_and_prints_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop(tmp_path / "shop")
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(app, ["audit-labels", "shop", "--out", "lists/suspects.csv", "--limit", "7", "--json"])

    document = json.loads(result.stdout)
    with (tmp_path / "lists/suspects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["product_id"] for row in rows] == [one["product_id"] for one in document["labels"]]
    assert len(rows) == 7
    assert document["precision_at"] == {}
