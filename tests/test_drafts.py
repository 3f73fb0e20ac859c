"""What a killed process leaves of a bundle in the making, and who removes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.bundles.bundle_store import BundleStore
from service.bundles.drafts import LOCK, new_draft, sweep_drafts

ROOT = Path(__file__).parent.parent
BEGIN_A_BUNDLE = (
    "import pathlib, sys; from service.bundles.bundle_store import BundleStore\n"
    "with BundleStore(pathlib.Path(sys.argv[1])).draft() as draft:\n"
    "  (draft / 'ensemble.onnx').write_bytes(b'half of it'); print(draft, flush=True); sys.stdin.read()"
)


@contextmanager
def training_elsewhere(home: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that has begun a bundle in the store, and its draft."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN_A_BUNDLE, str(home)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    with process:
        yield process, Path(process.stdout.readline().strip())


def test_what_a_killed_training_left_is_removed_by_the_next(tmp_path: Path) -> None:
    with training_elsewhere(tmp_path) as (process, left):
        os.kill(process.pid, signal.SIGKILL)
    assert left.is_dir()

    with BundleStore(tmp_path).draft() as own:
        drafts = list((tmp_path / "tmp").iterdir())

    assert drafts == [own]


def test_what_a_living_training_makes_is_left_alone(tmp_path: Path) -> None:
    with training_elsewhere(tmp_path) as (_, others), BundleStore(tmp_path).draft():
        assert (others / "ensemble.onnx").read_bytes() == b"half of it"


def test_a_directory_without_an_owner_and_nothing_else_is_swept(tmp_path: Path) -> None:
    (tmp_path / "winnow-draft-abandoned" / "bundle").mkdir(parents=True)
    (tmp_path / "winnow-loop-1").mkdir()
    (tmp_path / "winnow-draft-notes.txt").write_text("no directory")

    sweep_drafts(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"winnow-loop-1", "winnow-draft-notes.txt"}


def test_a_draft_that_was_moved_to_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    with new_draft(tmp_path / "drafts") as draft:
        (draft / "bundle").mkdir()
        (draft / "bundle").rename(tmp_path / "bundle")

    assert list((tmp_path / "drafts").iterdir()) == []
    assert not (tmp_path / "bundle" / LOCK).exists()
