"""Commands around the label queue: score, queue fill, labels export, import and simulate."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from service.acquisition.sampling import SALT_BYTES
from service.bundles.bundle import read_manifest
from service.label_queue.reading import Filters
from training.catalogues.catalogue import open_catalogue
from training.commands.options import AnyPart, CataloguePath, ErrorRate, Part, Processes, Seed, Stored
from training.commands.workplace import label_queue, model_store, n_cores
from training.console import messages, progress_bars


def score(
    catalogue: CataloguePath,
    *,
    out: Annotated[Path, typer.Option(help="Where to write the scores: .parquet or .jsonl.")],
    part: Annotated[AnyPart, typer.Option(help="Which part to score.")] = "stream",
    bundle: Stored = "current",
    processes: Processes = None,
) -> None:
    """Score a catalogue of any size: probabilities, yes or no, doubt, and what a person's answers would teach.

    A run that was killed goes on where it was when the same command is given again; every product is scored once.
    """
    from training.scoring.score_run import score_catalogue  # noqa: PLC0415  only this command and the next need it

    with progress_bars() as progress:
        n_products = score_catalogue(
            model_store().load(bundle), open_catalogue(catalogue), part=part, out=out,
            n_processes=processes or n_cores(), progress=progress,
        )  # fmt: skip
    messages.print(f"Wrote the scores of {n_products} products to {out}.")


def fill_queue(
    catalogue: CataloguePath,
    *,
    part: Annotated[AnyPart, typer.Option(help="Which part to draw from.")] = "stream",
    n_tasks: Annotated[int, typer.Option("--tasks", help="How many products to queue.", min=1)] = 1_000,
    n_questions: Annotated[int, typer.Option("--questions", help="Questions about each of them.", min=1)] = 5,
    bundle: Stored = "current",
    processes: Processes = None,
) -> None:
    """Queue the questions most worth asking about a whole catalogue, doubtful merchant labels among them.

    Nothing is queued if it is interrupted. A product that is queued already gets the new questions beside its old ones.
    """
    from training.scoring.pool import PoolOptions, enqueue_pool, pool_cohort  # noqa: PLC0415

    with progress_bars() as progress:
        sealed = pool_cohort(
            model_store().load(bundle), open_catalogue(catalogue), part=part,
            options=PoolOptions(n_tasks, n_questions), salt=secrets.token_bytes(SALT_BYTES), now=datetime.now(UTC),
            n_processes=processes or n_cores(), progress=progress,
        )  # fmt: skip
    with label_queue() as queue:
        enqueue_pool(queue, sealed)
    messages.print(
        f"Queued {len(sealed.products)} of {sealed.totals.n_products} products, with "
        f"{sum(len(product.questions) for product in sealed.products)} questions."
    )


def export_labels(
    directory: Annotated[Path, typer.Argument(help="Where to write the files.")],
    limit: Annotated[int, typer.Option(help="Tasks at most, the most urgent first.", min=1)] = 1_000,
    class_name: Annotated[str | None, typer.Option("--class", help="Only tasks that ask about this class.")] = None,
) -> None:
    """Write open tasks and a labelling interface for Label Studio, and all questions with their weights and answers."""
    from training import label_files  # noqa: PLC0415  only this command and the next need it

    current = model_store().current()
    fields = read_manifest(model_store().load(current)).fields if current else None
    with label_queue() as queue:
        n_tasks = label_files.export_tasks(
            queue, directory, fields=fields, filters=Filters(class_name=class_name), limit=limit, now=datetime.now(UTC)
        )
        n_questions = label_files.export_questions(queue, directory / label_files.QUESTIONS)
    messages.print(
        f"Wrote {n_tasks} tasks to {directory / label_files.TASKS}, their labelling interface to "
        f"{directory / label_files.CONFIG}, {n_questions} questions to {directory / label_files.QUESTIONS}."
    )


def import_labels(
    file: Annotated[Path, typer.Argument(help="A JSON export of Label Studio.", exists=True, dir_okay=False)],
    annotator: Annotated[str, typer.Option(help="Beginning of the annotators' names.")] = "label-studio",
) -> None:
    """Store the labels of Label Studio's JSON export; imported again, they add nothing."""
    from training import label_files  # noqa: PLC0415

    with label_queue() as queue:
        imported = label_files.import_labels(queue, file, annotator=annotator, now=datetime.now(UTC))
    messages.print(
        f"Stored {imported.n_stored} annotations; left out {imported.n_held} of tasks that somebody has leased, "
        f"{imported.n_unknown} of tasks that this queue does not have."
    )


def simulate_labels(
    catalogue: CataloguePath,
    part: Annotated[Part, typer.Option(help="Which part's truth the annotators know.")] = "stream",
    url: Annotated[str, typer.Option(help="Where Winnow serves.")] = "http://127.0.0.1:3000",
    error_rate: ErrorRate = 0.02,
    seed: Seed = 0,
) -> None:
    """Empty a running service's label queue as annotators would who know a catalogue's truth: to try things out.

    What they answer is stored like anybody's answers, under the names simulated-0 and simulated-1.
    """
    from training.loop.simulate import Annotators  # noqa: PLC0415  only this command and the loop need it

    opened = open_catalogue(catalogue)
    people = Annotators.of(opened, part, error_rate=error_rate, seed=seed)
    done = people.label_everything(url, id_field=opened.fields.id)
    messages.print(f"Opened {done.n_products} products and gave {done.n_answers} answers.")
