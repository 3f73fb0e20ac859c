"""Does a training that begins where the last one ended lose anything, and what does it cost?

Run: python -m benchmarks.warm_start CATALOGUE [--products 4000] [--rounds 1] [--seeds 0,1,2,3,4] [--labelled 500]

A bundle is trained on merchant labels; then, each round, newly sampled products of the stream are answered (five
questions each, drawn by the shipped sampling from what the warm bundle says) and a warm training goes on from the last
warm one. After the first round and the last a cold training learns the same answers. Printed, a line a seed: macro
average precision on the test part and CPU seconds of both.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.acquisition.sampling import draw_questions, inclusion_probabilities
from service.acquisition.scores import ScoreMeans, prospect, question_weights, score
from service.bundles.bundle import Bundle, read_bundle
from service.contracts import Product
from tests.trainings import silent
from training.catalogues.catalogue import Catalogue, Labels, Part, open_catalogue
from training.evaluate import score as evaluate
from training.fit import TrainingOptions, train
from training.predict import predict
from training.retraining.human_labels import HumanLabels
from training.retraining.lessons import HumanWeights
from training.retraining.training_state import STATE, unpack_state
from training.retraining.warm_plan import WarmOptions
from training.retraining.warm_start import train_warm

N_QUESTIONS = 5
POOL = 8  # products of traffic for each that is opened


@dataclass(frozen=True)
class Sample(Catalogue):
    """A catalogue of which some products are read."""

    n_products: int = 0

    def read(self, part: Any) -> Part:
        """Read the part, and keep a fixed random sample of it."""
        whole = super().read(part)
        n_kept = min(len(whole.products), self.n_products)
        rows = np.sort(np.random.default_rng(0).permutation(len(whole.products))[:n_kept])
        return Part(
            [whole.products[row] for row in rows],
            None if whole.merchant_labels is None else whole.merchant_labels[rows],
            None if whole.truth is None else whole.truth[rows],
        )


def ask(
    bundle: Bundle, products: list[Product], truth: Labels, *, n_labelled: int, error_rate: float, seed: int
) -> HumanLabels:
    """Draw products and questions as the service does, and answer them."""
    rng = np.random.default_rng(seed)
    said = predict(bundle, products, progress=silent)
    manifest = bundle.manifest
    scores = score(
        probabilities=said.probabilities,
        member_probabilities=said.member_probabilities,
        present=said.present,
        thresholds=manifest.thresholds,
        member_weights=[member.weights for member in manifest.members],
    )
    means = ScoreMeans.from_priors(manifest.priors)
    weights = question_weights(scores, prospect(said.probabilities), means=means).weights
    priorities = weights.sum(axis=1) / (1 - rng.random(len(weights)))
    order = np.argsort(-priorities)
    drawn = order[:n_labelled]
    threshold = priorities[order[n_labelled]] if len(order) > n_labelled else 0.0
    chances = inclusion_probabilities(weights[drawn], min(N_QUESTIONS, weights.shape[1]))
    asked = draw_questions(chances, [rng.bytes(16) for _ in drawn], salt=rng.bytes(16)) & (truth[drawn] >= 0)
    wrong = rng.random(asked.shape) < error_rate
    answers = np.where(asked, np.where(wrong, 1 - truth[drawn], truth[drawn]), -1).astype(np.int8)
    importance = np.maximum(1.0, threshold / weights[drawn].sum(axis=1))[:, None] / chances
    return HumanLabels(
        task_ids=tuple(products[row].product_id for row in drawn),
        products=tuple(products[row] for row in drawn),
        answers=answers,
        times=asked.astype(np.float64),
        importance=np.where(asked, importance, 0.0),
    )


def together(parts: list[HumanLabels]) -> HumanLabels:
    """All answers of all rounds."""
    return HumanLabels(
        task_ids=tuple(one for part in parts for one in part.task_ids),
        products=tuple(one for part in parts for one in part.products),
        answers=np.concatenate([part.answers for part in parts]),
        times=np.concatenate([part.times for part in parts]),
        importance=np.concatenate([part.importance for part in parts]),
    )


def macro_ap(bundle: Bundle, test: Part) -> float:
    """On the test part, for reporting alone."""
    said = predict(bundle, test.products, progress=silent)
    assert_truth = test.truth
    if assert_truth is None:
        raise SystemExit("the test part needs its truth")
    return evaluate(said.probabilities, assert_truth, bundle.manifest.thresholds).macro_ap


def timed_train(catalogue: Catalogue, directory: Path, options: TrainingOptions, people: HumanLabels | None) -> float:
    """CPU seconds of a cold training."""
    start = time.process_time()
    train(catalogue, directory=directory, options=options, progress=silent, people=people)
    return time.process_time() - start


def run(catalogue: Catalogue, arguments: argparse.Namespace, seed: int, home: Path) -> dict[str, Any]:
    """One seed: the first training, the warm rounds, and a cold training of the same answers."""
    options = TrainingOptions(seed=seed, n_threads=arguments.threads, human=HumanWeights(arguments.human_weight))
    warm = WarmOptions(epochs=arguments.epochs, n_replayed=arguments.replayed, rate=arguments.rate)
    test, stream = catalogue.read("test"), catalogue.read("stream")
    first = home / f"first-{seed}"
    if not first.exists():
        timed_train(catalogue, first, options, None)
    order = np.random.default_rng(seed).permutation(len(stream.products))
    size = min(len(order) // arguments.rounds, POOL * arguments.labelled)
    bundle, directory, parts, scores, seconds = read_bundle(first), first, [], [macro_ap(read_bundle(first), test)], []
    cold: dict[int, dict[str, float]] = {}
    for number in range(arguments.rounds):
        rows: NDArray[np.int64] = order[number * size : (number + 1) * size]
        products = [stream.products[row] for row in rows]
        truth = _rows(stream.truth, rows)
        parts.append(
            ask(bundle, products, truth, n_labelled=arguments.labelled, error_rate=0.02, seed=100 * seed + number)
        )
        start = time.process_time()
        state = unpack_state((directory / STATE).read_bytes())
        directory = home / f"warm-{seed}-{number}-{time.time_ns()}"
        train_warm(
            catalogue, directory=directory, incumbent=bundle, state=state, options=options, warm=warm,
            progress=silent, people=together(parts), remarks={},
        )  # fmt: skip
        seconds.append(time.process_time() - start)
        bundle = read_bundle(directory)
        scores.append(macro_ap(bundle, test))
        if not arguments.warm_only and number in {0, arguments.rounds - 1}:
            anew = home / f"cold-{seed}-{number}-{time.time_ns()}"
            cold_seconds = timed_train(catalogue, anew, options, together(parts))
            cold_ap = macro_ap(read_bundle(anew), test)
            cold[number + 1] = {"macro_ap": round(cold_ap, 4), "seconds": round(cold_seconds, 1)}
    return {
        "seed": seed, "answers": together(parts).n_answers, "macro_ap": [round(one, 4) for one in scores],
        "warm_seconds": [round(one, 1) for one in seconds], "stages": bundle.manifest.provenance["cpu_seconds"],
        "cold": cold,
    }  # fmt: skip


def _rows(truth: Labels | None, rows: NDArray[np.int64]) -> Labels:
    if truth is None:
        raise SystemExit("the stream needs its truth, to answer by")
    return truth[rows]


def main() -> None:
    """Print a line of JSON a seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--products", type=int, default=10**9, help="of each part, at most")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--labelled", type=int, default=500, help="products answered a round")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--home", type=Path, help="where bundles are kept; a first training found there is used again")
    parser.add_argument("--warm-only", action="store_true", help="train no cold one to compare with")
    parser.add_argument("--human-weight", type=float, default=HumanWeights().weight)
    parser.add_argument("--threads", type=int, default=2)
    defaults = WarmOptions()
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--replayed", type=int, default=defaults.n_replayed)
    parser.add_argument("--rate", type=float, default=defaults.rate)
    arguments = parser.parse_args()
    opened = open_catalogue(arguments.catalogue)
    sample = Sample(**vars(replace(opened)), n_products=arguments.products)
    home = arguments.home or Path(tempfile.mkdtemp(prefix="winnow-warm-"))
    for seed in map(int, arguments.seeds.split(",")):
        sys.stdout.write(json.dumps(run(sample, arguments, seed, home)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
