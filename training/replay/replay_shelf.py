"""Finished runs of a replay on disk, and the processes that add to them: a study that is killed goes on where it was.

One file a strategy and seed, written whole or not at all. What a run is is left to `training.replay.runs`.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from training.progress import Progress
from training.replay.replay_pool import Pool
from training.replay.runs import Plan, Run, begin, run
from training.replay.strategies import Strategy

RECIPE = 1  # raise it when heads, features or sampling change: runs kept before are then done again
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Shelf:
    """Where the finished runs of one catalogue and plan stand.

    Parameters
    ----------
    study : what the runs depend on beside strategy and seed, as a digest
    """

    directory: Path
    study: str
    plan: Plan

    def path(self, strategy: Strategy, seed: int) -> Path:
        """The file of a run; strategies that differ in nothing but their name share it."""
        settings = json.dumps([self.study, seed, asdict(replace(strategy, name=""))], sort_keys=True)
        return self.directory / f"{hashlib.blake2b(settings.encode(), digest_size=10).hexdigest()}.json"

    def read(self, strategy: Strategy, seed: int) -> Run:
        """A finished run."""
        stored = json.loads(self.path(strategy, seed).read_text(encoding="utf-8"))
        return Run.from_json(stored | {"strategy": strategy.name})

    def has(self, strategy: Strategy, seed: int) -> bool:
        """Whether this run is finished."""
        return self.path(strategy, seed).exists()

    def keep(self, strategy: Strategy, finished: Run) -> None:
        """Add a finished run."""
        path = self.path(strategy, finished.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(finished.to_json(), allow_nan=False), encoding="utf-8")
        partial.replace(path)


def open_shelf(directory: Path, pool: Pool, plan: Plan) -> Shelf:
    """The shelf of runs on this pool by this plan."""
    digest = hashlib.blake2b(json.dumps([RECIPE, pool.classes, asdict(plan)]).encode(), digest_size=12)
    features = pool.features
    for array in (features.data, features.indices, features.indptr, pool.claims, pool.truth, pool.test_truth):
        digest.update(np.ascontiguousarray(array).data)
    return Shelf(directory, digest.hexdigest(), plan)


def replay(
    pool: Pool,
    strategies: Sequence[Strategy],
    *,
    shelf: Shelf,
    seeds: Sequence[int],
    n_processes: int,
    progress: Progress,
) -> list[Run]:
    """Run every strategy with every seed that is not on the shelf yet, and return all."""
    wanted = [(strategy, seed) for seed in seeds for strategy in strategies]
    missing = {seed: tuple(s for s in strategies if not shelf.has(s, seed)) for seed in seeds}
    left = [(seed, chosen) for seed, chosen in missing.items() if chosen]

    def report() -> None:
        progress("replay", sum(shelf.has(*one) for one in wanted), len(wanted))

    report()
    if n_processes == 1 or len(left) == 1:
        for seed, chosen in left:
            run_seed(pool, chosen, shelf=shelf, seed=seed, on_run=report)
    else:
        _spread(pool, left, shelf=shelf, n_processes=n_processes, report=report)
    return [shelf.read(strategy, seed) for strategy, seed in wanted]


def run_seed(
    pool: Pool, strategies: Sequence[Strategy], *, shelf: Shelf, seed: int, on_run: Callable[[], None] | None = None
) -> None:
    """Run strategies with one seed, which share their start, and keep each as soon as it is finished."""
    start = begin(pool, seed=seed)
    for strategy in strategies:
        if shelf.has(strategy, seed):  # under another name
            continue
        shelf.keep(strategy, run(pool, strategy, start=start, seed=seed, plan=shelf.plan))
        if on_run is not None:
            on_run()


def _spread(
    pool: Pool,
    left: Sequence[tuple[int, tuple[Strategy, ...]]],
    *,
    shelf: Shelf,
    n_processes: int,
    report: Callable[[], None],
) -> None:
    """One seed a process at a time; the heads compute in one thread each."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(n_processes, len(left)), mp_context=context) as processes:
        futures = {processes.submit(run_seed, pool, chosen, shelf=shelf, seed=seed) for seed, chosen in left}
        while futures:
            done, futures = wait(futures, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            report()
