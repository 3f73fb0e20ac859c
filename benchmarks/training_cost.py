"""What a training costs as the catalogue grows: CPU and wall time, peak memory, and the growth between two sizes.

Run: python -m benchmarks.training_cost [--sizes 1000 4000 17000]. Each catalogue is a demo catalogue of that many
products in all its parts, trained as shipped, in a process and a model store of its own. The growth is the power of the
number of products that the CPU time rises with: 1 is in proportion.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from training.catalogues.catalogue import open_catalogue
from training.catalogues.tables import count_rows

LOOK_SECONDS = 0.2  # between two looks at the memory
SIZES = (1_000, 4_000, 17_000)


@dataclass(frozen=True)
class Training:
    """What one training took."""

    n_products: int  # of the train part
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments = parser.parse_args()
    trainings = []
    for n_products in arguments.sizes:
        with tempfile.TemporaryDirectory() as directory:
            trainings.append(_trained(Path(directory), n_products))
        Console().print(_table(trainings))


def _trained(directory: Path, n_products: int) -> Training:
    catalogue = directory / "catalogue"
    command = [sys.executable, "-m", "training.cli"]
    subprocess.run([*command, "demo-catalogue", str(catalogue), "--products", str(n_products)], check=True)
    n_rows = count_rows(open_catalogue(catalogue).path("train"))
    environment = {**os.environ, "BENTOML_HOME": str(directory / "home")}
    before, started, peak = _used(), time.perf_counter(), 0
    process = psutil.Popen([*command, "train", str(catalogue)], cwd=directory, env=environment)
    while process.poll() is None:
        peak = max(peak, _resident_bytes(process))
        time.sleep(LOOK_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "winnow train")
    return Training(n_rows, time.perf_counter() - started, _used() - before, peak)


def _used() -> float:
    """CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return sum(int(one.memory_info().rss) for one in [process, *process.children(recursive=True)])
    except psutil.Error:  # one ended while it was looked at
        return 0


def growth(trainings: Sequence[Training]) -> list[float]:
    """The power of the number of products that the CPU time rises with, from each training to the next."""
    return [
        math.log(larger.cpu_seconds / smaller.cpu_seconds) / math.log(larger.n_products / smaller.n_products)
        for smaller, larger in pairwise(trainings)
    ]


def _table(trainings: Sequence[Training]) -> Table:
    table = Table(title=f"winnow train on {os.cpu_count()} cores, as shipped, demo catalogues")
    for heading in ("train part", "CPU s", "CPU ms a product", "wall s", "peak memory MB", "growth"):
        table.add_column(heading, justify="right")
    for training, power in zip(trainings, [math.nan, *growth(trainings)], strict=True):
        table.add_row(
            f"{training.n_products:,}", f"{training.cpu_seconds:.0f}",
            f"{training.cpu_seconds / training.n_products * 1e3:.1f}", f"{training.wall_seconds:.0f}",
            f"{training.peak_bytes / 1e6:.0f}", "" if math.isnan(power) else f"{power:.2f}",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    main()
