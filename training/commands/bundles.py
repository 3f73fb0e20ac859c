"""Commands that make, score and list bundles: demo-catalogue, train, evaluate, models, promote, rollback."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.bundles.bundle import Bundle, read_manifest
from service.bundles.bundle_store import BundleStore
from service.errors import CatalogueError
from training.catalogues.catalogue import Catalogue, open_catalogue
from training.commands.options import REPORTS, AsJson, CataloguePath, Labels, Part, Pretrained, Report, Seed, Version
from training.commands.workplace import image_encoder, model_store, read_stored
from training.console import messages, models_table, progress_bars, results, scores_table, untrained_line
from training.retraining.promote import promote as move_pointer
from training.retraining.promote import rollback as move_pointer_back

if TYPE_CHECKING:
    from training.pretrained import ImageEncoder

DEMO_DIRECTORY = Path("data/demo")


def demo_catalogue(
    directory: Annotated[Path, typer.Argument(help="Where to write it.")] = DEMO_DIRECTORY,
    n_products: Annotated[int, typer.Option("--products", help="How many products.", min=200)] = 4_000,
    seed: Seed = 0,
) -> None:
    """Generate a shop to try everything on: pictures, titles, prices, overlapping classes, noisy merchant labels."""
    from training.demo.catalogue import write_demo_catalogue  # noqa: PLC0415  draws with Pillow; only needed here

    with progress_bars() as progress:
        write_demo_catalogue(directory, n_products=n_products, seed=seed, progress=partial(progress, "draw products"))
    messages.print(f"Wrote {n_products} products to {directory}; next: winnow train {directory}")


def train(
    catalogue: CataloguePath,
    labels: Labels = "merchant",
    seed: Seed = 0,
    pretrained: Pretrained = True,
    promote: Annotated[bool, typer.Option(help="Serve the new bundle at once.")] = True,
) -> None:
    """Train an ensemble on a catalogue's train part, keep it in the model store, and evaluate it on the test part.

    Nothing is kept of a training that is interrupted; the bundle that is served stays. Without a test part, or its
    truth, the bundle is kept and served all the same, and not evaluated.
    """
    opened = open_catalogue(catalogue)
    if labels == "truth":
        opened = opened.with_truth("train")
    images = image_encoder(opened) if pretrained else None
    version = fit_bundle(opened, store=model_store(), labels=labels, seed=seed, images=images)
    if untrained := untrained_line(read_manifest(model_store().load(version))):
        messages.print(untrained, highlight=False, soft_wrap=True)
    if promote:
        move_pointer(model_store(), version, now=datetime.now(UTC), why="trained")
    _evaluate_if_possible(version, opened)
    messages.print(f"Kept as {version}." + (" Next: winnow serve" if promote else ""))


def evaluate(
    version: Version,
    catalogue: CataloguePath,
    part: Annotated[Part, typer.Option(help="Which part to evaluate on.")] = "test",
    as_json: AsJson = False,
    report: Report = None,
) -> None:
    """Score a bundle and each of its members against the truth of a catalogue."""
    _evaluate(read_stored(version), open_catalogue(catalogue), part=part, report=report, as_json=as_json)


def list_models() -> None:
    """List the bundles, the newest first; "serving" marks the one that the pointer names, which need not be the newest.

    A candidate that the gate refused stays here: `winnow gate BUNDLE` judges it again, `winnow promote BUNDLE` serves
    it.
    """
    store = model_store()
    results.print(models_table(store.manifests()[::-1], store.current()))


def show_model(version: Version = "current") -> None:
    """Print a bundle's manifest as JSON, without its vocabulary and weights."""
    typer.echo(read_manifest(model_store().load(version)).model_dump_json(indent=2))


def promote(version: Version) -> None:
    """Serve a bundle from now on, whatever the gate says of it.

    The pointer of the model store moves; every worker takes the bundle over within seconds, after it has reproduced its
    golden batch, and drops no request. A damaged bundle is refused. `winnow rollback` goes back.
    """
    done = move_pointer(model_store(), version, now=datetime.now(UTC), why="asked for")
    messages.print(f"Serving {done.version} instead of {done.replaced or 'nothing'}.")


def rollback(
    further: Annotated[
        bool, typer.Option("--further", help="Go one step back also from what a rollback brought.")
    ] = False,
) -> None:
    """Undo the newest promotion: serve again what the current bundle replaced.

    It is the same move as a promotion, and as quick: no request is dropped. Run again it moves nothing, whether the
    first run came to its end or not; --further goes another step back. `winnow models list` shows what is served.
    """
    done = move_pointer_back(model_store(), now=datetime.now(UTC), further=further)
    if done.version == done.replaced:
        messages.print(f"A rollback has brought {done.version} already; --further goes one step further back.")
    else:
        messages.print(f"Serving {done.version} again instead of {done.replaced}.")


def fit_bundle(
    catalogue: Catalogue,
    *,
    store: BundleStore,
    labels: Literal["merchant", "truth"],
    seed: int,
    images: ImageEncoder | None,
) -> str:
    """Train into a draft and keep the bundle once it is complete; return its version."""
    from training.fit import TrainingOptions  # noqa: PLC0415  loads torch
    from training.fit import train as fit  # noqa: PLC0415

    with store.draft() as draft, progress_bars() as progress:
        options = TrainingOptions(seed=seed, labels=labels)
        fit(catalogue, directory=draft / "bundle", options=options, images=images, progress=progress)
        return store.save(draft / "bundle")


def _evaluate_if_possible(version: str, catalogue: Catalogue) -> None:
    """Evaluate on the test part, or say why that cannot be; what is wrong in it takes nothing from the bundle."""
    try:
        catalogue.check_filled("test", "truth")
        _evaluate(read_stored(version), catalogue, part="test", report=None)
    except CatalogueError as error:
        messages.print(f"Not evaluated: {error}", highlight=False, markup=False)


def _evaluate(bundle: Bundle, catalogue: Catalogue, *, part: Part, report: Path | None, as_json: bool = False) -> None:
    from training.predict import evaluate_bundle  # noqa: PLC0415  loads scikit-learn
    from training.report import write_report  # noqa: PLC0415  loads matplotlib

    with progress_bars() as progress:
        evaluation, said, targets = evaluate_bundle(bundle, catalogue, part=part, progress=progress)
    path = report or REPORTS / f"{bundle.manifest.version}-{catalogue.name}-{part}.html"
    write_report(path, bundle.manifest, evaluation, said, targets)
    if as_json:
        typer.echo(json.dumps(evaluation.to_json(), indent=1))
    else:
        results.print(scores_table(bundle.manifest, evaluation))
    messages.print(f"Report: {path}")
