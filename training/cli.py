"""The `winnow` command line: the composition root of everything that is done offline."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from service.bundle import Bundle, read_bundle, read_manifest
from service.bundle_store import BundleStore
from service.errors import WinnowError
from training.catalogue import Catalogue, open_catalogue
from training.console import messages, models_table, progress_bars, results, scores_table

DEMO_DIRECTORY = Path("data/demo")
REPORTS = Path("reports")

app = typer.Typer(
    name="winnow",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train, evaluate and serve classifiers of products into independent yes/no classes. "
    "A first tour: [bold]winnow demo-catalogue[/], [bold]winnow train data/demo[/], [bold]winnow serve[/].",
    rich_markup_mode="rich",
)
models = typer.Typer(no_args_is_help=True, help="The bundles in the model store.")
app.add_typer(models, name="models")

CataloguePath = Annotated[
    Path, typer.Argument(metavar="CATALOGUE", help="A directory with a catalogue.toml, or that file itself.")
]
Version = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="A version from `winnow models list`, or current, or latest.")
]
Part = Literal["test", "stream"]
Seed = Annotated[int, typer.Option(help="The same seed on the same data gives the same result.", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")]


@app.command("demo-catalogue")
def demo_catalogue(
    directory: Annotated[Path, typer.Argument(help="Where to write it.")] = DEMO_DIRECTORY,
    n_products: Annotated[int, typer.Option("--products", help="How many products.", min=200)] = 4_000,
    seed: Seed = 0,
) -> None:
    """Generate a shop to try everything on: pictures, titles, prices, overlapping classes, noisy merchant labels."""
    from training.demo_catalogue import write_demo_catalogue  # noqa: PLC0415  draws with Pillow; only needed here

    with progress_bars() as progress:
        write_demo_catalogue(directory, n_products=n_products, seed=seed, progress=partial(progress, "draw products"))
    messages.print(f"Wrote {n_products} products to {directory}; next: winnow train {directory}")


@app.command()
def train(
    catalogue: CataloguePath,
    labels: Annotated[
        Literal["merchant", "truth"], typer.Option(help="Learn from the merchants' labels, or from the truth.")
    ] = "merchant",
    seed: Seed = 0,
    promote: Annotated[bool, typer.Option(help="Serve the new bundle at once.")] = True,
) -> None:
    """Train an ensemble on a catalogue's train part, keep it in the model store, and evaluate it on the test part.

    Nothing is kept of a training that is interrupted; the bundle that is served stays.
    """
    opened = open_catalogue(catalogue)
    if labels == "truth":
        opened = opened.with_truth("train")
    version = _fit(opened, labels=labels, seed=seed)
    if opened.has("test"):
        _evaluate(_read(version), opened, part="test", report=None)
    if promote:
        _store().promote(version)
    messages.print(f"Kept as {version}." + (" Next: winnow serve" if promote else ""))


@app.command()
def evaluate(
    version: Version,
    catalogue: CataloguePath,
    part: Annotated[Part, typer.Option(help="Which part to evaluate on.")] = "test",
    as_json: AsJson = False,
    report: Annotated[Path | None, typer.Option(help="Where to write the HTML report.")] = None,
) -> None:
    """Score a bundle and each of its members against the truth of a catalogue."""
    _evaluate(_read(version), open_catalogue(catalogue), part=part, report=report, as_json=as_json)


@models.command("list")
def list_models() -> None:
    """List the bundles, the newest first."""
    store = _store()
    results.print(models_table(store.manifests()[::-1], store.current()))


@models.command("show")
def show_model(version: Version = "current") -> None:
    """Print a bundle's manifest as JSON, without its vocabulary and weights."""
    typer.echo(read_manifest(_store().load(version)).model_dump_json(indent=2))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 3000,
    train_demo_if_empty: Annotated[
        bool, typer.Option("--train-demo-if-empty", help="Train on the demo catalogue first if there is no bundle.")
    ] = False,
) -> None:
    """Serve the current bundle over HTTP until interrupted."""
    from service.launch import serve as become_server  # noqa: PLC0415  only this command needs it

    if train_demo_if_empty and _store().current() is None:
        messages.print("There is no bundle yet: training on the demo catalogue, which takes a minute or two.")
        if not (DEMO_DIRECTORY / "catalogue.toml").is_file():
            demo_catalogue()
        train(DEMO_DIRECTORY)
    become_server(host=host, port=port)


def _store() -> BundleStore:
    home = os.environ.get("BENTOML_HOME")
    return BundleStore(Path(home) if home else Path.home() / "bentoml")


def _read(version: str) -> Bundle:
    return read_bundle(_store().load(version))


def _fit(catalogue: Catalogue, *, labels: Literal["merchant", "truth"], seed: int) -> str:
    """Train into a temporary directory and keep the bundle once it is complete; return its version."""
    from training.fit import TrainingOptions  # noqa: PLC0415  loads torch
    from training.fit import train as fit  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="winnow-") as draft, progress_bars() as progress:
        options = TrainingOptions(seed=seed, labels=labels)
        fit(catalogue, directory=Path(draft) / "bundle", options=options, progress=progress)
        return _store().save(Path(draft) / "bundle")


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


def main() -> None:
    """Run the command line; an error of ours is one sentence and exit status 1."""
    try:
        app()
    except WinnowError as error:
        messages.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
