"""Commands that study a catalogue: its merchants' labels, what learns it best, how to ask, and the whole loop."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from service.bundles.bundle import read_manifest
from service.bundles.bundle_store import BundleStore
from training.catalogues.catalogue import Catalogue, open_catalogue
from training.commands.bundles import fit_bundle
from training.commands.options import REPORTS, AsJson, CataloguePath, Seed
from training.commands.workplace import image_encoder, inherited_environment, model_store, n_cores, read_stored
from training.console import (
    audit_table,
    baselines_table,
    loop_line,
    loop_table,
    messages,
    newcomers_table,
    progress_bars,
    replay_table,
    results,
)


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
    if as_json:
        typer.echo(json.dumps(found.to_json(limit)))
        return
    results.print(audit_table(found))
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

    opened = open_catalogue(catalogue)
    if labels == "truth":
        opened = opened.with_truth("train")
    images = image_encoder(opened) if pretrained else None
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
        results.print(baselines_table(opened.name, labels, summaries(rows)))
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
    error_rate: Annotated[float, typer.Option(help="Share of wrong answers.", min=0, max=1)] = 0.02,
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
    report: Annotated[Path | None, typer.Option(help="Where to write the HTML report.")] = None,
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
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        results.print(replay_table(found))
    messages.print(f"{found.recommendation} Report: {path}")


def loop(
    catalogue: CataloguePath,
    *,
    n_rounds: Annotated[int, typer.Option("--rounds", help="How often to label and retrain.", min=1)] = 4,
    n_tasks: Annotated[
        int, typer.Option("--tasks", help="Products that annotators open a round, at most.", min=1)
    ] = 1_000,
    error_rate: Annotated[float, typer.Option(help="Share of wrong answers.", min=0, max=1)] = 0.02,
    unseen: Annotated[
        str | None,
        typer.Option(help="A class whose products are kept from training, and appear in the stream in round 2."),
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="Train anew in every round.")] = False,
    home: Annotated[Path | None, typer.Option(help="Where its own model store and queue go; kept.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    report: Annotated[Path | None, typer.Option(help="Where to write the HTML report.")] = None,
) -> None:
    """Close the loop on a catalogue: serve, send the stream, label as people would, retrain, gate, swap, and again.

    It works in a model store and a label queue of its own; what you serve and label is not touched. It begins with the
    bundle that you serve if that is of this catalogue, and trains one otherwise. Every round sends an equal part of the
    stream. With --unseen it shows what happens when the world changes.
    """
    from training.fit import TrainingOptions  # noqa: PLC0415  loads torch
    from training.loop.loop_report import write_loop_report  # noqa: PLC0415  loads matplotlib
    from training.loop.newcomers import without_class  # noqa: PLC0415
    from training.loop.rounds import LoopOptions  # noqa: PLC0415
    from training.loop.rounds import loop as run  # noqa: PLC0415
    from training.retraining.retrain import RetrainOptions  # noqa: PLC0415
    from training.retraining.warm_plan import WarmOptions  # noqa: PLC0415

    opened = open_catalogue(catalogue)
    if unseen is not None:
        opened = without_class(opened, unseen)
    own = home or Path(tempfile.mkdtemp(prefix="winnow-loop-"))
    retraining = RetrainOptions(training=TrainingOptions(seed=seed), warm=None if cold else WarmOptions())
    options = LoopOptions(
        n_rounds=n_rounds, n_tasks=n_tasks, error_rate=error_rate, seed=seed, retraining=retraining,
        unseen_class=unseen,
    )  # fmt: skip
    _first_bundle(opened, BundleStore(own), seed=seed, ours_will_do=unseen is None)
    with progress_bars() as progress:
        done = run(
            opened, home=own, options=options, inherited=inherited_environment(), progress=progress,
            on_round=lambda one: messages.print(loop_line(one)),
        )  # fmt: skip
    path = write_loop_report(report or REPORTS / f"loop-{opened.name}.html", done)
    if as_json:
        typer.echo(json.dumps(done.to_json()))
    else:
        results.print(loop_table(done))
        if unseen is not None:
            results.print(newcomers_table(done))
    messages.print(f"Report: {path}. Model store and label queue of this loop: {own}")


def _first_bundle(catalogue: Catalogue, store: BundleStore, *, seed: int, ours_will_do: bool) -> None:
    """Begin with the bundle that is served here if it will do and is of this catalogue, and train one otherwise."""
    if store.current() is not None:
        return
    current = model_store().current()
    if current is not None and ours_will_do:
        manifest = read_manifest(model_store().load(current))
        if (manifest.fields, manifest.taxonomy) == (catalogue.fields, catalogue.taxonomy):
            store.promote(store.save(model_store().load(current)))
            return
    messages.print(f"No bundle of {catalogue.name} is served here: training one first.")
    store.promote(fit_bundle(catalogue, store=store, labels="merchant", seed=seed, images=image_encoder(catalogue)))
