"""Moving the pointer: there and back, one at a time, whatever is killed in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.bundles.bundle import GRAPH
from service.bundles.bundle_store import BundleStore
from service.bundles.history import append
from service.bundles.promotions import HISTORY, Move, history
from service.errors import AlreadyRunning, BundleRefused, NoBundle
from tests.tiny_bundle import write_tiny_bundle
from training.retraining.promote import only_one, promote, rollback

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).parent.parent


@pytest.fixture
def home(tmp_path: Path) -> Path:
    store = BundleStore(tmp_path)
    for seed, version in enumerate(("tiny-a", "tiny-b", "tiny-c")):
        write_tiny_bundle(tmp_path / "drafts" / version, version=version, seed=seed)
        store.save(tmp_path / "drafts" / version)
    return tmp_path


def move(home: Path, version: str) -> Move:
    return promote(BundleStore(home), version, now=NOW, why="better")


def back(home: Path, *, further: bool = False) -> Move:
    return rollback(BundleStore(home), now=NOW, further=further)


def test_a_rollback_that_goes_further_goes_two_steps_back(home: Path) -> None:
    for version in ("tiny-a", "tiny-b", "tiny-c"):
        move(home, version)

    versions = [back(home).version, back(home, further=True).version]

    assert versions == ["tiny-b", "tiny-a"]
    assert BundleStore(home).current() == "tiny-a"


def test_a_rollback_run_again_moves_nothing(home: Path) -> None:
    for version in ("tiny-a", "tiny-b", "tiny-c"):
        move(home, version)
    back(home)

    again = back(home)

    assert (again.version, again.replaced) == ("tiny-b", "tiny-b")
    assert BundleStore(home).current() == "tiny-b"


def test_a_rollback_killed_before_the_pointer_moved_moves_it_when_run_again(home: Path) -> None:
    for version in ("tiny-a", "tiny-b", "tiny-c"):
        move(home, version)
    written = Move("rollback", "tiny-b", "tiny-c", NOW.isoformat(), "asked for")
    append(BundleStore(home).directory / HISTORY, asdict(written))  # killed here, with tiny-c served

    assert back(home).version == "tiny-b"
    assert back(home).version == "tiny-b"


def test_a_bundle_promoted_again_after_a_rollback_can_be_rolled_back_again(home: Path) -> None:
    for version in ("tiny-a", "tiny-b"):
        move(home, version)
    back(home)
    move(home, "tiny-b")

    assert back(home).version == "tiny-a"


def test_the_first_bundle_has_nothing_to_go_back_to(home: Path) -> None:
    move(home, "tiny-a")

    with pytest.raises(NoBundle, match="tiny-a is served and replaced nothing; name a version"):
        back(home)


def test_a_promotion_after_a_rollback_can_be_undone_too(home: Path) -> None:
    for version in ("tiny-a", "tiny-b"):
        move(home, version)
    back(home)
    move(home, "tiny-c")

    assert back(home).version == "tiny-a"


def test_promoting_what_is_served_moves_nothing(home: Path) -> None:
    move(home, "tiny-a")

    move(home, "tiny-a")

    assert len(history(BundleStore(home).directory)) == 1


def test_a_damaged_bundle_is_not_promoted(home: Path) -> None:
    move(home, "tiny-a")
    graph = home / "models" / "winnow" / "tiny-b" / GRAPH
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")

    with pytest.raises(BundleRefused):
        move(home, "tiny-b")

    assert BundleStore(home).current() == "tiny-a"
    with pytest.raises(NoBundle):
        back(home)


@pytest.mark.parametrize("cut", [1, 20, 10_000])
def test_a_line_that_a_kill_cut_short_is_passed_over(home: Path, cut: int) -> None:
    for version in ("tiny-a", "tiny-b"):
        move(home, version)
    with (BundleStore(home).directory / HISTORY).open("a") as file:  # killed while writing, or before the pointer moved
        file.write('{"kind": "promotion", "version": "tiny-c", "replaced": "tiny-b", "at": "", "why": ""}'[:cut])

    move(home, "tiny-c")

    assert [back(home).version, back(home, further=True).version] == ["tiny-b", "tiny-a"]


def test_a_move_of_another_form_is_passed_over(home: Path) -> None:
    move(home, "tiny-a")

    append(BundleStore(home).directory / HISTORY, asdict(Move("promotion", "tiny-b", 3, NOW.isoformat(), "")))  # type: ignore[arg-type]

    assert [said.version for said in history(BundleStore(home).directory)] == ["tiny-a"]


def test_a_second_retraining_is_refused_while_the_first_runs(home: Path) -> None:
    with (
        only_one(home),
        pytest.raises(AlreadyRunning, match="a retraining is running on this model store"),
        only_one(home),
    ):
        pass


def test_a_killed_retraining_leaves_no_lock_behind(home: Path) -> None:
    program = "import sys, pathlib; from training.retraining.promote import only_one\n"
    program += "with only_one(pathlib.Path(sys.argv[1])):\n  print('locked', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(home)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    assert holder.stdin
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(AlreadyRunning), only_one(home):
        pass

    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(timeout=20)

    with only_one(home):
        pass
    holder.stdin.close()
    holder.stdout.close()
