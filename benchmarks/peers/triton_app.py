"""NVIDIA Triton with its own Python backend and dynamic batching, out of PyTriton's package but without its proxy."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path

import pytriton
from pytriton.utils.distribution import get_libs_path, get_stub_path

TRITON = Path(pytriton.__file__).parent / "tritonserver"
CONFIGURATION = """
name: "winnow"
backend: "python"
max_batch_size: 64
dynamic_batching { max_queue_delay_microseconds: 2000 }
input [{ name: "products", data_type: TYPE_STRING, dims: [1] }]
output [{ name: "results", data_type: TYPE_STRING, dims: [1] }]
instance_group [{ kind: KIND_CPU, count: 1 }]
"""


def write_models(directory: Path) -> Path:
    """Write a model repository."""
    model = directory / "models" / "winnow"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIGURATION)
    shutil.copy(Path(__file__).with_name("triton_model.py"), model / "1" / "model.py")
    return model.parent


def copy_backends(directory: Path) -> Path:
    """Lay the backend beside the stub that is built for this Python, as Triton expects them."""
    backends = Path(shutil.copytree(TRITON / "backends", directory / "backends"))
    shutil.copy(get_stub_path(f"{sys.version_info.major}.{sys.version_info.minor}"), backends / "python")
    return backends


def environment() -> dict[str, str]:
    """Let Triton's Python processes load this interpreter's library and find this environment's packages."""
    libraries = [sysconfig.get_config_var("LIBDIR"), str(get_libs_path())]
    modules = [str(Path.cwd()), sysconfig.get_paths()["purelib"]]
    return {
        **os.environ,
        "PATH": f"{sys.exec_prefix}/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(libraries),
        "PYTHONPATH": ":".join(modules),
    }


def command(port: int, models: Path, backends: Path) -> list[str]:
    """HTTP alone, on this machine alone."""
    options = {
        "http-address": "127.0.0.1", "http-port": port, "allow-grpc": "false", "allow-metrics": "false",
        "model-repository": models, "backend-directory": backends,
    }  # fmt: skip
    return [str(TRITON / "bin" / "tritonserver"), *(f"--{name}={value}" for name, value in options.items())]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="triton-") as directory, suppress(KeyboardInterrupt):
        root = Path(directory)
        server = subprocess.Popen(command(port, write_models(root), copy_backends(root)), env=environment())
        try:
            server.wait()
        finally:
            server.terminate()
            server.wait()
