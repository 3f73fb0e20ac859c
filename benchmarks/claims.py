"""What a benchmark promises, beside what it found; a missed promise makes the program fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Claim:
    """A sentence that could be false, and what was found."""

    sentence: str
    found: str
    holds: bool


def conclude(title: str, claims: Sequence[Claim]) -> int:
    """Print the claims and return the exit status: 0 if all of them hold, else 1."""
    table = Table(title=title)
    for heading in ("", "claim", "found"):
        table.add_column(heading)
    for claim in claims:
        table.add_row("[green]holds[/]" if claim.holds else "[red]missed[/]", claim.sentence, claim.found)
    Console(width=140).print(table)
    return 0 if all(claim.holds for claim in claims) else 1
