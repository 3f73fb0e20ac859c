"""Fill the label queue with a catalogue's stream and drain it: two annotators at once, and one killed mid-lease.

Run: python -m benchmarks.drain [CATALOGUE]. Serves the current bundle of BENTOML_HOME, or with --stand-in a tiny one
on made-up products; the queue is a database of its own. Fails if a task was labelled twice, or one is missing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.annotating import SimulatedAnnotator, Work, lease_and_wait
from benchmarks.claims import Claim, conclude
from benchmarks.load import Load, run_load
from benchmarks.queue_contents import Contents, contents, wait_for
from benchmarks.servers import ROOT, Server, bentoml_home, serving, winnow_command
from benchmarks.traffic import Posted, classify_request, groups, stand_in, stream
from training.catalogues.catalogue import open_catalogue

LEASE_SECONDS = 5.0
COHORT_SECONDS = 5.0
KILLED_LEASES, KILLED_LABELS = 20, 5


@dataclass(frozen=True)
class Drained:
    """What was done, and what came of it.

    Parameters
    ----------
    queue : what the database holds afterwards
    killed_leased, killed_labelled : task ids of the annotator who was killed
    """

    work: dict[str, Work]
    seconds: float
    queue: Contents
    killed_leased: list[str]
    killed_labelled: list[str]


def main() -> int:
    """Run it once and say whether the promises were kept."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="winnow-drain-") as temporary:
        directory = Path(temporary)
        if arguments.stand_in:
            home, catalogue = stand_in(directory, n_products=arguments.products)
        else:
            home, catalogue = bentoml_home(), open_catalogue(arguments.catalogue)
        posted = stream(catalogue, arguments.products)
        url = arguments.database or f"sqlite:///{directory / 'queue.sqlite3'}"
        environment = {
            "BENTOML_HOME": str(home),
            "WINNOW_DATABASE_URL": url,
            "WINNOW_WORKERS": str(arguments.workers),
            "WINNOW_LEASE_SECONDS": str(LEASE_SECONDS),
            "WINNOW_COHORT_PRODUCTS": str(arguments.cohort_products),
            "WINNOW_COHORT_SECONDS": str(COHORT_SECONDS),
            "WINNOW_COHORT_TASKS": str(arguments.cohort_tasks),
        }
        with serving("Winnow", winnow_command(), ready="/readyz", environment=environment) as server:
            load = _post(server, posted, arguments.together)
            wait_for(url, lambda found: found.n_products >= len(posted.records), timeout_seconds=60.0)
            drained = _drain(server, posted, url)
    _print(load, drained, arguments.together)
    return conclude("Two annotators drain the queue, a third is killed", _claims(load, drained, len(posted.records)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("catalogue", nargs="?", type=Path, default=ROOT / "data" / "demo")
    parser.add_argument("--stand-in", action="store_true", help="a tiny bundle and made-up products")
    parser.add_argument("--products", type=int, default=5_000, help="of the catalogue's stream")
    parser.add_argument("--together", type=int, default=32, help="products in one request")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cohort-products", type=int, default=500)
    parser.add_argument("--cohort-tasks", type=int, default=50)
    parser.add_argument("--database", help="an empty queue to use in place of a SQLite file in a temporary directory")
    return parser.parse_args()


def _post(server: Server, posted: Posted, n_together: int) -> Load:
    requests = [classify_request(group) for group in groups(posted.records, n_together)]
    return run_load(server.port, requests, n_requests=len(requests), concurrency=4)


def _drain(server: Server, posted: Posted, url: str) -> Drained:
    annotators = [
        SimulatedAnnotator(server.url, name, truth=posted.truth, id_field=posted.id_field) for name in ("ann", "ben")
    ]
    with _leasing(server, posted) as (process, leased, labelled), ThreadPoolExecutor(len(annotators)) as pool:
        started = time.monotonic()
        running = [pool.submit(annotator.drain) for annotator in annotators]
        process.kill()
        work = {annotator.name: run.result() for annotator, run in zip(annotators, running, strict=True)}
    seconds = time.monotonic() - started
    return Drained(work, seconds, contents(url), leased, labelled)


@contextmanager
def _leasing(server: Server, posted: Posted) -> Iterator[tuple[SpawnProcess, list[str], list[str]]]:
    """A third annotator in a process to be killed: with the tasks that it has leased, and those it has labelled."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    carl = partial(
        SimulatedAnnotator, server.url, "carl", truth=posted.truth, id_field=posted.id_field, limit=KILLED_LEASES
    )
    process = context.Process(target=lease_and_wait, args=(carl, KILLED_LABELS, theirs))
    process.start()
    try:
        leased, labelled = ours.recv() if ours.poll(60.0) else ([], [])
        yield process, leased, labelled
    finally:
        process.kill()
        process.join()


def _claims(load: Load, drained: Drained, n_products: int) -> list[Claim]:
    by_others = {task_id for work in drained.work.values() for task_id in work.task_ids}
    done = by_others | set(drained.killed_labelled)
    queue = drained.queue
    missing = queue.asked - queue.answered
    orphaned = set(drained.killed_leased) - set(drained.killed_labelled)
    n_taken_over = len(orphaned & by_others)
    return [
        Claim("every classify request is answered", f"{load.n_failed} failed", not load.n_failed),
        Claim(
            "every posted product is in one cohort's counters",
            f"{queue.n_products:,} of {n_products:,}",
            queue.n_products == n_products,
        ),
        Claim(
            "no question is answered twice, but for second opinions on surprising answers",
            f"{queue.n_double_labels} double labels, {len(queue.asked_again)} second opinions",
            not queue.n_double_labels,
        ),
        Claim(
            "no task is lost",
            f"{len(done):,} of {len(queue.task_ids):,} tasks, {len(missing)} questions without an answer",
            done == queue.task_ids and not missing,
        ),
        Claim(
            "tasks of the killed annotator go to the others, their labels stay",
            f"{n_taken_over} of {len(orphaned)} taken over, {len(drained.killed_labelled)} labelled before",
            bool(orphaned) and n_taken_over == len(orphaned),
        ),
    ]


def _print(load: Load, drained: Drained, n_together: int) -> None:
    queue = drained.queue
    table = Table(title=f"{queue.n_cohorts} cohorts, {len(queue.asked):,} questions, {drained.seconds:.1f} s to drain")
    for heading in ("annotator", "tasks", "answers", "answers/s", "lease ms", "submit ms", "lost leases"):
        table.add_column(heading, justify="left" if heading == "annotator" else "right")
    for name, work in drained.work.items():
        table.add_row(
            name,
            f"{len(work.task_ids):,}",
            f"{len(work.answers):,}",
            f"{len(work.answers) / drained.seconds:,.0f}",
            _milliseconds(work.lease_seconds),
            _milliseconds(work.submit_seconds),
            str(work.n_lost_leases),
        )
    rate = len(load.latencies) * n_together / load.seconds
    console = Console()
    console.print(f"posted in {load.seconds:.1f} s ({rate:,.0f} products/s, {n_together} a request)")
    console.print(table)


def _milliseconds(seconds: Sequence[float]) -> str:
    if not seconds:
        return "–"
    return f"{statistics.median(seconds) * 1e3:.1f} (max {max(seconds) * 1e3:.0f})"


if __name__ == "__main__":
    sys.exit(main())
