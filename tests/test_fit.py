"""Training from end to end, on small catalogues: a complete, repeatable bundle whose graph is what was trained."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.bundles.bundle import Bundle, read_bundle
from service.ensemble import Ensemble
from service.errors import BundleRefused, CatalogueError
from service.features.encoder import EncodedProduct, Encoder, collate
from tests.catalogues import SHAPES, WORDS, everything, text_only, write
from tests.trainings import QUICKEST, silent, titles
from training.catalogues.catalogue import open_catalogue
from training.encode import encode_products
from training.fit import train
from training.retraining.training_state import STATE, product_key, unpack_state


@pytest.fixture(scope="module")
def catalogue_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return everything(tmp_path_factory.mktemp("catalogues") / "everything")


@pytest.fixture(scope="module")
def bundle_directory(catalogue_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles") / "everything"
    train(open_catalogue(catalogue_directory), directory=directory, options=QUICKEST, progress=silent)
    return directory


@pytest.fixture(scope="module")
def bundle(bundle_directory: Path) -> Bundle:
    return read_bundle(bundle_directory)


@pytest.fixture(scope="module")
def products(catalogue_directory: Path, bundle: Bundle) -> list[EncodedProduct]:
    test_part = open_catalogue(catalogue_directory).read("test")
    return encode_products(test_part.products, Encoder(bundle.encoding))


def test_the_graph_gives_what_was_trained_with_and_without_each_modality(bundle: Bundle) -> None:
    predictions = Ensemble(bundle).predict(bundle.golden_inputs)

    assert {tuple(row) for row in bundle.golden_inputs["present"]} >= {
        (0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0), (0, 0, 0, 0),
    }  # fmt: skip
    for name, expected in bundle.golden_outputs.items():
        np.testing.assert_allclose(getattr(predictions, name), expected, atol=1e-5)


def test_a_bundle_carries_the_state_from_which_training_can_go_on(
    bundle: Bundle, bundle_directory: Path, catalogue_directory: Path
) -> None:
    state = unpack_state((bundle_directory / STATE).read_bytes())

    trained = open_catalogue(catalogue_directory).read("train").products
    assert STATE in bundle.manifest.files
    assert state.members == tuple(member.name for member in bundle.manifest.members)
    assert set(state.row_of) == {product_key(product.product_id) for product in trained}
    assert state.held.logits.shape == (len(trained), len(state.members), len(WORDS))
    assert not state.held.present[:, 0].all()  # some product has no title
    assert set(state.linear) == {"text_linear", "wide_linear"}
    assert all(np.isfinite(values).all() for values in state.network.values())


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04 cut short"])
def test_a_state_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(BundleRefused, match=r"training\.npz cannot be read: ValueError; retrain with --cold"):
        unpack_state(content)


def test_a_product_gets_the_same_answer_in_any_company(bundle: Bundle, products: list[EncodedProduct]) -> None:
    ensemble = Ensemble(bundle)

    together = ensemble.predict(collate(products))
    alone = [ensemble.predict(collate([product])) for product in products]

    for row, prediction in enumerate(alone):
        np.testing.assert_allclose(prediction.probabilities[0], together.probabilities[row], atol=1e-6)
        np.testing.assert_allclose(prediction.member_probabilities[0], together.member_probabilities[row], atol=1e-6)


def test_a_product_with_nothing_gets_the_priors(bundle: Bundle, products: list[EncodedProduct]) -> None:
    nothing = products[0].without("text", "image", "categorical", "numerical")

    predictions = Ensemble(bundle).predict(collate([nothing]))

    np.testing.assert_allclose(predictions.probabilities[0], bundle.manifest.priors, atol=1e-6)


def test_there_is_a_member_of_every_kind_and_modality(bundle: Bundle) -> None:
    members = bundle.manifest.members

    assert {member.kind for member in members} == {"linear", "mlp", "trees", "convolutional", "recurrent", "fused"}
    assert {modality for member in members for modality in member.modalities} == {
        "text", "image", "categorical", "numerical",
    }  # fmt: skip
    np.testing.assert_allclose(np.sum([member.weights for member in members], axis=0), 1.0)


def test_the_ensemble_has_learned_what_the_titles_say(
    catalogue_directory: Path, bundle: Bundle, products: list[EncodedProduct]
) -> None:
    truth = open_catalogue(catalogue_directory).read("test").truth

    predictions = Ensemble(bundle).predict(collate(products))

    assert truth is not None
    assert (predictions.probabilities.argmax(axis=1) == truth.argmax(axis=1)).mean() > 0.85


def test_the_same_seed_gives_the_same_probabilities(catalogue_directory: Path, bundle: Bundle, tmp_path: Path) -> None:
    train(open_catalogue(catalogue_directory), directory=tmp_path / "again", options=QUICKEST, progress=silent)

    again = read_bundle(tmp_path / "again")

    for name, expected in bundle.golden_outputs.items():
        np.testing.assert_array_equal(again.golden_outputs[name], expected)


def test_another_seed_gives_other_probabilities(catalogue_directory: Path, bundle: Bundle, tmp_path: Path) -> None:
    options = dataclasses.replace(QUICKEST, seed=1)

    train(open_catalogue(catalogue_directory), directory=tmp_path / "other", options=options, progress=silent)

    other = read_bundle(tmp_path / "other").golden_outputs["probabilities"]
    assert np.abs(other - bundle.golden_outputs["probabilities"]).max() > 1e-4


def test_the_test_part_is_never_read(catalogue_directory: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(catalogue_directory, tmp_path / "catalogue")
    catalogue = open_catalogue(directory)
    for name in ("test.parquet", "test.labels.parquet", "stream.parquet", "stream.labels.parquet"):
        (directory / name).unlink()

    manifest = train(catalogue, directory=tmp_path / "bundle", options=QUICKEST, progress=silent)

    assert manifest.reference.n_products == 120


@pytest.mark.parametrize(
    "stage", ["encode products", "weigh labels", "cross-fit members", "train on all products", "export"]
)
def test_an_interrupt_leaves_no_directory(catalogue_directory: Path, tmp_path: Path, stage: str) -> None:
    def interrupt(name: str, _done: int, _total: int) -> None:
        if name == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(open_catalogue(catalogue_directory), directory=tmp_path / "bundle", options=QUICKEST, progress=interrupt)

    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_there_is_not_written_into(catalogue_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()

    with pytest.raises(BundleRefused, match="bundle is there already"):
        train(open_catalogue(catalogue_directory), directory=tmp_path / "bundle", options=QUICKEST, progress=silent)

    assert list((tmp_path / "bundle").iterdir()) == []


def test_labels_that_are_not_there_are_missed_by_name(catalogue_directory: Path, tmp_path: Path) -> None:
    options = dataclasses.replace(QUICKEST, labels="truth")

    with pytest.raises(CatalogueError, match="the train part has no truth table"):
        train(open_catalogue(catalogue_directory), directory=tmp_path / "bundle", options=options, progress=silent)


def test_progress_of_every_stage_ends_at_its_total(catalogue_directory: Path, tmp_path: Path) -> None:
    last: dict[str, tuple[int, int]] = {}

    def record(stage: str, done: int, total: int) -> None:
        assert done > last.get(stage, (0, 0))[0]
        last[stage] = (done, total)

    train(open_catalogue(catalogue_directory), directory=tmp_path / "bundle", options=QUICKEST, progress=record)

    assert len(last) >= 4
    assert all(done == total for done, total in last.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_catalogue_of_any_shape_can_be_trained_on(tmp_path: Path, shape: str) -> None:
    make: Callable[[Path], Path] = SHAPES[shape]
    catalogue = open_catalogue(make(tmp_path / shape))

    train(catalogue, directory=tmp_path / "bundle", options=QUICKEST, progress=silent)

    bundle = read_bundle(tmp_path / "bundle")
    encoded = encode_products(catalogue.read("test").products, Encoder(bundle.encoding))
    probabilities = Ensemble(bundle).predict(collate(encoded)).probabilities
    for index, trainable in enumerate(bundle.manifest.trainable):
        if not trainable:
            np.testing.assert_allclose(probabilities[:, index], bundle.manifest.priors[index], atol=1e-6)
            assert not (probabilities[:, index] >= bundle.manifest.thresholds[index]).any()
    assert any(bundle.manifest.trainable)


def test_a_training_in_which_no_tree_grows_says_nothing_of_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    catalogue = open_catalogue(text_only(tmp_path / "shop"))

    train(catalogue, directory=tmp_path / "bundle", options=QUICKEST, progress=silent)

    assert capfd.readouterr() == ("", "")


def test_labels_of_one_kind_are_refused_with_what_helps(tmp_path: Path) -> None:
    shop = write(tmp_path / "shop", 'text = ["title"]', titles, classes=lambda _word: {"mug": True, "lamp": None})

    with pytest.raises(CatalogueError) as refused:
        train(open_catalogue(shop), directory=tmp_path / "bundle", options=QUICKEST, progress=silent)

    assert str(refused.value) == (
        "shop: no class has five known positives and five known negatives; write 1 for yes and 0 for no in the "
        "merchant_labels table, as what is left empty is unknown"
    )


def test_calibration_brings_predictions_nearer_to_what_was_observed(bundle: Bundle) -> None:
    gaps = {}
    for name, (predicted, observed, counts) in bundle.manifest.metrics["reliability"].items():
        gaps[name] = float(np.average(np.abs(np.subtract(predicted, observed)), weights=counts))
        assert sum(counts) == 120 * 4

    assert gaps["after"] < 0.6 * gaps["before"]
