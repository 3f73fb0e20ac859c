"""What a training costs as the catalogue grows: CPU and wall time, peak memory, and the growth between two sizes.

Run: python -m benchmarks.training_cost [--sizes 1000 4000 17000] [--no-pretrained]. Each catalogue is a demo catalogue
of that many products in all its parts, trained as shipped, in a process and a model store of its own. The growth is the
power of the number of products that the CPU time rises with: 1 is in proportion.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.watched import Took, resident_bytes, watched
from training.catalogues.catalogue import open_catalogue
from training.catalogues.tables import count_rows

SIZES = (1_000, 4_000, 17_000)


@dataclass(frozen=True)
class Training:
    """What one training took."""

    n_products: int  # of the train part
    took: Took


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--pretrained", action=argparse.BooleanOptionalAction, default=True, help="as of winnow train")
    arguments = parser.parse_args()
    trainings = []
    for n_products in arguments.sizes:
        with tempfile.TemporaryDirectory() as directory:
            trainings.append(_trained(Path(directory), n_products, pretrained=arguments.pretrained))
        Console().print(_table(trainings))


def _trained(directory: Path, n_products: int, *, pretrained: bool) -> Training:
    catalogue = directory / "catalogue"
    command = [sys.executable, "-m", "training.cli"]
    subprocess.run([*command, "demo-catalogue", str(catalogue), "--products", str(n_products)], check=True)
    n_rows = count_rows(open_catalogue(catalogue).path("train"))
    environment = {**os.environ, "BENTOML_HOME": str(directory / "home")}
    command = [*command, "train", str(catalogue), *([] if pretrained else ["--no-pretrained"])]
    return Training(n_rows, watched(command, cwd=directory, env=environment, memory=resident_bytes))


def growth(trainings: Sequence[Training]) -> list[float]:
    """The power of the number of products that the CPU time rises with, from each training to the next."""
    return [
        math.log(larger.took.cpu_seconds / smaller.took.cpu_seconds) / math.log(larger.n_products / smaller.n_products)
        for smaller, larger in pairwise(trainings)
    ]


def _table(trainings: Sequence[Training]) -> Table:
    table = Table(title=f"winnow train on {os.cpu_count()} cores, as shipped, demo catalogues")
    for heading in ("train part", "CPU s", "CPU ms a product", "wall s", "peak memory MB", "growth"):
        table.add_column(heading, justify="right")
    for training, power in zip(trainings, [math.nan, *growth(trainings)], strict=True):
        table.add_row(
            f"{training.n_products:,}", f"{training.took.cpu_seconds:.0f}",
            f"{training.took.cpu_seconds / training.n_products * 1e3:.1f}", f"{training.took.wall_seconds:.0f}",
            f"{training.took.peak_bytes / 1e6:.0f}", "" if math.isnan(power) else f"{power:.2f}",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    main()
