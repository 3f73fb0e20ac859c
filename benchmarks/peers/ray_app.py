"""Ray Serve with its own batching, one replica. It reads types at run time, so none may be a text here."""

import argparse
import os
import signal
import tempfile
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.graph import Graph

Records = list[dict[str, Any]]


@serve.deployment(max_ongoing_requests=512, ray_actor_options={"num_cpus": 1})
class Classifier:
    """Products of several requests in one run of the graph."""

    def __init__(self) -> None:
        self._graph = Graph()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)  # type: ignore[untyped-decorator]  # untyped here
    async def _classify(self, requests: list[Records]) -> list[Records]:
        answers = iter(self._graph.answers([record for records in requests for record in records]))
        return [[next(answers) for _ in records] for records in requests]

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one request."""
        products = (await request.json())["products"]
        return {"results": await self._classify(products)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    with tempfile.TemporaryDirectory(prefix="ray-") as directory:
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=100_000_000,
            runtime_env={"env_vars": {"PEER_BUNDLE": os.environ["PEER_BUNDLE"]}},
            _node_ip_address="127.0.0.1",
            _temp_dir=directory,
        )
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(Classifier.bind(), route_prefix="/classify")  # type: ignore[attr-defined]  # made by the decorator
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        serve.shutdown()
        ray.shutdown()
