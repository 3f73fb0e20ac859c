"""The commands of the `winnow` command line that study a catalogue: its merchants' labels, and what learns it best.

They are added to the command line in `training.cli`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from training.catalogue import open_catalogue
from training.console import messages, progress_bars, results

N_SHOWN = 20  # rows of a table on the screen
REPORTS = Path("reports")
CACHE = Path("~/.cache/winnow")  # of image features; what is in it can be computed again

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


def baselines(
    catalogue: CataloguePath,
    *,
    n_seeds: Annotated[int, typer.Option("--seeds", help="Repetitions of every combination.", min=1)] = 3,
    labels: Annotated[
        Literal["merchant", "truth"], typer.Option(help="Learn from the merchants' labels, or from the truth.")
    ] = "merchant",
    n_products: Annotated[
        int, typer.Option("--products", help="Learn from a sample of so many; 0 for all.", min=0)
    ] = 0,
    only: Annotated[
        list[str] | None, typer.Option(help="A combination, as the table names it; may be repeated.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Of every neural model.", min=1)] = 6,
    pretrained: Annotated[
        bool, typer.Option(help="See images by the pretrained encoder, if winnow[images] is installed.")
    ] = True,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what an earlier run has measured.")] = False,
    as_json: AsJson = False,
    report: Annotated[Path | None, typer.Option(help="Where to write the HTML report.")] = None,
) -> None:
    """Measure every kind of model on every modality alone: what each is worth on a catalogue, and what it costs.

    What is measured is kept beside the report, so that a run that was stopped goes on where it was.
    """
    from training.baselines import measure, read_study, seeds_and_combinations  # noqa: PLC0415  loads torch
    from training.baselines_report import Kept, summaries, write_baselines_report  # noqa: PLC0415
    from training.joint import JointOptions  # noqa: PLC0415
    from training.pretrained import find_encoder  # noqa: PLC0415

    opened = open_catalogue(catalogue)
    if labels == "truth":
        opened = opened.with_truth("train")
    images = find_encoder(CACHE.expanduser()) if pretrained else None
    path = report or REPORTS / f"baselines-{opened.name}.html"
    with progress_bars() as progress:
        study = read_study(opened, labels=labels, images=images, n_products=n_products, progress=progress)
        kept = Kept(path.parent, study)
        if again:
            kept.clear()
        known = {(row.seed, row.name) for row in kept.rows()}
        wanted = [one for one in seeds_and_combinations(study, n_seeds) if not only or one[1].name in only]
        for n_done, (seed, combination) in enumerate(wanted, 1):
            if (seed, combination.name) not in known:
                kept.add(measure(study, combination, seed=seed, options=JointOptions(epochs=epochs)))
            progress("measure", n_done, len(wanted))
    asked = {(seed, combination.name) for seed, combination in wanted}
    rows = [row for row in kept.rows() if (row.seed, row.name) in asked]
    write_baselines_report(path, study, rows)
    if as_json:
        typer.echo(json.dumps({"catalogue": opened.name, "labels": labels, "rows": [asdict(row) for row in rows]}))
    else:
        table = Table(title=f"Baselines on {opened.name}, from {labels} labels", title_justify="left")
        table.add_column("model", no_wrap=True)
        for heading in ("macro AP", "rare quarter", "macro F1", "calib. error", "CPU s", "MB", "µs a product"):
            table.add_column(heading, justify="right")
        for one in summaries(rows):
            scores = (one.cell(name, 3) for name in ("macro_ap", "rare_quarter_ap", "macro_f1", "calibration_error"))
            costs = (one.cell("cpu_seconds", 1), one.cell("megabytes", 1), one.cell("microseconds", 0))
            table.add_row(one.name, *scores, *costs)
        results.print(table)
    messages.print(f"Report: {path}")
