"""Commands that study a catalogue: its merchants' labels, what learns it best, and how to ask."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from training.catalogues.catalogue import open_catalogue
from training.commands.options import REPORTS, AsJson, CataloguePath, ErrorRate, Labels, Pretrained, Report, Seed
from training.commands.output import show
from training.commands.workplace import image_encoder, n_cores, read_stored
from training.console import audit_table, baselines_table, messages, progress_bars, replay_table, results


def audit_labels(
    catalogue: CataloguePath,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Where the list goes: a .csv, .jsonl or .parquet file; by default not written.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many labels to list, the least trusted first.", min=1)] = 5_000,
    n_folds: Annotated[
        int, typer.Option("--folds", help="Parts to cross-validate in; merchants stay whole.", min=2)
    ] = 5,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """List the merchant labels that are most likely wrong, and which merchants are bad at which classes.

    Models that learned from other merchants say how far to trust each label. Where the truth of the train part lies
    beside it, the list is judged against it; nothing else looks at it.
    """
    from training.audit import audit  # noqa: PLC0415  loads torch
    from training.catalogues.tables import write_table  # noqa: PLC0415

    opened = open_catalogue(catalogue)
    if opened.has_truth("train"):
        opened = opened.with_truth("train")
    with progress_bars() as progress:
        found = audit(opened, n_folds=n_folds, seed=seed, progress=progress)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_table(out, found.table(limit))
        messages.print(f"Wrote {len(found.ranked(limit))} labels to {out}.")
    show(found.to_json(limit), audit_table(found), as_json=as_json)
    if found.precision_at() and not as_json:
        shares = ", ".join(f"{value:.1%} of the first {k:,}" for k, value in found.precision_at().items())
        results.print(f"Wrong by the truth: {shares}; {found.share_wrong():.1%} of all.", highlight=False)


def baselines(
    catalogue: CataloguePath,
    *,
    n_seeds: Annotated[int, typer.Option("--seeds", help="Repetitions of every combination.", min=1)] = 3,
    labels: Labels = "merchant",
    n_products: Annotated[
        int, typer.Option("--products", help="Learn from a sample of so many; 0 for all.", min=0)
    ] = 0,
    only: Annotated[
        list[str] | None, typer.Option(help="A combination, as the table names it; may be repeated.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Of every neural model.", min=1)] = 6,
    pretrained: Pretrained = True,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what an earlier run has measured.")] = False,
    as_json: AsJson = False,
    report: Report = None,
) -> None:
    """Measure every kind of model on every modality alone: what each is worth on a catalogue, and what it costs.

    What is measured is kept beside the report, so that a run that was stopped goes on where it was.
    """
    from training.baselines import read_study  # noqa: PLC0415  loads torch
    from training.baselines_report import summaries, write_baselines_report  # noqa: PLC0415  loads matplotlib
    from training.baselines_shelf import Shelf, measure_all  # noqa: PLC0415
    from training.joint import JointOptions  # noqa: PLC0415

    opened = open_catalogue(catalogue)
    if labels == "truth":
        opened = opened.with_truth("train")
    images = image_encoder(opened) if pretrained else None
    path = report or REPORTS / f"baselines-{opened.name}.html"
    with progress_bars() as progress:
        study = read_study(opened, labels=labels, images=images, n_products=n_products, progress=progress)
        shelf = Shelf(path.parent, study, JointOptions(epochs=epochs))
        if again:
            shelf.clear()
        rows = measure_all(study, shelf, n_seeds=n_seeds, only=only or [], progress=progress)
    write_baselines_report(path, study, rows)
    document = {"catalogue": opened.name, "labels": labels, "rows": [asdict(row) for row in rows]}
    show(document, baselines_table(opened.name, labels, summaries(rows)), as_json=as_json)
    messages.print(f"Report: {path}")


def replay(
    catalogue: CataloguePath,
    *,
    n_seeds: Annotated[int, typer.Option("--seeds", help="Repetitions of every strategy.", min=1)] = 5,
    n_rounds: Annotated[int, typer.Option("--rounds", help="Retrainings of each run.", min=1)] = 10,
    n_answers: Annotated[
        int, typer.Option("--answers", help="Answers a round, where questions are asked.", min=1)
    ] = 2_000,
    n_products: Annotated[
        int, typer.Option("--products", help="Products a round, where whole products are asked about.", min=1)
    ] = 200,
    only: Annotated[list[str] | None, typer.Option(help="A strategy to compare; may be repeated.")] = None,
    bundle: Annotated[str | None, typer.Option(help="A bundle whose embedding the heads shall see, too.")] = None,
    see_images: Annotated[
        bool, typer.Option("--images/--no-images", help="Whether the heads see the images; takes half as long again.")
    ] = True,
    error_rate: ErrorRate = 0.02,
    human_weight: Annotated[
        float, typer.Option(help="What an answer counts against a believed merchant label.", min=0)
    ] = 4.0,
    n_processes: Annotated[
        int | None, typer.Option("--processes", help="Seeds run at once; one a core by default.", min=1)
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Where finished runs are kept, so that a killed study goes on.")
    ] = None,
    as_json: AsJson = False,
    report: Report = None,
) -> None:
    """Measure how many answers each way of asking needs on a catalogue whose truth is known, and recommend one.

    It learns with linear heads on text, categories and numbers, and on images where winnow\\[images] is installed.
    """
    from training.replay.replay_pool import read_pool  # noqa: PLC0415
    from training.replay.replay_report import write_replay_report  # noqa: PLC0415
    from training.replay.replay_shelf import open_shelf  # noqa: PLC0415
    from training.replay.replay_shelf import replay as run  # noqa: PLC0415
    from training.replay.runs import Plan  # noqa: PLC0415  loads torch
    from training.replay.savings import study  # noqa: PLC0415
    from training.replay.strategies import named  # noqa: PLC0415

    opened = open_catalogue(catalogue)
    plan = Plan(n_rounds, n_answers, n_products, error_rate, human_weight)
    strategies = named(only or [])
    images = image_encoder(opened) if see_images else None
    with progress_bars() as progress:
        pool = read_pool(opened, bundle=read_stored(bundle) if bundle else None, images=images, progress=progress)
        runs = run(
            pool, strategies, shelf=open_shelf(keep or REPORTS / f"replay-{opened.name}-runs", pool, plan),
            seeds=range(n_seeds), n_processes=n_processes or n_cores(), progress=progress,
        )  # fmt: skip
    found = study(opened.name, runs, plan=plan)
    path = write_replay_report(report or REPORTS / f"replay-{opened.name}.html", found)
    show(found.to_json(), replay_table(found), as_json=as_json)
    messages.print(f"{found.recommendation} Report: {path}")
