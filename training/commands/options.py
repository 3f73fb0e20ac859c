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
Pretrained = Annotated[bool, typer.Option(help="See images by the pretrained encoder, if winnow[images] is installed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")]
