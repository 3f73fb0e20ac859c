"""What most people would write: FastAPI, one `session.run` a request, no batching; the graph and encoding are ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI

from service.bundle import read_bundle
from service.contracts import MODALITIES
from service.features.encoder import Encoder, collate

bundle = read_bundle(Path(os.environ["PEER_BUNDLE"]))
encoder = Encoder(bundle.encoding)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(bundle.graph, options)
wanted = [graph_input.name for graph_input in session.get_inputs()]
thresholds = np.asarray(bundle.manifest.thresholds)
app = FastAPI()


def ready() -> dict[str, str]:
    """Say which bundle answers."""
    return {"model_version": bundle.manifest.version, "modalities": ", ".join(MODALITIES)}


def classify(body: dict[str, Any]) -> dict[str, Any]:
    """Classify without images, scores or checks."""
    fields, classes = bundle.manifest.fields, bundle.manifest.taxonomy.classes
    products = [fields.product(record) for record in body["products"]]
    inputs = collate([encoder.encode(product, None) for product in products])
    (probabilities,) = session.run(["probabilities"], {name: inputs[name] for name in wanted})
    return {
        "model_version": bundle.manifest.version,
        "results": [
            {
                "product_id": product.product_id,
                "probabilities": dict(zip(classes, row.tolist(), strict=True)),
                "positive": [name for name, yes in zip(classes, row >= thresholds, strict=True) if yes],
            }
            for product, row in zip(products, probabilities, strict=True)
        ],
    }


app.get("/ready")(ready)
app.post("/classify")(classify)
