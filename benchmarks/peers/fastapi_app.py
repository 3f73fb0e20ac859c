"""What most people would write: FastAPI, one `session.run` a request, no batching."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from benchmarks.peers.graph import Graph

graph = Graph()
app = FastAPI()


def ready() -> dict[str, str]:
    """Say which bundle answers."""
    return {"model_version": graph.version}


def classify(body: dict[str, Any]) -> dict[str, Any]:
    """Classify."""
    return {"model_version": graph.version, "results": graph.answers(body["products"])}


app.get("/ready")(ready)
app.post("/classify")(classify)
