"""Do members that were trained jointly, and their disagreement, choose better questions?

Run: python -m benchmarks.joint_choice CATALOGUE [--seeds 5] [--answers 6000]

Two committees are trained on the merchants' labels: the neural members as one network, and each apart; linear members
and trees are the same in both. Each chooses questions about the stream by the shipped sampling, with the disagreement
of its members and without. One and the same learner, the heads of `winnow replay`, learns from the answers and is
judged on the test part, so that only the choice differs. The heads' own choice, and random questions, stand beside.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.committee import spread
from benchmarks.committee_runs import CACHE
from benchmarks.joint_training import Logits, trained_apart, trained_jointly
from training.catalogues.catalogue import Catalogue, open_catalogue
from training.committee import fit_quick
from training.console import progress_bars
from training.fit import arranged, prepare_part
from training.joint import JointOptions
from training.platt import sigmoid
from training.pretrained import ImageEncoder, find_encoder
from training.replay.questioner import Asked, View
from training.replay.replay_pool import Pool, read_pool
from training.replay.runs import Ask, Plan, Run, begin, questioner, run
from training.replay.savings import estimate
from training.replay.strategies import SHIPPED, Strategy
from training.weights import mask

N_ROUNDS = 3
UNCERTAINTY = replace(SHIPPED, name="uncertainty only", eta=0.0)
RANDOM = Strategy("random questions", rule="random")
HEADS, JOINT, APART = "the heads", "trained jointly", "trained apart"
Members = NDArray[np.float32]  # (n_stream, n_members, n_classes), probabilities
console = Console(width=120)


def main() -> None:
    """Let every committee choose, and print what is learned from its questions."""
    options = _options()
    torch.set_num_threads(1)
    catalogue, images = open_catalogue(options.catalogue), find_encoder(CACHE.expanduser())
    with progress_bars() as progress:
        pool = read_pool(catalogue, images=images, progress=progress)
    plan = Plan(n_rounds=N_ROUNDS, n_answers=options.answers // N_ROUNDS)
    runs: dict[str, list[Run]] = {}
    for seed in range(options.seeds):
        for name, found in _runs(pool, committees(catalogue, images, seed=seed), plan, seed=seed).items():
            runs.setdefault(name, []).append(found)
        Console(stderr=True).print(f"seed {seed}: done")
    console.print(_table(runs))
    console.print(_differences(runs))


def committees(catalogue: Catalogue, images: ImageEncoder | None, *, seed: int) -> dict[str, Members]:
    """What each committee says of the stream."""
    part = catalogue.read("train")
    targets = part.merchant_labels
    if targets is None:
        raise SystemExit("the catalogue has no merchant labels")
    data = prepare_part(catalogue, part.products, images=images, report=_quiet)
    asked = arranged(catalogue, catalogue.read("stream").products, data.encoding, images=images, report=_quiet)
    quick = fit_quick(data, targets, mask(targets), seed=seed, n_threads=1).logits(asked)
    joint, _ = trained_jointly(data, asked, targets, JointOptions(), seed=seed)
    apart, _ = trained_apart(data, asked, targets, JointOptions(), seed=seed)
    return {JOINT: _probabilities(quick | joint), APART: _probabilities(quick | apart)}


def _probabilities(logits: Logits) -> Members:
    return np.stack([sigmoid(one) for one in logits.values()], axis=1).astype(np.float32)


def _runs(pool: Pool, members: Mapping[str, Members], plan: Plan, *, seed: int) -> dict[str, Run]:
    start = begin(pool, seed=seed)
    found = {RANDOM.name: run(pool, RANDOM, start=start, seed=seed, plan=plan)}
    for strategy in (SHIPPED, UNCERTAINTY):
        found[f"{HEADS}: {strategy.name}"] = run(pool, strategy, start=start, seed=seed, plan=plan)
    for committee, said in members.items():
        for strategy in (SHIPPED, UNCERTAINTY):
            ask = _asking(pool, said, strategy, plan, seed=seed)
            chosen = run(pool, strategy, start=start, seed=seed, plan=plan, ask=ask)
            found[f"{committee}: {strategy.name}"] = chosen
    return found


def _asking(pool: Pool, members: Members, strategy: Strategy, plan: Plan, *, seed: int) -> Ask:
    """The strategy's questions by what a committee says that does not learn from the answers."""
    asker = questioner(pool, strategy, seed=seed, plan=plan)
    shares = np.full(members.shape[1], 1 / members.shape[1])

    def ask(view: View) -> Asked:
        return asker.ask(replace(view, members=members, shares=shares))

    return ask


def _table(runs: Mapping[str, list[Run]]) -> Table:
    table = Table(title="What the same heads learn from the questions of each, mean ± sd over seeds")
    for column in ("chosen by", "answers", "opened", "macro AP", "rare quarter", "macro F1"):
        table.add_column(column, justify="right" if column != "chosen by" else "left")
    for name, seeds in runs.items():
        last = [one.points[-1] for one in seeds]
        table.add_row(
            name, f"{np.mean([p.answers for p in last]):,.0f}", f"{np.mean([p.products_opened for p in last]):,.0f}",
            spread([p.macro_ap for p in last]), spread([p.rare_quarter_ap for p in last]),
            spread([p.macro_f1 for p in last]),
        )  # fmt: skip
    return table


def _differences(runs: Mapping[str, list[Run]]) -> Table:
    table = Table(title="Paired by seed, macro AP, in the mean over the rounds; 95 % interval")
    for column in ("change", "macro AP", "interval"):
        table.add_column(column)
    pairs = [
        ("joint training in place of apart", f"{JOINT}: {SHIPPED.name}", f"{APART}: {SHIPPED.name}"),
        ("the same, uncertainty alone", f"{JOINT}: {UNCERTAINTY.name}", f"{APART}: {UNCERTAINTY.name}"),
        ("disagreement added, joint", f"{JOINT}: {SHIPPED.name}", f"{JOINT}: {UNCERTAINTY.name}"),
        ("disagreement added, apart", f"{APART}: {SHIPPED.name}", f"{APART}: {UNCERTAINTY.name}"),
        ("the committee in place of the heads", f"{JOINT}: {SHIPPED.name}", f"{HEADS}: {SHIPPED.name}"),
    ]
    for name, one, other in pairs:
        gains = [_mean_ap(a) - _mean_ap(b) for a, b in zip(runs[one], runs[other], strict=True)]
        gain = estimate(gains)
        interval = "" if gain.low is None else f"{gain.low:+.4f} to {gain.high:+.4f}"
        table.add_row(name, f"{gain.mean:+.4f}", interval)
    return table


def _mean_ap(one: Run) -> float:
    return float(np.mean([point.macro_ap for point in one.points[1:]]))


def _quiet(_done: int, _total: int) -> None:
    return


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--answers", type=int, default=6_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
