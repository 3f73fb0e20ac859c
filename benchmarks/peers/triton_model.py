"""The model that Triton's Python backend loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as backend

from benchmarks.peers.graph import Graph


class TritonPythonModel:
    """Products of several requests in one run of the graph."""

    def initialize(self, _: dict[str, str]) -> None:
        """Open the graph."""
        self._graph = Graph()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Classify all products at once."""
        texts = [backend.get_input_tensor_by_name(request, "products").as_numpy()[:, 0] for request in requests]
        answers = iter(self._graph.answers([json.loads(text) for together in texts for text in together]))
        return [_response([next(answers) for _ in together]) for together in texts]


def _response(answers: Sequence[dict[str, Any]]) -> Any:
    results = np.array([[json.dumps(answer).encode()] for answer in answers], dtype=object)
    return backend.InferenceResponse([backend.Tensor("results", results)])
