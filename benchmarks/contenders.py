"""Who is compared: Winnow, the same application without BentoML, other people's servers, and what HTTP costs at least.

All answer from one bundle about the same products. Peers run in environments of their own under build/peers, made on
first use; measuring is left to `benchmarks.classify`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import request_bytes
from benchmarks.servers import Server, peer_python, serving, winnow_command

Records = Sequence[Mapping[str, Any]]
START_SECONDS = 180.0  # Ray starts eight processes first


def _ours(records: Records) -> bytes:
    return request_bytes("/classify", json.dumps({"products": records}).encode())


def _mlserver(records: Records) -> bytes:
    return _tensor(records, [len(records)])


def _triton(records: Records) -> bytes:
    return _tensor(records, [len(records), 1])


def _tensor(records: Records, shape: Sequence[int]) -> bytes:
    texts = [json.dumps(record) for record in records]
    tensor = {"name": "products", "shape": shape, "datatype": "BYTES", "data": texts}
    return request_bytes("/v2/models/winnow/infer", json.dumps({"inputs": [tensor]}).encode())


@dataclass(frozen=True)
class Contender:
    """A server to be compared.

    Parameters
    ----------
    packages : of its own environment; none for what runs in ours
    arguments : of its Python; `{port}` stands for the port
    ready : a path that answers 200 once it serves
    request : spells one request
    """

    name: str
    packages: tuple[str, ...]
    arguments: tuple[str, ...]
    ready: str
    request: Callable[[Records], bytes] = _ours
    environment: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def serving(self, bundle: Path, home: Path) -> Iterator[Server]:
        """Run it for the time of the block.

        Parameters
        ----------
        home : a model store in which the bundle is current
        """
        python = str(peer_python(self.name.lower().split()[0], self.packages)) if self.packages else sys.executable
        with tempfile.TemporaryDirectory() as directory:
            environment = {"OMP_NUM_THREADS": "1", "PEER_BUNDLE": str(bundle), "BENTOML_HOME": str(home)}
            environment |= {
                "WINNOW_DATABASE_URL": f"sqlite:///{directory}/queue.sqlite3",
                "PROMETHEUS_MULTIPROC_DIR": directory,
                **self.environment,
            }
            command = [python, *self.arguments] if self.arguments else winnow_command()
            with serving(
                self.name, command, ready=self.ready, environment=environment, start_seconds=START_SECONDS
            ) as server:
                yield server


_UVICORN = ("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--no-access-log")
_BENTOML = ("-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", "{port}", "--working-dir", ".")

WINNOW = Contender("Winnow", (), (), "/readyz")
SAME_ON_UVICORN = Contender("the same on plain uvicorn", (), (*_UVICORN, "benchmarks.peers.uvicorn_app:app"), "/model")
EMPTY = Contender("an empty application", (), (*_UVICORN, "benchmarks.peers.empty_app:app"), "/")
CONTENDERS = (
    WINNOW,
    SAME_ON_UVICORN,
    EMPTY,
    Contender(
        "FastAPI + onnxruntime",
        ("fastapi", "uvicorn", "uvloop", "httptools"),
        (*_UVICORN, "benchmarks.peers.fastapi_app:app"),
        "/ready",
    ),
    Contender(
        "MLServer", ("mlserver",), ("-m", "benchmarks.peers.mlserver_app", "--port", "{port}"),
        "/v2/models/winnow/ready", request=_mlserver,
    ),
    Contender(
        "Triton (Python backend)", ("nvidia-pytriton",), ("-m", "benchmarks.peers.triton_app", "--port", "{port}"),
        "/v2/models/winnow/ready", request=_triton,
    ),
    Contender(
        "LitServe", ("litserve", "uvloop", "httptools"), ("-m", "benchmarks.peers.litserve_app", "--port", "{port}"),
        "/health",
    ),
    Contender(
        "Ray Serve", ("ray[serve]",), ("-m", "benchmarks.peers.ray_app", "--port", "{port}"), "/-/healthz",
        environment={"RAY_USAGE_STATS_ENABLED": "0"},
    ),
    Contender(
        "BentoML batchable", ("bentoml==1.4.39",), (*_BENTOML, "benchmarks.peers.bentoml_app:Batchable"), "/readyz"
    ),
)  # fmt: skip
