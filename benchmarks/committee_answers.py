"""What the full committee makes of the answers that the shipped sampling asks for, judged on the test part.

Run: python -m benchmarks.committee_answers CATALOGUE [--answers 20000] [--seed 0] [--error-rate 0] [--human-weight 4]

The study's heads choose the questions, round after round, as in `winnow replay`; then `winnow train`'s own recipe
learns from the merchants' labels and those answers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console

from service.bundles.bundle import read_bundle
from training.catalogues.catalogue import Catalogue, open_catalogue
from training.catalogues.cells import UNKNOWN
from training.console import progress_bars
from training.fit import TrainingOptions, train
from training.predict import evaluate_bundle
from training.pretrained import find_encoder
from training.replay.replay_pool import Pool, read_pool
from training.replay.runs import Desk, Plan, begin, run
from training.replay.strategies import named
from training.retraining.human_labels import HumanLabels
from training.retraining.lessons import HumanWeights

N_ROUNDS = 10
CACHE = Path("~/.cache/winnow").expanduser()
console = Console()


def main() -> None:
    """Ask, train, evaluate."""
    options = _options()
    catalogue = open_catalogue(options.catalogue)
    images = find_encoder(CACHE) if options.images else None
    with progress_bars() as progress:
        pool = read_pool(catalogue, images=images, progress=progress)
    desk = asked(pool, options)
    human = HumanWeights(weight=options.human_weight)
    training = TrainingOptions(seed=options.seed, human=human)
    with tempfile.TemporaryDirectory() as place, progress_bars() as progress:
        directory = Path(place) / "bundle"
        train(
            catalogue, directory=directory, options=training, progress=progress,
            people=human_labels(catalogue, pool, desk), images=images,
        )  # fmt: skip
        found, _, _ = evaluate_bundle(read_bundle(directory), catalogue, part="test", progress=progress)
    told = {"strategy": options.strategy, "answers": int(desk.answered.sum()), "products_opened": desk.n_opened}
    console.print_json(json.dumps(told | {"seed": options.seed} | found.ensemble.summary()))


def asked(pool: Pool, options: argparse.Namespace) -> Desk:
    """The answers after so many rounds of the study's own loop."""
    (strategy,) = (one for one in named([options.strategy]) if one.name == options.strategy)
    plan = Plan(
        n_rounds=N_ROUNDS,
        n_answers=options.answers // N_ROUNDS,
        n_products=options.answers // N_ROUNDS // len(pool.classes),
        error_rate=options.error_rate,
        human_weight=options.human_weight,
    )
    desk = Desk(pool, error_rate=options.error_rate, seed=options.seed)
    done = run(pool, strategy, start=begin(pool, seed=options.seed), seed=options.seed, plan=plan, desk=desk)
    console.print(f"the study's heads: macro AP {done.points[-1].macro_ap:.4f}")
    return desk


def human_labels(catalogue: Catalogue, pool: Pool, desk: Desk) -> HumanLabels:
    """The answers as the label queue would hand them to a training."""
    products = [*catalogue.read("train").products, *catalogue.read("stream").products]
    rows = np.flatnonzero((desk.answered & (pool.truth != UNKNOWN)).any(axis=1))
    answers = np.where(desk.answered[rows], desk.answers[rows], UNKNOWN).astype(np.int8)
    return HumanLabels(
        task_ids=tuple(products[row].product_id for row in rows),
        products=tuple(products[row] for row in rows),
        answers=answers,
        times=np.where(answers != UNKNOWN, 1.0, 0.0),
        importance=np.where(answers != UNKNOWN, desk.weights[rows], 0.0),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--strategy", default="shipped", help="one of winnow replay's")
    parser.add_argument("--answers", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--error-rate", type=float, default=0.0)
    parser.add_argument("--human-weight", type=float, default=4.0)
    parser.add_argument(
        "--images", action=argparse.BooleanOptionalAction, default=True, help="pretrained, if installed"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
