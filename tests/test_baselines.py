"""The baselines: every kind that a catalogue's modalities allow is measured, alone, on the same splits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from service.contracts import MODALITIES
from service.errors import CatalogueError
from tests.catalogues import everything
from tests.trainings import silent
from training.baselines import Combination, Study, combinations, fit, measure, read_study
from training.baselines_report import summaries
from training.baselines_shelf import Shelf, measure_all
from training.catalogues.catalogue import open_catalogue
from training.cli import app
from training.joint import JointOptions
from training.weights import class_weights

QUICK = JointOptions(epochs=2, batch_size=16, min_steps=1)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    catalogue = open_catalogue(everything(tmp_path_factory.mktemp("catalogues") / "everything"))
    return read_study(catalogue, labels="merchant", images=None, n_products=0, progress=silent)


def test_a_catalogue_with_all_modalities_has_at_least_twelve_combinations_of_every_kind() -> None:
    found = combinations(("text", "image", "categorical", "numerical"))

    assert len(found) >= 12
    assert len({one.name for one in found}) == len(found)
    assert {one.kind for one in found} == {"linear", "trees", "mlp", "convolutional", "recurrent", "fused"}


@pytest.mark.parametrize("has", [("text",), ("image",), ("numerical",), ("text", "categorical")])
def test_nothing_is_asked_of_a_modality_that_is_not_there(has: tuple[str, ...]) -> None:
    found = combinations(has)  # type: ignore[arg-type]

    assert found
    assert all(set(one.reads) <= set(has) for one in found)
    assert len({one.name for one in found}) == len(found)


@pytest.mark.parametrize(
    "wanted", combinations(("text", "image", "categorical", "numerical")), ids=lambda one: one.name
)
def test_every_combination_learns_something_from_what_it_reads_and_from_nothing_else(
    study: Study, wanted: Combination
) -> None:
    fitted = fit(wanted, study.train, study.targets, seed=0, options=QUICK)

    logits = fitted.logits(study.test)
    others = set(MODALITIES) - set(wanted.reads)
    blind = [product.without(*others) for product in study.test.products]
    unseen = replace(study.test, products=blind, table=study.test.table)
    assert logits.shape == study.truth.shape
    assert np.isfinite(logits).all()
    assert fitted.megabytes > 0
    assert np.ptp(logits, axis=0).max() > 0.01
    if wanted.kind not in {"linear", "trees"}:  # they read tables that were made before
        np.testing.assert_allclose(fitted.logits(unseen), logits, atol=1e-5)


def test_a_measure_is_repeatable_and_a_seed_changes_the_split(study: Study) -> None:
    wanted = Combination("linear", ("text",))

    first, again = (measure(study, wanted, seed=0, options=QUICK) for _ in range(2))
    other = measure(study, wanted, seed=1, options=QUICK)

    assert first.macro_ap == again.macro_ap > 0.9  # the titles say it all
    assert first.macro_f1 == again.macro_f1
    assert other.calibration_error != first.calibration_error


def test_what_was_measured_is_read_back_and_summed_up(study: Study, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, study, QUICK)
    row = measure(study, Combination("linear", ("text",)), seed=0, options=QUICK)

    shelf.add(row)
    shelf.add(replace(row, seed=1, macro_ap=row.macro_ap - 0.2))

    (one,) = summaries(Shelf(tmp_path, study, QUICK).rows())
    assert one.n_seeds == 2
    assert one.means["macro_ap"] == pytest.approx(row.macro_ap - 0.1)
    assert one.deviations["macro_ap"] == pytest.approx(0.2 / 2**0.5)


def test_what_was_measured_of_other_labels_images_or_options_is_not_taken_for_this(
    study: Study, tmp_path: Path
) -> None:
    row = measure(study, Combination("linear", ("text",)), seed=0, options=QUICK)
    Shelf(tmp_path, study, QUICK).add(row)
    features = np.zeros((len(study.train.products), 8), dtype=np.float16)

    others = [
        Shelf(tmp_path, replace(study, targets=1 - study.targets), QUICK),
        Shelf(tmp_path, replace(study, train=replace(study.train, image_features=features)), QUICK),
        Shelf(tmp_path, study, replace(QUICK, epochs=QUICK.epochs + 1)),
    ]

    assert [shelf.rows() for shelf in others] == [[], [], []]


def test_a_row_that_a_kill_cut_short_is_measured_again(study: Study, tmp_path: Path) -> None:
    shelf, wanted = Shelf(tmp_path, study, QUICK), "linear on text"
    (row,) = measure_all(study, shelf, n_seeds=1, only=[wanted], progress=silent)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-20])

    (again,) = measure_all(study, shelf, n_seeds=1, only=[wanted], progress=silent)

    assert again.macro_ap == row.macro_ap
    assert shelf.rows() == [again]


def test_a_combination_that_there_is_not_is_named_with_those_there_are(study: Study, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no combination 'linear on smell'; there are linear on text; "):
        measure_all(study, Shelf(tmp_path, study, QUICK), n_seeds=1, only=["linear on smell"], progress=silent)


def test_class_weights_are_undone_in_a_single_tower_too(study: Study) -> None:
    fitted = fit(Combination("mlp", ("text",)), study.train, study.targets, seed=0, options=QUICK)

    weights = torch.from_numpy(class_weights(study.targets)).log().numpy()

    assert weights.max() > 0.3
    assert fitted.logits(study.test).mean() < 0  # a quarter of the labels is yes


def test_the_command_prints_a_document_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything(tmp_path / "shop")
    monkeypatch.chdir(tmp_path)
    arguments = ["baselines", "shop", "--seeds", "1", "--only", "linear on text", "--only", "trees on text", "--json"]

    first = CliRunner().invoke(app, arguments)
    second = CliRunner().invoke(app, arguments)

    rows = json.loads(first.stdout)["rows"]
    assert [row["name"] for row in rows] == ["linear on text", "trees on text"]
    assert json.loads(second.stdout)["rows"] == rows  # CPU seconds too: nothing was measured again
    assert "linear on text" in next(tmp_path.glob("reports/*.html")).read_text()
