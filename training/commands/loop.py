"""The command that closes the loop on a catalogue, in a model store and a label queue of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.bundles.bundle import read_manifest
from service.bundles.bundle_store import BundleStore
from training.catalogues.catalogue import Catalogue, open_catalogue
from training.commands.bundles import fit_bundle
from training.commands.options import REPORTS, AsJson, CataloguePath, ErrorRate, Report, Seed
from training.commands.output import show
from training.commands.workplace import image_encoder, inherited_environment, model_store
from training.console import loop_line, loop_table, messages, newcomers_table, progress_bars

if TYPE_CHECKING:
    from training.loop.loop_report import LoopReport
    from training.loop.rounds import LoopOptions
    from training.pretrained import ImageEncoder


def loop(
    catalogue: CataloguePath,
    *,
    n_rounds: Annotated[int, typer.Option("--rounds", help="How often to label and retrain.", min=1)] = 4,
    n_tasks: Annotated[
        int, typer.Option("--tasks", help="Products that annotators open a round, at most.", min=1)
    ] = 1_000,
    error_rate: ErrorRate = 0.02,
    unseen: Annotated[
        str | None,
        typer.Option(help="A class whose products are kept from training, and come into the stream in round 2."),
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="Train anew in every round.")] = False,
    home: Annotated[Path | None, typer.Option(help="Where its own model store and queue go; kept.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    report: Report = None,
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
    from training.loop.shop import check_playable  # noqa: PLC0415
    from training.retraining.retrain import RetrainOptions  # noqa: PLC0415
    from training.retraining.warm_plan import WarmOptions  # noqa: PLC0415

    opened = open_catalogue(catalogue)
    if unseen is not None:
        opened = without_class(opened, unseen)
    retraining = RetrainOptions(training=TrainingOptions(seed=seed), warm=None if cold else WarmOptions())
    options = LoopOptions(
        n_rounds=n_rounds, n_tasks=n_tasks, error_rate=error_rate, seed=seed, retraining=retraining,
        unseen_class=unseen,
    )  # fmt: skip
    check_playable(opened, n_rounds=n_rounds)
    own = home or Path(tempfile.mkdtemp(prefix="winnow-loop-"))
    images = image_encoder(opened)
    _first_bundle(opened, BundleStore(own), seed=seed, images=images, ours_will_do=unseen is None)
    done = _run(opened, own, options, images)
    path = write_loop_report(report or REPORTS / f"loop-{opened.name}.html", done)
    tables = (loop_table(done), *([newcomers_table(done)] if unseen is not None else ()))
    show(done.to_json(), *tables, as_json=as_json)
    messages.print(f"Report: {path}. Model store and label queue of this loop: {own}")


def _run(catalogue: Catalogue, home: Path, options: LoopOptions, images: ImageEncoder | None) -> LoopReport:
    from training.loop.rounds import loop as run  # noqa: PLC0415  loads torch

    with progress_bars() as progress:
        return run(
            catalogue, home=home, options=options, inherited=inherited_environment(), progress=progress,
            images=images, on_round=lambda one: messages.print(loop_line(one)),
        )  # fmt: skip


def _first_bundle(
    catalogue: Catalogue, store: BundleStore, *, seed: int, images: ImageEncoder | None, ours_will_do: bool
) -> None:
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
    store.promote(fit_bundle(catalogue, store=store, labels="merchant", seed=seed, images=images))
