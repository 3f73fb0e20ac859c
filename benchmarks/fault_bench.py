"""A server with traffic and two annotators while something goes wrong, and what its label queue then holds."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.annotating import SimulatedAnnotator, Work
from benchmarks.backend import Backend
from benchmarks.queue_contents import Contents, contents, wait_for
from benchmarks.servers import Server, bentoml_home, serving, winnow_command
from benchmarks.traffic import Posted, stand_in, stream
from training.catalogues.catalogue import open_catalogue

N_RECORDS = 1_000
N_WORKERS = 2
CALM_SECONDS = 4.0  # before a fault, and after it
THINK_SECONDS = 0.5  # so that there is always something left to label when the store goes away
COHORTS = {"WINNOW_COHORT_PRODUCTS": "200", "WINNOW_COHORT_SECONDS": "2", "WINNOW_COHORT_TASKS": "20"}


@dataclass(frozen=True)
class Bench:
    """What every fault needs: traffic, the environment of the server, a directory of its own."""

    posted: Posted
    environment: Mapping[str, str]
    directory: Path

    @property
    def sqlite(self) -> str:
        """URL of an empty queue in a file."""
        return f"sqlite:///{self.directory / 'queue.sqlite3'}"


@dataclass(frozen=True)
class Outcome:
    """What the backend and the annotators saw, and what the database holds at the end."""

    backend: Backend
    work: list[Work]
    queue: Contents


def bench_in(directory: Path, arguments: argparse.Namespace) -> Bench:
    """What the command line asks for: a catalogue and the promoted bundle, or stand-ins."""
    if arguments.stand_in:
        home, catalogue = stand_in(directory, n_products=N_RECORDS)
    else:
        home, catalogue = bentoml_home(), open_catalogue(arguments.catalogue)
    return Bench(stream(catalogue, N_RECORDS), {"BENTOML_HOME": str(home)}, directory)


def under_load(bench: Bench, database: str, fault: Callable[[Server], None]) -> Outcome:
    """Classify and label before, during and after a fault, then label what is left."""
    over: list[bool] = []
    with ExitStack() as stack:
        server = stack.enter_context(server_of(bench, database, COHORTS))
        annotators = [
            SimulatedAnnotator(
                server.url,
                name,
                truth=bench.posted.truth,
                id_field=bench.posted.id_field,
                limit=3,
                think_seconds=THINK_SECONDS,
            )
            for name in ("ann", "ben")
        ]
        pool = stack.enter_context(ThreadPoolExecutor(len(annotators)))
        with Backend(server.url, bench.posted).running() as backend:
            working = [pool.submit(annotator.drain, is_over=lambda: bool(over)) for annotator in annotators]
            time.sleep(CALM_SECONDS)
            fault(server)
            time.sleep(CALM_SECONDS)
        wait_for(database, lambda found: found.n_products >= backend.n_products, timeout_seconds=2 * CALM_SECONDS)
        over.append(True)
        work = [each.result() for each in working]
        return Outcome(backend, work, contents(database))


def server_of(bench: Bench, database: str, settings: Mapping[str, str]) -> AbstractContextManager[Server]:
    """The service with its workers on a queue of this URL."""
    environment = {
        **bench.environment,
        **settings,
        "WINNOW_DATABASE_URL": database,
        "WINNOW_WORKERS": str(N_WORKERS),
        "WINNOW_LEASE_SECONDS": "5",
        "WINNOW_SPILL_DIRECTORY": str(bench.directory / "spill"),
    }
    log = bench.directory / "server.log"
    return serving("Winnow", winnow_command(), ready="/readyz", environment=environment, log=log)
