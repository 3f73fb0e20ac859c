"""Commands that move the pointer, killed at every step while a service answers from the same home."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from benchmarks.killed import Commands, commands
from benchmarks.kills import MOVES, TINY, kill_at_every_step, tiny_store
from service.bundles.bundle_store import CURRENT, BundleStore
from tests.served import Backend, serving
from tests.tiny_bundle import EXAMPLE

FIRST, SECOND = TINY


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return tiny_store(tmp_path / "home")


@pytest.fixture
def run(store: BundleStore, tmp_path: Path) -> Iterator[Commands]:
    with commands(tmp_path / "home", log=tmp_path / "log", directory=tmp_path) as started:
        yield started


@pytest.fixture
def backend(store: BundleStore, tmp_path: Path) -> Iterator[Backend]:
    with serving(tmp_path / "home", WINNOW_SWAP_SECONDS="0.05", WINNOW_QUEUE="false") as started:
        yield started


@contextmanager
def posting(backend: Backend) -> Iterator[list[tuple[int, str]]]:
    """Post again and again while the block lasts; what was answered: the status and the bundle."""
    answers: list[tuple[int, str]] = []
    stop = Event()

    def post() -> None:
        while not stop.wait(0.01):
            answer = backend.client.post("/classify", json={"products": [EXAMPLE]})
            answers.append((answer.status_code, answer.json().get("model_version", "")))

    with ThreadPoolExecutor(1) as pool:
        posted = pool.submit(post)
        try:
            yield answers
        finally:
            stop.set()
        posted.result()


def pointer_moves(steps: Sequence[str]) -> str:
    """The step that renames a file of a draft to the pointer."""
    return next(step for step in steps if step.startswith("os.rename") and step.endswith(f"models/winnow/{CURRENT}"))


def test_a_promotion_or_a_rollback_killed_at_any_step_leaves_what_is_served_and_the_next_run_clean(
    store: BundleStore, run: Commands, backend: Backend
) -> None:
    with posting(backend) as answers:
        promotion = kill_at_every_step(store, run, MOVES["promote"], rerun=True)
        rollback = kill_at_every_step(store, run, MOVES["rollback"], rerun=True)

    assert promotion.faults + rollback.faults == []
    assert promotion.n_kills == len(promotion.steps) == len(rollback.steps)
    for kills in (promotion, rollback):  # only the kills after the pointer's rename have moved it
        assert kills.n_moved == len(kills.steps) - 1 - kills.steps.index(pointer_moves(kills.steps))
    assert {step.split()[0] for step in promotion.steps} >= {"open", "write", "flush", "fsync", "os.mkdir", "os.rename"}
    assert set(answers) <= {(200, FIRST), (200, SECOND)}
    assert backend.number("winnow_bundle_swaps_total", outcome="refused") == 0
