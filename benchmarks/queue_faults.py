"""The label queue under faults: a worker killed, the store away, its disk full, the service told to end, or both.

Run: python -m benchmarks.queue_faults [CATALOGUE]. A backend classifies all the while and two annotators label; then
the database is read. One fault needs PostgreSQL's programs, another root, for a small file system. Fails if a request
went unanswered, an acknowledged label is missing, or anything is there twice.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil

from benchmarks.backend import Backend
from benchmarks.claims import Claim, conclude
from benchmarks.fault_bench import CALM_SECONDS, COHORTS, N_WORKERS, Bench, Outcome, bench_in, server_of, under_load
from benchmarks.fault_stores import fill, small_disk
from benchmarks.queue_contents import contents, wait_for
from benchmarks.servers import ROOT, Server
from tests.label_queue.queue_postgres import find_programs, running_postgres

N_KILLS = 3
AWAY_SECONDS = 10.0
N_FLICKERS = 8
FLICKER_SECONDS = 6.0
MOST_SLOWER = 1.1
FULL_SECONDS = 5.0
SETTLE_SECONDS = 60.0  # until everything that waits should have arrived


def main() -> int:
    """Cause the faults one after the other, and say whether the promises were kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("catalogue", nargs="?", type=Path, default=ROOT / "data" / "demo")
    parser.add_argument("--stand-in", action="store_true", help="a tiny bundle and made-up products")
    parser.add_argument("--only", choices=sorted(FAULTS), help="one fault")
    arguments = parser.parse_args()
    status = 0
    for name, fault in FAULTS.items():
        if arguments.only in {None, name}:
            with tempfile.TemporaryDirectory(prefix="winnow-faults-") as temporary:
                status |= conclude(name, fault(bench_in(Path(temporary), arguments)))
    return status


def killed_worker(bench: Bench) -> list[Claim]:
    """Kill -9 one of two workers, several times."""

    def kill(server: Server) -> None:
        for _ in range(N_KILLS):
            _workers(server)[0].kill()
            _wait(lambda: len(_workers(server)) == N_WORKERS)
            time.sleep(CALM_SECONDS)

    outcome = under_load(bench, bench.sqlite, kill)
    n_broken = sum(work.n_broken for work in outcome.work)
    found = f"{outcome.backend.n_broken} connections broke, then answered: {_answers(outcome.backend)}"
    return [
        Claim("a classify request that is sent again is answered", found, not outcome.backend.n_failed),
        *_kept(outcome),
        Claim(
            "annotators were at work", f"{n_broken} of their connections broke", any(w.task_ids for w in outcome.work)
        ),
    ]


def store_away(bench: Bench) -> list[Claim]:
    """Stop PostgreSQL for a while."""
    programs = find_programs()
    if programs is None:
        return [Claim("PostgreSQL's programs are here", "install Debian's postgresql package", holds=False)]
    with running_postgres(programs, "queue") as postgres:

        def stop(_: Server) -> None:
            postgres.stop("immediate")
            time.sleep(AWAY_SECONDS)
            postgres.start()

        outcome = under_load(bench, postgres.url("queue"), stop)
    return [_all_answered(outcome), *_arrived(bench, outcome), _told_to_come_again(outcome, 503), *_kept(outcome)]


def store_flickers(bench: Bench) -> list[Claim]:
    """Stop PostgreSQL again and again, to compare answering times with and without it."""
    programs = find_programs()
    if programs is None:
        return [Claim("PostgreSQL's programs are here", "install Debian's postgresql package", holds=False)]
    away: list[tuple[float, float]] = []
    with running_postgres(programs, "queue") as postgres:

        def flicker(_: Server) -> None:
            for _turn in range(N_FLICKERS):
                began = time.monotonic()
                postgres.stop("immediate")
                time.sleep(FLICKER_SECONDS)
                away.append((began, time.monotonic()))
                postgres.start()
                time.sleep(FLICKER_SECONDS)

        outcome = under_load(bench, postgres.url("queue"), flicker)
    return [_all_answered(outcome), _as_quick(outcome.backend, away)]


def disk_full(bench: Bench) -> list[Claim]:
    """Fill the file system that the SQLite queue is on, and make room again."""
    if os.geteuid():
        return [Claim("a small file system can be mounted", "run this fault as root", holds=False)]
    with small_disk(bench.directory / "disk") as disk:

        def fill_up(_: Server) -> None:
            fill(disk / "ballast")
            time.sleep(FULL_SECONDS)
            (disk / "ballast").unlink()

        outcome = under_load(bench, f"sqlite:///{disk / 'queue.sqlite3'}", fill_up)
    return [_all_answered(outcome), *_arrived(bench, outcome), _told_to_come_again(outcome, 507), *_kept(outcome)]


def told_to_end(bench: Bench) -> list[Claim]:
    """Send SIGTERM while cohorts are open."""
    settings = {"WINNOW_COHORT_PRODUCTS": "100000", "WINNOW_COHORT_SECONDS": "3600"}
    with server_of(bench, bench.sqlite, settings) as server:
        with ExitStack() as stack:
            backends = [Backend(server.url, bench.posted, name=name) for name in "abcdefgh"]  # to reach both workers
            for backend in backends:
                stack.enter_context(backend.running())
            time.sleep(CALM_SECONDS)
        n_products = sum(backend.n_products for backend in backends)
        before = contents(bench.sqlite)
        started = time.monotonic()
        server.process.terminate()
        server.process.wait(timeout=SETTLE_SECONDS)
        seconds = time.monotonic() - started
    queue = contents(bench.sqlite)
    found = f"{before.n_products:,} before; {queue.n_products:,} of {n_products:,} after {seconds:.1f} s"
    return [
        Claim("SIGTERM seals every open cohort and writes it", found, queue.n_products == n_products > 0),
        Claim("each worker sealed one", f"{queue.n_cohorts} cohorts", queue.n_cohorts == N_WORKERS),
    ]


