"""The `winnow` command line: the composition root of everything that is done offline."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from service.bundle import Bundle, read_bundle, read_manifest
from service.bundle_store import BundleStore
from service.errors import WinnowError
from service.label_queue.reading import Filters
from service.label_queue.store import LabelQueue, open_store
from service.quality_api import read_course
from service.settings import Settings
from training.catalogue import Catalogue, open_catalogue
from training.console import (
    loop_line,
    loop_table,
    messages,
    models_table,
    newcomers_table,
    progress_bars,
    quality_check,
    quality_table,
    replay_table,
    results,
    scores_table,
)
from training.promote import promote as move_pointer
from training.promote import rollback as move_pointer_back
from training.study_cli import audit_labels, baselines

if TYPE_CHECKING:
    from training.gate import Verdict
    from training.pretrained import ImageEncoder
    from training.retrain import Retraining

DEMO_DIRECTORY = Path("data/demo")
REPORTS = Path("reports")
CACHE = Path("~/.cache/winnow")  # of image features; what is in it can be computed again
GATE_SAYS_NO = 3  # exit status
# Threads that wait for one another sleep: spinning, a training beside other work took three to six times as long.
WAIT_POLICY = ("OMP_WAIT_POLICY", "PASSIVE")  # read when torch and LightGBM are loaded, which commands do later

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
app.command("audit-labels")(audit_labels)
app.command("baselines")(baselines)
queue = typer.Typer(no_args_is_help=True, help="The label queue.")
app.add_typer(queue, name="queue")
labels = typer.Typer(no_args_is_help=True, help="The label queue in files, for Label Studio and for analysts.")
app.add_typer(labels, name="labels")

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
    pretrained: Pretrained = True,
    promote: Annotated[bool, typer.Option(help="Serve the new bundle at once.")] = True,
) -> None:
    """Train an ensemble on a catalogue's train part, keep it in the model store, and evaluate it on the test part.

    Nothing is kept of a training that is interrupted; the bundle that is served stays.
    """
    opened = open_catalogue(catalogue)
    if labels == "truth":
        opened = opened.with_truth("train")
    images = _images(opened) if pretrained else None
    version = _fit(opened, store=_store(), labels=labels, seed=seed, images=images)
    if opened.has("test"):
        _evaluate(_read(version), opened, part="test", report=None)
    if promote:
        move_pointer(_store(), version, now=datetime.now(UTC), why="trained")
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


@app.command()
def score(
    catalogue: CataloguePath,
    *,
    out: Annotated[Path, typer.Option(help="Where to write the scores: .parquet or .jsonl.")],
    part: Annotated[AnyPart, typer.Option(help="Which part to score.")] = "stream",
    bundle: Annotated[str, typer.Option(help="A version from `winnow models list`, or current.")] = "current",
    processes: Processes = None,
) -> None:
    """Score a catalogue of any size: probabilities, yes or no, doubt, and what a person's answers would teach.

    A run that was killed goes on where it was when the same command is given again; every product is scored once.
    """
    from training.score_job import score_catalogue  # noqa: PLC0415  only this command and the next need it

    with progress_bars() as progress:
        n_products = score_catalogue(
            _store().load(bundle), open_catalogue(catalogue), part=part, out=out,
            n_processes=processes or os.cpu_count() or 1, progress=progress,
        )  # fmt: skip
    messages.print(f"Wrote the scores of {n_products} products to {out}.")


@queue.command("fill")
def fill_queue(
    catalogue: CataloguePath,
    *,
    part: Annotated[AnyPart, typer.Option(help="Which part to draw from.")] = "stream",
    n_tasks: Annotated[int, typer.Option("--tasks", help="How many products to queue.", min=1)] = 1_000,
    n_questions: Annotated[int, typer.Option("--questions", help="Questions about each of them.", min=1)] = 5,
    bundle: Annotated[str, typer.Option(help="A version from `winnow models list`, or current.")] = "current",
    processes: Processes = None,
) -> None:
    """Queue the questions most worth asking about a whole catalogue, doubtful merchant labels among them.

    Nothing is queued if it is interrupted. A product that is queued already gets the new questions beside its old ones.
    """
    from training.pool import PoolOptions, enqueue_pool, pool_cohort  # noqa: PLC0415

    with progress_bars() as progress:
        sealed = pool_cohort(
            _store().load(bundle), opened := open_catalogue(catalogue), part=part,
            options=PoolOptions(n_tasks, n_questions), salt=os.urandom(16), now=datetime.now(UTC),
            n_processes=processes or os.cpu_count() or 1, progress=progress,
        )  # fmt: skip
    with _queue() as label_queue:
        enqueue_pool(label_queue, sealed, id_field=opened.fields.id)
    messages.print(
        f"Queued {len(sealed.products)} of {sealed.totals.n_products} products, with "
        f"{sum(len(product.questions) for product in sealed.products)} questions."
    )


@models.command("list")
def list_models() -> None:
    """List the bundles, the newest first."""
    store = _store()
    results.print(models_table(store.manifests()[::-1], store.current()))


@models.command("show")
def show_model(version: Version = "current") -> None:
    """Print a bundle's manifest as JSON, without its vocabulary and weights."""
    typer.echo(read_manifest(_store().load(version)).model_dump_json(indent=2))


