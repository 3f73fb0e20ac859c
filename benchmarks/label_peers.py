"""Label complexity beside other people's active learning: modAL, scikit-activeml, small-text, on the same heads.

Run: python -m benchmarks.label_peers CATALOGUE [--seeds 3] [--rounds 5] [--environment DIR]

Their unit is the product: each draws whole products by its own code, from the probabilities of our heads or from the
features reduced to 64 dimensions, and every drawn product is answered in full. Their packages live in an environment
of their own, which this script makes by pip where there is none. Random products and the shipped sampling run beside
them with the same rounds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import venv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import TruncatedSVD

from benchmarks.peers.choose_products import STRATEGIES
from training.catalogues.catalogue import open_catalogue
from training.console import progress_bars
from training.replay.questioner import Asked, View
from training.replay.replay_pool import Pool, read_pool
from training.replay.runs import Desk, Plan, Run, Start, begin, run
from training.replay.savings import estimate
from training.replay.strategies import RANDOM_PRODUCTS, SHIPPED

PACKAGES = ("modAL-python==0.4.2.1", "scikit-activeml==1.0.1", "small-text==1.4.1")
PROGRAM = Path(__file__).parent / "peers" / "choose_products.py"
N_DIMENSIONS = 64
console = Console(width=120)


def main() -> None:
    """Compare and print a table."""
    options = _options()
    python = environment(options.environment)
    with progress_bars() as progress:
        pool = read_pool(open_catalogue(options.catalogue), bundle=None, progress=progress)
    plan = Plan(
        n_rounds=options.rounds,
        n_products=options.products // options.rounds,
        n_answers=options.answers // options.rounds,
        error_rate=options.error_rate,
    )
    features = _reduced(pool)
    runs: dict[str, list[Run]] = {}
    for seed in range(options.seeds):
        start = begin(pool, seed=seed)
        for strategy in (RANDOM_PRODUCTS, SHIPPED):
            runs.setdefault(strategy.name, []).append(run(pool, strategy, start=start, seed=seed, plan=plan))
        for name in STRATEGIES:
            with Peer(python) as peer:
                own = _peer_run(pool, features, peer, name, start=start, seed=seed, plan=plan)
            runs.setdefault(name, []).extend([own] if own else [])
        console.print(f"seed {seed} is done")
    console.print(_table(runs))


def environment(directory: Path) -> Path:
    """The interpreter of the environment with the peers' packages, which is made where there is none."""
    python = directory / "bin" / "python"
    if not python.exists():
        venv.create(directory, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return python


class PeerFailed(Exception):
    """Their code raised."""


class Peer:
    """A process that draws by other people's code."""

    def __init__(self, python: Path) -> None:
        self._python = python

    def __enter__(self) -> Peer:
        """Start it."""
        self._process = subprocess.Popen(
            [self._python, PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        return self

    def __exit__(self, *_error: object) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def draw(self, strategy: str, arrays: dict[str, NDArray[np.generic]], *, n_drawn: int) -> NDArray[np.int64]:
        """Rows of the products that the strategy would label.

        Raises
        ------
        PeerFailed
            If it raised.
        """
        to_peer, from_peer = self._process.stdin, self._process.stdout
        if to_peer is None or from_peer is None:
            raise PeerFailed("the process has no pipes")
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for options
            file.flush()
            order = {"file": file.name, "strategy": strategy, "n_drawn": n_drawn}
            to_peer.write(json.dumps(order) + "\n")
            to_peer.flush()
            answer = json.loads(from_peer.readline() or '{"error": "the process ended"}')
        if "error" in answer:
            raise PeerFailed(answer["error"])
        return np.asarray(answer["rows"], dtype=np.int64)


@dataclass(frozen=True)
class PeerQuestions:
    """Whole products as a peer draws them."""

    pool: Pool
    features: NDArray[np.float64]
    peer: Peer
    strategy: str
    desk: Desk
    n_products: int

    def ask(self, view: View) -> Asked:
        """Every class of the products drawn."""
        labelled = view.answered.any(axis=1)
        arrays = {
            "probabilities": view.probabilities,
            "features": self.features[view.rows],
            "labelled": labelled,
            "answers": (self.desk.answers[view.rows] == 1).astype(np.int64),
        }
        arrays["answers"][~labelled] = 0
        drawn = self.peer.draw(self.strategy, arrays, n_drawn=self.n_products)
        n_classes = len(self.pool.classes)
        return Asked(
            rows=np.repeat(view.rows[drawn], n_classes),
            classes=np.tile(np.arange(n_classes), len(drawn)),
            weights=np.ones(len(drawn) * n_classes),
            n_opened=len(drawn),
        )


def _peer_run(
    pool: Pool, features: NDArray[np.float64], peer: Peer, name: str, *, start: Start, seed: int, plan: Plan
) -> Run | None:
    desk = Desk(pool, error_rate=plan.error_rate, seed=seed)
    questions = PeerQuestions(pool, features, peer, name, desk, plan.n_products)
    strategy = replace(RANDOM_PRODUCTS, name=name)
    try:
        return run(pool, strategy, start=start, seed=seed, plan=plan, ask=questions.ask, desk=desk)
    except PeerFailed as error:
        console.print(f"{name}: {error}")
        return None


def _reduced(pool: Pool) -> NDArray[np.float64]:
    reduction = TruncatedSVD(N_DIMENSIONS, random_state=0).fit(pool.features[: pool.n_askable])
    return np.asarray(reduction.transform(pool.features), dtype=np.float64)


def _table(runs: dict[str, list[Run]]) -> Table:
    table = Table(title="label complexity beside peers, mean ± sd over seeds", title_justify="left")
    for heading in ("strategy", "seeds", "answers", "products opened", "macro AP", "rare quarter", "macro F1"):
        table.add_column(heading, justify="left" if heading == "strategy" else "right")
    for name, own in runs.items():
        if not own:
            table.add_row(name, "0", *["failed"] * 5)
            continue
        last = [one.points[-1] for one in own]
        measures = [estimate([getattr(p, m) for p in last]) for m in ("macro_ap", "rare_quarter_ap", "macro_f1")]
        table.add_row(
            name,
            str(len(own)),
            f"{np.mean([p.answers for p in last]):,.0f}",
            f"{np.mean([p.products_opened for p in last]):,.0f}",
            *(f"{one.mean or 0.0:.4f}" + ("" if one.sd is None else f" ± {one.sd:.4f}") for one in measures),
        )
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--products", type=int, default=1_000, help="opened in all, where whole products are the unit")
    parser.add_argument("--answers", type=int, default=10_000, help="given in all, where questions are")
    parser.add_argument("--error-rate", type=float, default=0.02)
    parser.add_argument(
        "--environment", type=Path, default=Path(tempfile.gettempdir()) / "winnow-label-peers", help="kept between runs"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
