"""The history of promotions: which bundle replaced which, as lines of JSON beside the bundles.

Every replica can read it there; moving the pointer and writing a move down is left to `training.retraining.promote`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from service.bundles.history import read

HISTORY = "promotions.jsonl"

Kind = Literal["promotion", "rollback"]


@dataclass(frozen=True)
class Move:
    """One move of the pointer."""

    kind: Kind
    version: str
    replaced: str | None
    at: str  # ISO 8601
    why: str


def history(directory: Path) -> list[Move]:
    """All moves that were written down, oldest first; a line of another form is passed over.

    Parameters
    ----------
    directory : of the model store's bundles
    """
    return read(directory / HISTORY, TypeAdapter(Move))


def came_back(version: str | None, moves: Sequence[Move]) -> bool:
    """Whether the newest move to a version was a rollback."""
    came = [move for move in moves if move.version == version]
    return bool(came) and came[-1].kind == "rollback"


def replaced_by(version: str | None, moves: Sequence[Move]) -> str | None:
    """What the newest promotion of a version replaced, so that each rollback leads one step further back."""
    came = [move for move in moves if move.kind == "promotion" and move.version == version]
    return came[-1].replaced if came else None


def served_before(version: str, moves: Sequence[Move]) -> Iterator[str]:
    """Each bundle that was replaced on the way to a version, the latest first and none twice."""
    seen = {version}
    before = replaced_by(version, moves)
    while before is not None and before not in seen:
        yield before
        seen.add(before)
        before = replaced_by(before, moves)