@labels.command("export")
def export_labels(
    directory: Annotated[Path, typer.Argument(help="Where to write the files.")],
    limit: Annotated[int, typer.Option(help="Tasks at most, the most urgent first.", min=1)] = 1_000,
    class_name: Annotated[str | None, typer.Option("--class", help="Only tasks that ask about this class.")] = None,
) -> None:
    """Write open tasks and a labelling interface for Label Studio, and all questions with their weights and answers."""
    from training import label_files  # noqa: PLC0415  only this command and the next need it

    current = _store().current()
    fields = read_manifest(_store().load(current)).fields if current else None
    with _queue() as queue:
        n_tasks = label_files.export_tasks(
            queue, directory, fields=fields, filters=Filters(class_name=class_name), limit=limit, now=datetime.now(UTC)
        )
        n_questions = label_files.export_questions(queue, directory / label_files.QUESTIONS)
    messages.print(
        f"Wrote {n_tasks} tasks to {directory / label_files.TASKS}, their labelling interface to "
        f"{directory / label_files.CONFIG}, {n_questions} questions to {directory / label_files.QUESTIONS}."
    )


@labels.command("import")
def import_labels(
    file: Annotated[Path, typer.Argument(help="A JSON export of Label Studio.", exists=True, dir_okay=False)],
    annotator: Annotated[str, typer.Option(help="Beginning of the annotators' names.")] = "label-studio",
) -> None:
    """Store the labels of Label Studio's JSON export; imported again, they add nothing."""
    from training import label_files  # noqa: PLC0415

    with _queue() as queue:
        imported = label_files.import_labels(queue, file, annotator=annotator, now=datetime.now(UTC))
    messages.print(
        f"Stored {imported.n_stored} annotations; left out {imported.n_held} of tasks that somebody has leased, "
        f"{imported.n_unknown} of tasks that this queue does not have."
    )


@labels.command("simulate")
def simulate_labels(
    catalogue: CataloguePath,
    part: Annotated[Part, typer.Option(help="Which part's truth the annotators know.")] = "stream",
    url: Annotated[str, typer.Option(help="Where Winnow serves.")] = "http://127.0.0.1:3000",
    error_rate: Annotated[float, typer.Option(help="Share of wrong answers.", min=0, max=1)] = 0.02,
    seed: Seed = 0,
) -> None:
    """Empty a running service's label queue as annotators would who know a catalogue's truth: to try things out.

    What they answer is stored like anybody's answers, under the names simulated-0 and simulated-1.
    """
    from training.simulate import Annotators  # noqa: PLC0415  only this command and the loop need it

    opened = open_catalogue(catalogue)
    people = Annotators.of(opened, part, error_rate=error_rate, seed=seed)
    done = people.label_everything(url, id_field=opened.fields.id)
    messages.print(f"Opened {done.n_products} products and gave {done.n_answers} answers.")


