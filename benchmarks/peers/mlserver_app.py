"""MLServer with its adaptive batching; products travel as JSON texts in its own protocol."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from mlserver import MLModel
from mlserver.cli import main
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.peers.graph import Graph


class Model(MLModel):  # type: ignore[misc]  # untyped here
    """Products of several requests in one run of the graph."""

    async def load(self) -> bool:
        """Open the graph."""
        self._graph = Graph()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Classify the products of one, perhaps merged, request."""
        texts = payload.inputs[0].data
        answers = self._graph.answers([json.loads(text) for text in texts])
        output = ResponseOutput(
            name="results", shape=[len(answers)], datatype="BYTES", data=[json.dumps(answer) for answer in answers]
        )
        return InferenceResponse(model_name=self.name, outputs=[output])


def settings(port: int) -> dict[str, dict[str, object]]:
    """MLServer's two settings files, by name."""
    server = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2,
        "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    model = {
        "name": "winnow", "implementation": "benchmarks.peers.mlserver_app.Model",
        "max_batch_size": 64, "max_batch_time": 0.002,
    }  # fmt: skip
    return {"settings.json": server, "model-settings.json": model}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    with tempfile.TemporaryDirectory() as directory:
        for name, content in settings(port).items():
            (Path(directory) / name).write_text(json.dumps(content))
        sys.argv = ["mlserver", "start", directory]
        main()
