"""Moving the pointer to the bundle that is served, forwards and back, and remembering every move.

Whether a candidate deserves it is left to `training.gate`; taking it over to the workers' `service.swap`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Literal

from service.bundle_store import BundleStore
from service.errors import NoBundle, WinnowError

HISTORY = "promotions.jsonl"
LOCK = "retrain.lock"

Kind = Literal["promotion", "rollback"]


class AlreadyRunning(WinnowError):
    """Another retraining works on the same model store."""

    status = 409
    title = "already running"


@dataclass(frozen=True)
class Move:
    """One move of the pointer."""

    kind: Kind
    version: str
    replaced: str | None
    at: str  # ISO 8601
    why: str


def promote(
    store: BundleStore, version: str, *, directory: Path, now: datetime, why: str, kind: Kind = "promotion"
) -> Move:
    """Serve a stored version from now on.

    The move is written down before the pointer moves: killed in between, the next promotion or rollback sees a line
    that never came true, and passes over it.

    Parameters
    ----------
    directory : where the history is kept, beside the model store

    Raises
    ------
    NoBundle, BundleRefused
        If there is no such version, or it is damaged; then nothing has moved.
    """
    resolved = store.load(version).name
    move = Move(kind, resolved, store.current(), now.isoformat(), why)
    if move.replaced == resolved:
        return move
    _write_down(directory / HISTORY, move)
    store.promote(resolved)
    return move


def rollback(store: BundleStore, *, directory: Path, now: datetime, why: str = "asked for") -> Move:
    """Serve again what the current version replaced.

    Raises
    ------
    NoBundle
        If nothing is served, or it replaced nothing.
    """
    current = store.current()
    before = _replaced_by(current, history(directory))
    if before is None:
        raise NoBundle(f"{current or 'nothing'} is served and replaced nothing; name a version: winnow promote VERSION")
    return promote(store, before, directory=directory, now=now, why=why, kind="rollback")


def history(directory: Path) -> list[Move]:
    """All moves that were written down, oldest first; a line that a kill cut short is passed over."""
    path = directory / HISTORY
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    moves = []
    for line in lines:
        try:
            moves.append(Move(**json.loads(line)))
        except (json.JSONDecodeError, TypeError):
            continue
    return moves


@contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Hold the lock of this model store; the system lets go of it however the process ends.

    Raises
    ------
    AlreadyRunning
        If another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("a") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning("a retraining is running on this model store; wait for it to end") from error
        yield


def _replaced_by(current: str | None, moves: list[Move]) -> str | None:
    """What the newest promotion of the current version replaced; going back twice goes back two steps."""
    came = [move for move in moves if move.kind == "promotion" and move.version == current]
    return came[-1].replaced if came else None


def _write_down(path: Path, move: Move) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"\n" if _is_cut_short(path) else b"")
        file.write(json.dumps(asdict(move)).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _is_cut_short(path: Path) -> bool:
    content = path.read_bytes()
    return bool(content) and not content.endswith(b"\n")
