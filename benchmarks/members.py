"""What each member of a bundle costs and what it is worth, and what options of the session change.

Run: python -m benchmarks.members [CATALOGUE]. Costs are times of the graph's nodes, as onnxruntime's profiler tells
them, in batches of 64; the worth of a member is the macro AP that the ensemble loses without it, on the test part.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.servers import ROOT, bentoml_home
from service.bundles.bundle import Bundle, read_bundle
from service.bundles.bundle_store import BundleStore
from service.contracts import Predictions
from service.features.encoder import Encoder, collate
from training.catalogues.catalogue import Labels, open_catalogue
from training.evaluate import score
from training.predict import encode, predict

BATCH_SIZE = 64
N_PRODUCTS = 512  # whose cost is measured
SHARED = "shared by several, and stacking"

Inputs = Mapping[str, NDArray[Any]]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("catalogue", nargs="?", type=Path, default=ROOT / "data" / "demo")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    bundle = read_bundle(BundleStore(bentoml_home()).load("current"))
    part = open_catalogue(arguments.catalogue).read("test")
    if part.truth is None:
        raise SystemExit("the test part has no truth")
    encoder = Encoder(bundle.encoding)
    encoded = [encode(encoder, product) for product in part.products[:N_PRODUCTS]]
    batches = [collate(encoded[start : start + BATCH_SIZE]) for start in range(0, len(encoded), BATCH_SIZE)]
    names = [member.name for member in bundle.manifest.members]
    costs = node_costs(bundle.graph, batches, names, n_rounds=arguments.rounds, n_products=len(encoded))
    said = predict(bundle, part.products, progress=lambda *_: None)
    Console().print(_members_table(bundle, said, part.truth, costs))
    Console().print(_options_table(bundle.graph, batches, n_rounds=arguments.rounds, n_products=len(encoded)))


def node_costs(
    graph: bytes, batches: Sequence[Inputs], names: Sequence[str], *, n_rounds: int, n_products: int
) -> dict[str, float]:
    """Microseconds a product that the nodes of each member take, the median of some rounds."""
    rounds = [_profiled(graph, batches, names) for _ in range(n_rounds)]
    return {name: statistics.median(one[name] for one in rounds) / n_products for name in (*names, SHARED)}


def _profiled(graph: bytes, batches: Sequence[Inputs], names: Sequence[str]) -> Counter[str]:
    with tempfile.TemporaryDirectory() as directory:
        options = _options()
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        _run(session, batches)  # to warm up, unprofiled
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(directory) / "profile")
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        _run(session, batches)
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            owner = next((name for name in names if f"/{name}/" in event["name"]), SHARED)
            spent[owner] += event["dur"]
    return spent


def _members_table(bundle: Bundle, said: Predictions, truth: Labels, costs: Mapping[str, float]) -> Table:
    members = bundle.manifest.members
    weights = np.asarray([member.weights for member in members])
    thresholds = bundle.manifest.thresholds

    def macro_ap(kept: Sequence[bool]) -> float:
        shares = said.present[:, :, None] * weights * np.asarray(kept)[None, :, None]
        total = np.maximum(shares.sum(axis=1), 1e-9)
        return score((shares * said.member_probabilities).sum(axis=1) / total, truth, thresholds).macro_ap

    whole = macro_ap([True] * len(members))
    table = Table(title=f"members of {bundle.manifest.version}, test part; all together macro AP {whole:.4f}")
    for heading in (
        "member",
        "graph µs a product",
        "AP alone",
        "AP of the rest",
        "AP it adds",
        "added per ms",
        "weight",
    ):
        table.add_column(heading, justify="right" if heading != "member" else "left")
    for index, member in enumerate(members):
        alone = macro_ap([other is member for other in members])
        rest = macro_ap([other is not member for other in members])
        cost = costs[member.name]
        table.add_row(
            member.name, f"{cost:.1f}", f"{alone:.4f}", f"{rest:.4f}", f"{whole - rest:+.4f}",
            f"{(whole - rest) / cost * 1e3 if cost else 0:+.3f}", f"{weights[index].mean():.3f}",
        )  # fmt: skip
    table.add_row(SHARED, f"{costs[SHARED]:.1f}")
    return table


def _options_table(graph: bytes, batches: Sequence[Inputs], *, n_rounds: int, n_products: int) -> Table:
    levels = ort.GraphOptimizationLevel
    variants: dict[str, Callable[[], ort.SessionOptions]] = {
        "as served: 1 thread, all optimisations": _options,
        "extended optimisations": lambda: _options(level=levels.ORT_ENABLE_EXTENDED),
        "basic optimisations": lambda: _options(level=levels.ORT_ENABLE_BASIC),
        "no optimisations": lambda: _options(level=levels.ORT_DISABLE_ALL),
        "2 threads": lambda: _options(n_threads=2),
        "2 threads that spin": lambda: _options(n_threads=2, spins=True),
        "no memory pattern": lambda: _options(pattern=False),
    }
    sessions = {name: ort.InferenceSession(graph, make()) for name, make in variants.items()}
    wall: dict[str, list[float]] = {name: [] for name in sessions}
    cpu: dict[str, list[float]] = {name: [] for name in sessions}
    for round_number in range(-1, n_rounds):
        for name, session in sessions.items():
            started, used = time.perf_counter(), time.process_time()
            _run(session, batches)
            if round_number >= 0:
                wall[name].append((time.perf_counter() - started) / n_products * 1e6)
                cpu[name].append((time.process_time() - used) / n_products * 1e6)
    table = Table(title=f"options of the session, batches of {BATCH_SIZE}, with images, {n_rounds} rounds")
    for heading in ("", "CPU µs a product", "wall µs a product"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in sessions:
        table.add_row(name, _spread(cpu[name]), _spread(wall[name]))
    return table


def _options(*, level: Any = None, n_threads: int = 1, spins: bool = False, pattern: bool = True) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.graph_optimization_level = level or ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = pattern
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins else "0")
    return options


def _run(session: ort.InferenceSession, batches: Sequence[Inputs]) -> None:
    wanted = [graph_input.name for graph_input in session.get_inputs()]
    for batch in batches:
        session.run(None, {name: batch[name] for name in wanted})


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"


if __name__ == "__main__":
    main()
