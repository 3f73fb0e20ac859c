"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

REPORTS = Path("reports")

CataloguePath = Annotated[
    Path, typer.Argument(metavar="CATALOGUE", help="A directory with a catalogue.toml, or that file itself.")
]
Version = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="A version from `winnow models list`, or current, or latest.")
]
Part = Literal["test", "stream"]
AnyPart = Literal["train", "test", "stream"]
Processes = Annotated[int | None, typer.Option(help="Processes that work at once; one a core by default.", min=1)]
Seed = Annotated[int, typer.Option(help="The same seed on the same data gives the same result.", min=0)]
Labels = Annotated[
    Literal["merchant", "truth"], typer.Option(help="Learn from the merchants' labels, or from the truth.")
]
ErrorRate = Annotated[float, typer.Option(help="Share of wrong answers.", min=0, max=1)]
Stored = Annotated[str, typer.Option(help="A version from `winnow models list`, or current.")]
Cold = Annotated[
    bool, typer.Option("--cold", help="Begin anew, with a new vocabulary; once in a while, or after a change.")
]
Pretrained = Annotated[bool, typer.Option(help="See images by the pretrained encoder, if winnow[images] is installed.")]
Report = Annotated[Path | None, typer.Option(help="Where to write the HTML report.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")]
