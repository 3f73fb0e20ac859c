"""The graph runner: agrees with a slower evaluator, and refuses what it should not serve."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from service.bundles.bundle import Bundle, read_bundle
from service.ensemble import OUTPUTS, Ensemble
from service.errors import BundleRefused, UnusablePrediction
from service.features.batch_encoder import BatchEncoder
from tests.tiny_bundle import EXAMPLE, FIELDS, golden_inputs, tiny_graph


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return read_bundle(tiny_bundle)


def with_graph(bundle: Bundle, graph: onnx.ModelProto) -> Bundle:
    return replace(bundle, graph=graph.SerializeToString())


def test_predictions_agree_with_the_reference_evaluator(bundle: Bundle) -> None:
    inputs = golden_inputs()
    inputs["numbers"] = inputs["numbers"] * 0.5

    predictions = Ensemble(bundle).predict(inputs)

    expected = ReferenceEvaluator(onnx.load(io.BytesIO(bundle.graph))).run(list(OUTPUTS), inputs)
    for name, values in zip(OUTPUTS, expected, strict=True):
        np.testing.assert_allclose(getattr(predictions, name), values, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_runs_by_length_say_of_each_product_what_one_run_says(bundle: Bundle, batch_size: int) -> None:
    records = [
        {**EXAMPLE, "product_id": str(row), "title": " ".join(["red", "shirt", "boots"][: row % 4] * (row % 5))}
        for row in range(17)
    ]
    batch = BatchEncoder(FIELDS, bundle.encoding).encode(records, [None] * len(records))
    ensemble = Ensemble(bundle)

    by_length = ensemble.predict_by_length(batch, batch_size)

    at_once = ensemble.predict(batch.inputs(np.arange(len(records))))
    for name in (*OUTPUTS, "present"):
        np.testing.assert_allclose(getattr(by_length, name), getattr(at_once, name), atol=1e-6)
    assert len(np.unique(at_once.probabilities, axis=0)) > 3  # so that a mixed-up order would show


def without_pictures() -> dict[str, NDArray[Any]]:
    """Inputs as `collate` makes them where no product has a picture."""
    inputs = golden_inputs()
    present = inputs["present"] * np.asarray([1, 0, 1, 1], dtype=np.float32)
    return inputs | {"image_rows": np.asarray([len(present)]), "present": present}


def counting_pictures() -> onnx.ModelProto:
    """The tiny graph, but its embedding is multiplied by how many pictures there are."""
    graph = tiny_graph()
    (last,) = [node for node in graph.graph.node if "embedding" in node.output]
    last.output[0] = "embedding_of_one"
    graph.graph.node.extend(
        [
            helper.make_node("Shape", ["image_rows"], ["n_pictures"]),
            helper.make_node("Cast", ["n_pictures"], ["times"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["embedding_of_one", "times"], ["embedding"]),
        ]
    )
    return graph


@pytest.mark.parametrize(("graph", "needs_none"), [(tiny_graph(), True), (counting_pictures(), False)])
def test_products_without_pictures_run_without_any_only_where_that_says_the_same(
    bundle: Bundle, graph: onnx.ModelProto, needs_none: bool
) -> None:
    ensemble = Ensemble(with_graph(bundle, graph))

    predictions = ensemble.predict(without_pictures())

    expected = ReferenceEvaluator(graph).run(list(OUTPUTS), without_pictures())
    for name, values in zip(OUTPUTS, expected, strict=True):
        np.testing.assert_allclose(getattr(predictions, name), values, atol=1e-6)
    assert ensemble.needs_no_picture is needs_none


def test_a_member_abstains_where_none_of_its_modalities_is_present(bundle: Bundle) -> None:
    predictions = Ensemble(bundle).predict(golden_inputs())

    assert predictions.present.tolist() == [
        [True, True, False, True],  # text, categories, numbers
        [True, True, True, True],  # text, number, image
        [False, True, False, True],  # categories
        [False, False, False, False],  # nothing
    ]


def test_a_product_without_any_value_gets_the_priors(bundle: Bundle) -> None:
    predictions = Ensemble(bundle).predict(golden_inputs())

    np.testing.assert_allclose(predictions.probabilities[3], bundle.manifest.priors, atol=1e-6)


def test_a_graph_with_other_weights_is_refused_for_its_golden_batch(bundle: Bundle) -> None:
    with pytest.raises(BundleRefused, match="of the golden batch differ"):
        Ensemble(with_graph(bundle, tiny_graph(seed=1)))


def test_bytes_that_are_no_graph_are_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleRefused, match="cannot load the graph"):
        Ensemble(replace(bundle, graph=b"no graph" * 50))


def test_a_custom_operator_is_refused(bundle: Bundle) -> None:
    graph = tiny_graph()
    graph.graph.node.append(helper.make_node("Own", ["present"], ["own"], domain="shop"))
    graph.opset_import.append(helper.make_opsetid("shop", 1))

    with pytest.raises(BundleRefused, match="no custom operators"):
        Ensemble(with_graph(bundle, graph))


@pytest.mark.parametrize("place", ["weights.bin", "../{name}/weights.bin", "{parent}/{name}/weights.bin"])
def test_weights_kept_in_another_file_are_refused(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    graph = tiny_graph()
    table = next(weights for weights in graph.graph.initializer if weights.name == "token_table")
    (tmp_path / "weights.bin").write_bytes(table.raw_data)
    location = place.format(parent=tmp_path.parent, name=tmp_path.name)
    table.external_data.append(onnx.StringStringEntryProto(key="location", value=location))
    table.data_location = TensorProto.EXTERNAL
    table.ClearField("raw_data")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(BundleRefused, match="hold its weights itself"):
        Ensemble(with_graph(bundle, graph))


def test_an_input_we_do_not_make_is_refused(bundle: Bundle) -> None:
    graph = tiny_graph()
    graph.graph.input.append(helper.make_tensor_value_info("colour", TensorProto.FLOAT, [1]))

    with pytest.raises(BundleRefused, match="unknown graph input colour"):
        Ensemble(with_graph(bundle, graph))


def test_a_graph_without_embedding_is_refused(bundle: Bundle) -> None:
    graph = tiny_graph()
    del graph.graph.output[2]

    with pytest.raises(BundleRefused, match="no output named embedding"):
        Ensemble(with_graph(bundle, graph))


def test_a_golden_batch_for_another_number_of_classes_is_refused(bundle: Bundle) -> None:
    fewer = bundle.manifest.taxonomy.model_copy(update={"classes": bundle.manifest.taxonomy.classes[:3]})
    manifest = bundle.manifest.model_copy(update={"taxonomy": fewer})

    with pytest.raises(BundleRefused, match="probabilities has shape"):
        Ensemble(replace(bundle, manifest=manifest))


@pytest.mark.parametrize("name", ["numbers", "bag_values"])
def test_numbers_that_are_not_finite_do_not_leave_the_ensemble(bundle: Bundle, name: str) -> None:
    ensemble = Ensemble(bundle)
    inputs: dict[str, NDArray[Any]] = golden_inputs()
    inputs[name] = np.full_like(inputs[name], np.nan)

    with pytest.raises(UnusablePrediction, match="not in"):
        ensemble.predict(inputs)


def test_an_id_beyond_its_table_is_an_error_of_the_batch(bundle: Bundle) -> None:
    ensemble = Ensemble(bundle)
    inputs = golden_inputs()
    inputs["category_ids"] = inputs["category_ids"] + 1000

    with pytest.raises(UnusablePrediction, match="failed on this batch"):
        ensemble.predict(inputs)


def test_without_a_gpu_the_cpu_answers_the_same_and_an_error_says_so(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    asked_for_gpu = Ensemble(bundle, device="cuda")  # the pinned onnxruntime is built for the CPU

    assert [record.message for record in caplog.records] == ["no GPU to run on, the CPU does it"]
    for name in OUTPUTS:
        said = [getattr(one.predict(bundle.golden_inputs), name) for one in (asked_for_gpu, Ensemble(bundle))]
        np.testing.assert_array_equal(*said)
