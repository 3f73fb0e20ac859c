"""What came of each retraining: one JSON line each, beside the bundles, where every replica can read it.

Retraining runs in a process of its own that no scrape meets, so the service tells of it. Writing is left to
`training.retraining.retrain_record`, the metrics' names to `service.telemetry.retraining_metrics`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import TypeAdapter

from service.bundles.history import read
from service.following import follow

RETRAININGS = "retrainings.jsonl"

Outcome = Literal["promoted", "turned_down", "nothing_new", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class Gain:
    """The gate's comparison with what was served, with its interval; positive is better."""

    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Result:
    """One retraining that ended."""

    outcome: Outcome
    ended_seconds: float  # since 1970
    version: str | None = None  # of the candidate, where there is one
    n_answers: int | None = None  # of people, that it learned from
    cpu_seconds: float | None = None
    gain: Gain | None = None


def results(directory: Path) -> list[Result]:
    """All that were written down, oldest first; a line of another form is passed over."""
    return read(directory / RETRAININGS, TypeAdapter(Result))


class RetrainingWatch:
    """Tells of the retrainings of one model store.

    Parameters
    ----------
    tell : takes all results, oldest first
    """

    def __init__(self, directory: Path, tell: Callable[[Sequence[Result]], None]) -> None:
        self._directory = directory
        self._tell = tell

    def look(self) -> None:
        """Read what there is, and tell it."""
        self._tell(results(self._directory))

    async def follow(self, *, every_seconds: float) -> None:
        """Look again and again until cancelled."""
        await follow(
            lambda: asyncio.to_thread(self.look), every_seconds=every_seconds, complaint="retrainings not read"
        )
