"""The commands of the `winnow` command line that study a catalogue: its merchants' labels, and what learns it best.

They are added to the command line in `training.cli`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from training.catalogue import open_catalogue
from training.console import messages, progress_bars, results

N_SHOWN = 20  # rows of a table on the screen

CataloguePath = Annotated[
    Path, typer.Argument(metavar="CATALOGUE", help="A directory with a catalogue.toml, or that file itself.")
]
Seed = Annotated[int, typer.Option(help="The same seed on the same data gives the same result.", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")]


def audit_labels(
    catalogue: CataloguePath,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Where the list goes: a .csv, .jsonl or .parquet file; by default not written.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many labels to list, the least trusted first.", min=1)] = 5_000,
    n_folds: Annotated[int, typer.Option("--folds", help="Parts that the products are cross-validated in.", min=2)] = 3,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """List the merchant labels that are most likely wrong, and which merchants are bad at which classes.

    Models that have not seen a product say how far to trust each of its labels. Where the truth of the train part lies
    beside it, the list is judged against it; nothing else looks at it.
    """
    from training.audit import audit  # noqa: PLC0415  loads torch
    from training.tables import write_table  # noqa: PLC0415

    opened = open_catalogue(catalogue)
    if opened.has_truth("train"):
        opened = opened.with_truth("train")
    with progress_bars() as progress:
        found = audit(opened, n_folds=n_folds, seed=seed, progress=progress)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_table(out, found.table(limit))
        messages.print(f"Wrote {len(found.ranked(limit))} labels to {out}.")
    if as_json:
        typer.echo(json.dumps(found.to_json(limit)))
        return
    table = Table(title=f"Suspect merchant labels of {found.catalogue}", title_justify="left")
    for heading in ("merchant", "class"):
        table.add_column(heading, no_wrap=True)
    for heading in ("labels", "suspect", "of them yes", "share"):
        table.add_column(heading, justify="right")
    for one in found.by_merchant()[:N_SHOWN]:
        counts = (f"{one.n_labels:,}", f"{one.n_suspect:,}", f"{one.n_suspect_yes:,}")
        table.add_row(one.merchant, one.class_name, *counts, f"{one.share:.1%}")
    results.print(table)
    if found.precision_at():
        shares = ", ".join(f"{value:.1%} of the first {k:,}" for k, value in found.precision_at().items())
        results.print(f"Wrong by the truth: {shares}; {found.share_wrong():.1%} of all.", highlight=False)