@app.command()
def retrain(
    catalogue: CataloguePath,
    *,
    seed: Seed = 0,
    judge_share: Annotated[
        float, typer.Option(help="Of the newly labelled products, kept to judge by; they train the next time.")
    ] = 0.35,
    human_weight: Annotated[float, typer.Option(help="What a person's answer counts for, a merchant's label 1.")] = 4.0,
    importance_exponent: Annotated[
        float, typer.Option(help="e of the factor W**e that answers have in the loss.", min=0, max=1)
    ] = 0.0,
    scheduled: Annotated[
        bool, typer.Option("--scheduled", help="Exit 0 on the gate's no and where nothing is new, too, as a cron job.")
    ] = False,
    cold: Annotated[
        bool, typer.Option("--cold", help="Begin anew, with a new vocabulary; once in a while, or after a change.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Learn from what people answered, and serve the result if the gate finds it better.

    It goes on from the weights of the bundle that is served (a warm start): all new answers and some replayed products,
    in a few epochs. A part of the newly labelled products is not learned from: it judges the candidate against what is
    served, and is learned the next time.

    Exit status 0: promoted; 3: the gate said no, and what is served stays; 1: an error. Can be killed at any moment.
    Whatever came of it is written down beside the bundles, from where the service tells it to Prometheus.
    """
    from training.fit import TrainingOptions  # noqa: PLC0415  loads torch
    from training.lessons import HumanWeights  # noqa: PLC0415  loads scikit-learn
    from training.retrain import NothingNew, RetrainOptions  # noqa: PLC0415
    from training.retrain import retrain as run  # noqa: PLC0415
    from training.retrain_record import recorded  # noqa: PLC0415
    from training.warm_start import WarmOptions  # noqa: PLC0415

    training = TrainingOptions(seed=seed, human=HumanWeights(human_weight, importance_exponent))
    options = RetrainOptions(judge_share, training, warm=None if cold else WarmOptions())
    store, opened = _store(), open_catalogue(catalogue)

    def one() -> Retraining:
        with progress_bars() as progress, _queue() as queue:
            return run(
                opened, images=_images(opened), store=store, queue=queue, directory=_settings().home, options=options,
                now=datetime.now(UTC), progress=progress,
            )  # fmt: skip

    try:
        done = recorded(one, store.directory, clock=lambda: datetime.now(UTC))
    except NothingNew as nothing:
        if not scheduled:
            raise
        messages.print(f"Nothing to do: {nothing}.", highlight=False)
        return
    messages.print(f"{done.candidate}: {done.start} start, trained on {done.n_answers} answers of people.")
    say_verdict(done.verdict, done.to_json() if as_json else None, says_no=0 if scheduled else GATE_SAYS_NO)


@app.command()
def gate(version: Version, as_json: AsJson = False) -> None:
    """Judge a bundle against the one that is served, by all answers that neither has learned from. Moves nothing."""
    from training.retrain import gate as run  # noqa: PLC0415  loads torch

    with progress_bars() as progress, _queue() as queue:
        verdict = run(version, store=_store(), queue=queue, progress=progress)
    say_verdict(verdict, verdict.to_json() if as_json else None)


@app.command()
def promote(version: Version) -> None:
    """Serve a bundle from now on, whatever the gate says of it."""
    done = move_pointer(_store(), version, now=datetime.now(UTC), why="asked for")
    messages.print(f"Serving {done.version} instead of {done.replaced or 'nothing'}.")


@app.command()
def rollback() -> None:
    """Serve again what the current bundle replaced."""
    done = move_pointer_back(_store(), now=datetime.now(UTC))
    messages.print(f"Serving {done.version} again instead of {done.replaced}.")


@app.command()
def quality(
    version: Annotated[str, typer.Option("--model", help="A version from `winnow models list`.")] = "current",
    as_json: AsJson = False,
) -> None:
    """Say how good what is served is: live precision and recall per class, from people's answers, without bias.

    Each comes with a 95 % interval; "insufficient" means that the interval is too wide to say anything: label more.
    The same is at /quality of the service, as a page with its course over time.
    """
    with _queue() as queue:
        course = read_course(queue, read_manifest(_store().load(version)))
    if as_json:
        typer.echo(json.dumps(course.to_json()))
    else:
        results.print(quality_table(course))
    messages.print(quality_check(course))


@app.command()
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
    from training.pretrained import find_encoder  # noqa: PLC0415  loads torch
    from training.replay import Plan  # noqa: PLC0415
    from training.replay_pool import read_pool  # noqa: PLC0415
    from training.replay_report import write_replay_report  # noqa: PLC0415
    from training.replay_shelf import open_shelf  # noqa: PLC0415
    from training.replay_shelf import replay as run  # noqa: PLC0415
    from training.savings import study  # noqa: PLC0415
    from training.strategies import named  # noqa: PLC0415

    opened = open_catalogue(catalogue)
    plan = Plan(n_rounds, n_answers, n_products, error_rate, human_weight)
    strategies = named(only or [])
    images = find_encoder(CACHE.expanduser()) if see_images and opened.fields.image is not None else None
    with progress_bars() as progress:
        pool = read_pool(opened, bundle=_read(bundle) if bundle else None, images=images, progress=progress)
        runs = run(
            pool, strategies, shelf=open_shelf(keep or REPORTS / f"replay-{opened.name}-runs", pool, plan),
            seeds=range(n_seeds), n_processes=n_processes or os.cpu_count() or 1, progress=progress,
        )  # fmt: skip
    found = study(opened.name, runs, plan=plan)
    path = write_replay_report(report or REPORTS / f"replay-{opened.name}.html", found)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        results.print(replay_table(found))
    messages.print(f"{found.recommendation} Report: {path}")


@app.command()
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
    from training.loop import LoopOptions  # noqa: PLC0415
    from training.loop import loop as run  # noqa: PLC0415
    from training.loop_report import write_loop_report  # noqa: PLC0415  loads matplotlib
    from training.newcomers import without_class  # noqa: PLC0415
    from training.retrain import RetrainOptions  # noqa: PLC0415
    from training.warm_start import WarmOptions  # noqa: PLC0415

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
            opened, home=own, options=options, inherited=os.environ, progress=progress,
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


def _settings() -> Settings:
    return Settings.from_env(os.environ)


def _store() -> BundleStore:
    settings = _settings()
    return BundleStore(settings.home, settings.model)


@contextmanager
def _queue() -> Iterator[LabelQueue]:
    """The label queue that the service writes to."""
    settings = _settings()
    queue = open_store(settings.database_url.get_secret_value(), lease_seconds=settings.lease_seconds)
    try:
        yield queue
    finally:
        queue.close()


def _first_bundle(catalogue: Catalogue, store: BundleStore, *, seed: int, ours_will_do: bool) -> None:
    """Begin with the bundle that is served here if it will do and is of this catalogue, and train one otherwise."""
    if store.current() is not None:
        return
    current = _store().current()
    if current is not None and ours_will_do:
        manifest = read_manifest(_store().load(current))
        if (manifest.fields, manifest.taxonomy) == (catalogue.fields, catalogue.taxonomy):
            store.promote(store.save(_store().load(current)))
            return
    messages.print(f"No bundle of {catalogue.name} is served here: training one first.")
    store.promote(_fit(catalogue, store=store, labels="merchant", seed=seed, images=_images(catalogue)))


def say_verdict(verdict: Verdict, document: dict[str, Any] | None, *, says_no: int = GATE_SAYS_NO) -> None:
    """Show the gate's answer, which is also the exit status unless a no is none."""
    if document is not None:
        typer.echo(json.dumps(document, indent=1))
    word = "yes" if verdict.promote else "no"
    messages.print(f"The gate says {word}: {'; '.join(verdict.reasons)}.", highlight=False)
    if not verdict.promote:
        raise typer.Exit(says_no)


def _read(version: str) -> Bundle:
    return read_bundle(_store().load(version))


def _images(catalogue: Catalogue) -> ImageEncoder | None:
    """The pretrained image encoder, where the catalogue has images; what it would bring is said where it is not."""
    from training.pretrained import find_encoder  # noqa: PLC0415  loads torch

    if catalogue.fields.image is None:
        return None
    found = find_encoder(CACHE.expanduser())
    if found is None:
        messages.print("Images are seen by a small network trained here; winnow\\[images] brings a pretrained one.")
    return found


def _fit(
    catalogue: Catalogue,
    *,
    store: BundleStore,
    labels: Literal["merchant", "truth"],
    seed: int,
    images: ImageEncoder | None,
) -> str:
    """Train into a temporary directory and keep the bundle once it is complete; return its version."""
    from training.fit import TrainingOptions  # noqa: PLC0415  loads torch
    from training.fit import train as fit  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="winnow-") as draft, progress_bars() as progress:
        options = TrainingOptions(seed=seed, labels=labels)
        fit(catalogue, directory=Path(draft) / "bundle", options=options, images=images, progress=progress)
        return store.save(Path(draft) / "bundle")


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
    os.environ.setdefault(*WAIT_POLICY)
    try:
        app()
    except WinnowError as error:
        messages.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
