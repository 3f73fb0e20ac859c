"""BentoML as its documentation shows it: one method, `batchable=True`, nothing else changed."""

from __future__ import annotations

from typing import Any

import bentoml

from benchmarks.peers.graph import Graph


@bentoml.service(name="batchable")
class Batchable:
    """A service with adaptive batching over the products of all requests."""

    def __init__(self) -> None:
        self._graph = Graph()

    @bentoml.api(batchable=True)  # type: ignore[untyped-decorator]
    def classify(self, products: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Classify."""
        return self._graph.answers(products)
