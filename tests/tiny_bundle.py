"""A real bundle in a few kilobytes: a small ONNX graph whose answers depend on every input."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from service.bundles.bundle import ENCODING, GOLDEN, GRAPH, Manifest, pack_golden, write_bundle
from service.contracts import FieldSpec, Product
from service.ensemble import OUTPUTS
from service.features.categorical import CategoricalEncoding
from service.features.encoder import Encoder, Encoding, collate
from service.features.numerical import NumericalEncoding
from service.features.text import TextEncoding

FIELDS = FieldSpec.model_validate(
    {
        "id": "product_id",
        "text": ["title", "description"],
        "categorical": ["brand", {"column": "merchant_category", "separator": ","}],
        "numerical": ["price", "n_images"],
        "image": "image",
    }
)
CLASSES = ("black", "womens", "footwear", "sale")
THRESHOLDS = (0.5, 0.4, 0.5, 0.6)
MEMBERS: tuple[dict[str, Any], ...] = (
    {"name": "words", "kind": "linear", "modalities": ["text"], "weights": [0.4, 0.3, 0.4, 0.3]},
    {"name": "tabular", "kind": "trees", "modalities": ["categorical", "numerical"], "weights": [0.1, 0.3, 0.2, 0.5]},
    {"name": "pixels", "kind": "convolutional", "modalities": ["image"], "weights": [0.2, 0.1, 0.0, 0.0]},
    {
        "name": "fused",
        "kind": "fused",
        "modalities": ["text", "image", "categorical", "numerical"],
        "weights": [0.3, 0.3, 0.4, 0.2],
    },
)
PRIORS = (0.3, 0.5, 0.25, 0.2)
IMAGE_SIZE = 16
N_DIMENSIONS = 3
WORDS = ("black", "dress", "leather", "boots", "red", "shirt", "cotton", "sale")
ENCODING_OF_TINY = Encoding(
    text=TextEncoding(
        words={word: 3 + index for index, word in enumerate(WORDS)},
        bag={name: 1 + index for index, name in enumerate((*WORDS, "black dress", "leather boots", "#<bl", "#oot"))},
        n_tokens=12,
    ),
    categorical=CategoricalEncoding(
        values=({"acme": 1, "nord": 2}, {"shoes": 4, "sale": 5, "dresses": 6}), unknown=(3, 7), n_ids=8
    ),
    numerical=NumericalEncoding(means=(3.5, 1.0), deviations=(1.2, 0.5)),
    image_size=IMAGE_SIZE,
)
EXAMPLE = {
    "product_id": "sku-1",
    "title": "Black leather boots",
    "description": "Warm boots.",
    "brand": "Nord",
    "merchant_category": "Shoes,Sale",
    "price": 89.9,
    "n_images": 2,
}


def write_tiny_bundle(directory: Path, *, version: str = "tiny-1", seed: int = 0) -> Manifest:
    """Write the bundle; another seed gives other weights and so other answers."""
    graph = tiny_graph(seed)
    inputs = golden_inputs()
    expected = ReferenceEvaluator(graph).run(list(OUTPUTS), inputs)
    outputs = {name: np.asarray(values, dtype=np.float32) for name, values in zip(OUTPUTS, expected, strict=True)}
    files = {
        GRAPH: graph.SerializeToString(),
        ENCODING: ENCODING_OF_TINY.model_dump_json().encode(),
        GOLDEN: pack_golden(inputs, outputs),
    }
    return write_bundle(directory, tiny_manifest(version), files=files)


def tiny_manifest(version: str) -> dict[str, Any]:
    return {
        "version": version,
        "created_at": datetime(2026, 11, 1, 12, tzinfo=UTC),
        "catalogue": "tiny",
        "fields": FIELDS,
        "taxonomy": {"classes": CLASSES},
        "thresholds": THRESHOLDS,
        "priors": PRIORS,
        "trainable": [True] * len(CLASSES),
        "members": MEMBERS,
        "metrics": {"ensemble": {"macro_ap": 0.5}},
        "reference": {"n_products": 0},
        "example": EXAMPLE,
    }


def golden_products() -> list[Product]:
    return [
        FIELDS.product(EXAMPLE),
        FIELDS.product({"product_id": "sku-2", "title": "Red cotton shirt", "price": 20.0}),
        FIELDS.product({"product_id": "sku-3", "brand": "Unheard of", "merchant_category": ["Dresses"]}),
        FIELDS.product({"product_id": "sku-4"}),
    ]


def golden_inputs() -> dict[str, NDArray[Any]]:
    encoder = Encoder(ENCODING_OF_TINY)
    ramp = np.arange(IMAGE_SIZE * IMAGE_SIZE * 3, dtype=np.uint8).reshape(IMAGE_SIZE, IMAGE_SIZE, 3)
    images = [None, ramp, None, None]
    return collate([encoder.encode(product, image) for product, image in zip(golden_products(), images, strict=True)])


def tiny_graph(seed: int = 0) -> onnx.ModelProto:
    """The graph, with random weights that the seed fixes; embeds bags, averages pixels, stacks the members present."""
    nodes = [*_towers(), *_stacking()]
    inputs = [
        helper.make_tensor_value_info("token_ids", TensorProto.INT64, ["n", "n_tokens"]),
        helper.make_tensor_value_info("bag_ids", TensorProto.INT64, ["n", "n_bag"]),
        helper.make_tensor_value_info("bag_values", TensorProto.FLOAT, ["n", "n_bag"]),
        helper.make_tensor_value_info("category_ids", TensorProto.INT64, ["n", "n_values"]),
        helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["n", 2 * len(FIELDS.numerical)]),
        helper.make_tensor_value_info("images", TensorProto.UINT8, ["n_images", "height", "width", 3]),
        helper.make_tensor_value_info("image_rows", TensorProto.INT64, ["n_images"]),
        helper.make_tensor_value_info("present", TensorProto.FLOAT, ["n", 4]),
    ]
    shapes: tuple[list[str | int], ...] = (
        ["n", len(CLASSES)],
        ["n", len(MEMBERS), len(CLASSES)],
        ["n", N_DIMENSIONS],
    )
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(OUTPUTS, shapes, strict=True)
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in _weights(seed).items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _towers() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Shape", ["present"], ["n"], start=0, end=1),
        node("Gather", ["bag_table", "bag_ids"], ["bag_rows"]),
        node("Unsqueeze", ["bag_values", "last"], ["bag_scale"]),
        node("Mul", ["bag_rows", "bag_scale"], ["bag_scaled"]),
        node("ReduceSum", ["bag_scaled", "one"], ["words"], keepdims=0),
        node("Gather", ["value_table", "category_ids"], ["value_rows"]),
        node("ReduceSum", ["value_rows", "one"], ["values"], keepdims=0),
        node("MatMul", ["numbers", "number_weights"], ["priced"]),
        node("Add", ["values", "priced"], ["tabular"]),
        node("Cast", ["images"], ["float_images"], to=TensorProto.FLOAT),
        node("ReduceMean", ["float_images", "middle"], ["colours"], keepdims=0),
        node("Mul", ["colours", "byte"], ["scaled_colours"]),
        node("MatMul", ["scaled_colours", "colour_weights"], ["image_logits"]),
        node("Add", ["n", "one"], ["n_and_one"]),
        node("Concat", ["n_and_one", "n_classes"], ["padded_shape"], axis=0),
        node("ConstantOfShape", ["padded_shape"], ["blank"]),
        node("Unsqueeze", ["image_rows", "one"], ["image_indices"]),
        node("ScatterND", ["blank", "image_indices", "image_logits"], ["padded_pixels"]),
        node("Slice", ["padded_pixels", "zero", "n", "zero"], ["pixels"]),
        node("Gather", ["token_table", "token_ids"], ["token_rows"]),
        node("ReduceSum", ["token_rows", "one"], ["tokens"], keepdims=0),
        node("Sum", ["words", "tabular", "pixels", "tokens"], ["fused"]),
        node("MatMul", ["fused", "embedding_weights"], ["embedding"]),
    ]


def _stacking() -> list[onnx.NodeProto]:
    node = helper.make_node
    towers = ["words", "tabular", "pixels", "fused"]
    return [
        *(node("Unsqueeze", [tower, "one"], [f"{tower}_member"]) for tower in towers),
        node("Concat", [f"{tower}_member" for tower in towers], ["member_logits"], axis=1),
        node("Sigmoid", ["member_logits"], ["member_probabilities"]),
        node("MatMul", ["present", "reads"], ["n_present"]),
        node("Clip", ["n_present", "nothing", "whole"], ["member_present"]),
        node("Unsqueeze", ["member_present", "last"], ["member_flags"]),
        node("Mul", ["member_flags", "stacking_weights"], ["weights"]),
        node("Mul", ["weights", "member_probabilities"], ["weighted"]),
        node("ReduceSum", ["weighted", "one"], ["numerator"], keepdims=0),
        node("ReduceSum", ["weights", "one"], ["denominator"], keepdims=0),
        node("Greater", ["denominator", "nothing"], ["answered"]),
        node("Max", ["denominator", "tiny"], ["divisor"]),
        node("Div", ["numerator", "divisor"], ["stacked"]),
        node("Where", ["answered", "stacked", "priors"], ["probabilities"]),
    ]


def _weights(seed: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    n_classes = len(CLASSES)

    def table(n_rows: int, n_columns: int = n_classes) -> NDArray[np.float32]:
        values = rng.normal(0, 1, (n_rows, n_columns)).astype(np.float32)
        values[0] = 0  # padding
        return values

    reads = [
        [modality in member["modalities"] for member in MEMBERS]
        for modality in ("text", "image", "categorical", "numerical")
    ]
    bag, words = ENCODING_OF_TINY.text.bag, ENCODING_OF_TINY.text.words
    return {
        "bag_table": table(1 + len(bag)),
        "token_table": table(3 + len(words)),
        "value_table": table(ENCODING_OF_TINY.categorical.n_ids),
        "number_weights": rng.normal(0, 0.5, (2 * len(FIELDS.numerical), n_classes)).astype(np.float32),
        "colour_weights": rng.normal(0, 2, (3, n_classes)).astype(np.float32),
        "embedding_weights": rng.normal(0, 1, (n_classes, N_DIMENSIONS)).astype(np.float32),
        "stacking_weights": np.asarray([member["weights"] for member in MEMBERS], dtype=np.float32),
        "priors": np.asarray(PRIORS, dtype=np.float32),
        "reads": np.asarray(reads, dtype=np.float32),
        "byte": np.asarray(1 / 255, dtype=np.float32),
        "nothing": np.asarray(0, dtype=np.float32),
        "whole": np.asarray(1, dtype=np.float32),
        "tiny": np.asarray(1e-6, dtype=np.float32),
        "zero": np.asarray([0]),
        "one": np.asarray([1]),
        "last": np.asarray([-1]),
        "middle": np.asarray([1, 2]),
        "n_classes": np.asarray([n_classes]),
    }