def away_at_the_end(bench: Bench) -> list[Claim]:
    """Stop PostgreSQL, send SIGTERM meanwhile, then start both anew."""
    programs = find_programs()
    if programs is None:
        return [Claim("PostgreSQL's programs are here", "install Debian's postgresql package", holds=False)]
    with running_postgres(programs, "queue") as postgres:
        url = postgres.url("queue")
        with server_of(bench, url, COHORTS) as server, Backend(server.url, bench.posted).running() as backend:
            time.sleep(CALM_SECONDS)
            before = contents(url)
            postgres.stop("immediate")
            time.sleep(CALM_SECONDS)
            server.process.terminate()
            server.process.wait(timeout=SETTLE_SECONDS)
        n_spilled = len(list((bench.directory / "spill").rglob("*.json")))
        postgres.start()
        with server_of(bench, url, COHORTS):
            queue = wait_for(url, lambda found: found.n_products >= backend.n_products, timeout_seconds=SETTLE_SECONDS)
    lost = re.findall("cohort dropped|cohorts lost", (bench.directory / "server.log").read_text())
    found = (
        f"{before.n_products:,} before; {queue.n_products:,} of {backend.n_products:,} after; {len(lost)} drops logged"
    )
    return [
        Claim("what the store could not take at the end is on disk", f"{n_spilled} cohorts", n_spilled > 0),
        Claim(
            "it arrives after a restart",
            found,
            before.n_products < backend.n_products <= queue.n_products and not lost,
        ),
        Claim("no task is there twice", f"{queue.n_double_tasks} double tasks", not queue.n_double_tasks),
    ]


FAULTS: Mapping[str, Callable[[Bench], list[Claim]]] = {
    "killed worker": killed_worker,
    "store away": store_away,
    "store flickers": store_flickers,
    "disk full": disk_full,
    "told to end": told_to_end,
    "away at the end": away_at_the_end,
}


def _all_answered(outcome: Outcome) -> Claim:
    backend = outcome.backend
    found = f"{_answers(backend)}, {backend.n_broken} connections broke, slowest {backend.slowest_seconds:.2f} s"
    return Claim("every classify request is answered", found, not backend.n_failed and not backend.n_broken)


def _as_quick(backend: Backend, away: Sequence[tuple[float, float]]) -> Claim:
    """Requests sent while the store was away against those sent while it was there."""
    first, last = away[0][0], away[-1][1] + FLICKER_SECONDS
    without = [seconds for sent, seconds in backend.calls if any(began <= sent < ended for began, ended in away)]
    beside = [
        seconds
        for sent, seconds in backend.calls
        if first <= sent < last and not any(began <= sent < ended for began, ended in away)
    ]
    (p50, p99), (p50_without, p99_without) = (np.quantile(one, (0.5, 0.99)) * 1e3 for one in (beside, without))
    found = (
        f"{p99_without:.1f} ms against {p99:.1f} (p50 {p50_without:.1f} against {p50:.1f}), "
        f"{len(without):,} and {len(beside):,} requests"
    )
    return Claim(
        f"p99 without the store is at most {MOST_SLOWER:.2f} of that with it", found, p99_without <= MOST_SLOWER * p99
    )


def _answers(backend: Backend) -> str:
    return ", ".join(f"{times:,} × {status}" for status, times in sorted(backend.statuses.items()))


def _arrived(bench: Bench, outcome: Outcome) -> list[Claim]:
    """Cohorts that were sealed while the store was away are there; what was dropped was said."""
    dropped = re.findall("cohort dropped|cohorts lost", (bench.directory / "server.log").read_text())
    n_products = outcome.queue.n_products
    found = f"{n_products:,} of {outcome.backend.n_products:,} products counted, {len(dropped)} drops logged"
    return [Claim("spilled cohorts arrive afterwards", found, n_products == outcome.backend.n_products and not dropped)]


def _told_to_come_again(outcome: Outcome, status: int) -> Claim:
    refusals = {key: times for work in outcome.work for key, times in work.refusals.items()}
    found = ", ".join(f"{code} with Retry-After {after}" for code, after in refusals)
    holds = any(code == status for code, _ in refusals) and all(after for _, after in refusals)
    return Claim(f"annotators are answered {status} with Retry-After meanwhile", found or "nothing was refused", holds)


def _kept(outcome: Outcome) -> list[Claim]:
    queue = outcome.queue
    acknowledged = {answer for work in outcome.work for answer in work.answers}
    lost = acknowledged - set(queue.labels)
    unacknowledged = set(queue.labels) - acknowledged
    missing = queue.asked - queue.answered
    return [
        Claim(
            "no acknowledged label is lost", f"{len(lost)} of {len(acknowledged):,}", bool(acknowledged) and not lost
        ),
        Claim(
            "nothing is half-written, nothing is there twice",
            f"{len(unacknowledged)} labels nobody was told of, {queue.n_double_labels} double labels beside "
            f"{len(queue.asked_again)} second opinions, {queue.n_double_tasks} double tasks",
            not unacknowledged and not queue.n_double_labels and not queue.n_double_tasks,
        ),
        Claim("in the end every question is answered", f"{len(missing)} of {len(queue.asked):,} missing", not missing),
    ]


def _workers(server: Server) -> list[psutil.Process]:
    """Worker processes that answer, oldest first."""
    children = [process for process in server.process.children() if process.status() != psutil.STATUS_ZOMBIE]
    return sorted(children, key=lambda process: process.create_time())


def _wait(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
