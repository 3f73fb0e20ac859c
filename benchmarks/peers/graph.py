"""What every peer does with products: our encoding and our graph, and an answer without scores, sampling or checks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from service.bundles.bundle import read_bundle
from service.features.encoder import Encoder, collate


class Graph:
    """The bundle that PEER_BUNDLE names, in a session with one thread."""

    def __init__(self) -> None:
        bundle = read_bundle(Path(os.environ["PEER_BUNDLE"]))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.version = bundle.manifest.version
        self._fields = bundle.manifest.fields
        self._classes = bundle.manifest.taxonomy.classes
        self._thresholds = np.asarray(bundle.manifest.thresholds)
        self._encoder = Encoder(bundle.encoding)
        self._session = onnxruntime.InferenceSession(bundle.graph, options, providers=["CPUExecutionProvider"])
        self._wanted = [graph_input.name for graph_input in self._session.get_inputs()]

    def answers(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One answer a product, all in one run of the graph."""
        products = [self._fields.product(record) for record in records]
        inputs = collate([self._encoder.encode(product, None) for product in products])
        (probabilities,) = self._session.run(["probabilities"], {name: inputs[name] for name in self._wanted})
        return [
            {
                "product_id": product.product_id,
                "probabilities": dict(zip(self._classes, row.tolist(), strict=True)),
                "positive": [name for name, yes in zip(self._classes, row >= self._thresholds, strict=True) if yes],
            }
            for product, row in zip(products, probabilities, strict=True)
        ]
