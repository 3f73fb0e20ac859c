"""Moving the pointer to the bundle that is served, forwards and back, and remembering every move.

Whether a candidate deserves it is left to `training.retraining.gate`; taking it over to the workers'
`service.bundles.swap`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from service.bundles.bundle_store import BundleStore
from service.bundles.history import append
from service.bundles.promotions import HISTORY, Kind, Move, came_back, history, replaced_by
from service.errors import AlreadyRunning, NoBundle

LOCK = "retrain.lock"


def promote(store: BundleStore, version: str, *, now: datetime, why: str, kind: Kind = "promotion") -> Move:
    """Serve a stored version from now on.

    The move is written down before the pointer moves: killed in between, the next promotion or rollback sees a line
    that never came true, and passes over it.

    Raises
    ------
    NoBundle, BundleRefused
        If there is no such version, or it is damaged; then nothing has moved.
    """
    resolved = store.load(version).name
    move = Move(kind, resolved, store.current(), now.isoformat(), why)
    if move.replaced == resolved:
        return move
    append(store.directory / HISTORY, asdict(move))
    store.promote(resolved)
    return move


def rollback(store: BundleStore, *, now: datetime, why: str = "asked for", further: bool = False) -> Move:
    """Undo the newest promotion: serve again what the current version replaced.

    Where what is served came by a rollback itself, nothing moves, so that a rollback that was killed can be run again
    by whoever does not know how far it came.

    Parameters
    ----------
    further : go one more step back, also from what a rollback brought

    Raises
    ------
    NoBundle
        If nothing is served, or it replaced nothing.
    """
    current, moves = store.current(), history(store.directory)
    if current is not None and not further and came_back(current, moves):
        return Move("rollback", current, current, now.isoformat(), why)
    before = replaced_by(current, moves)
    if before is None:
        raise NoBundle(f"{current or 'nothing'} is served and replaced nothing; name a version: winnow promote VERSION")
    return promote(store, before, now=now, why=why, kind="rollback")


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
