"""LitServe with its own batching, one worker. It reads types at run time, so none may be a text here."""

import argparse
from typing import Any

import litserve

from benchmarks.peers.graph import Graph

Records = list[dict[str, Any]]


class Api(litserve.LitAPI):  # type: ignore[misc]  # untyped here
    """Products of several requests in one run of the graph."""

    def setup(self, device: str) -> None:  # noqa: ARG002  LitServe's signature
        """Open the graph."""
        self._graph = Graph()

    def decode_request(self, request: dict[str, Any]) -> Records:
        """Take the products out of a request."""
        products: Records = request["products"]
        return products

    def batch(self, inputs: list[Records]) -> list[Records]:
        """Keep requests apart, to be able to part the answers again."""
        return inputs

    def predict(self, inputs: list[Records]) -> list[Records]:
        """Classify all products at once."""
        answers = iter(self._graph.answers([record for records in inputs for record in records]))
        return [[next(answers) for _ in records] for records in inputs]

    def unbatch(self, output: list[Records]) -> list[Records]:
        """One answer a request."""
        return output

    def encode_response(self, output: Records) -> dict[str, Any]:
        """Answer."""
        return {"results": output}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    api = Api(max_batch_size=64, batch_timeout=0.002, api_path="/classify")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=parser.parse_args().port, generate_client_file=False, log_level="error")
