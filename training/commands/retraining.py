"""Commands that learn from people's answers and say what came of it: retrain, gate, quality."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.api.quality_api import read_course
from service.bundles.bundle import read_manifest
from training.catalogues.catalogue import Catalogue, open_catalogue
from training.commands.options import REPORTS, AsJson, CataloguePath, Cold, Report, Seed, Version
from training.commands.output import show
from training.commands.workplace import image_encoder, label_queue, model_store, settings
from training.console import messages, progress_bars, quality_check, quality_table

if TYPE_CHECKING:
    from training.retraining.gate import Verdict
    from training.retraining.retrain import Retraining, RetrainOptions

GATE_SAYS_NO = 3  # exit status


def retrain(
    catalogue: CataloguePath,
    *,
    seed: Seed = 0,
    judge_share: Annotated[
        float, typer.Option(help="Of the newly labelled products, kept to judge by; they train the next time.")
    ] = 0.5,
    human_weight: Annotated[float, typer.Option(help="What a person's answer counts for, a merchant's label 1.")] = 4.0,
    importance_exponent: Annotated[
        float, typer.Option(help="e of the factor W**e that answers have in the loss.", min=0, max=1)
    ] = 0.0,
    scheduled: Annotated[
        bool, typer.Option("--scheduled", help="Exit 0 on the gate's no and where nothing is new, too, as a cron job.")
    ] = False,
    cold: Cold = False,
    as_json: AsJson = False,
    report: Report = None,
) -> None:
    """Learn from what people answered, and serve the result if the gate finds it better.

    It goes on from the weights of the bundle that is served (a warm start): all new answers and some replayed products,
    in a few epochs. A part of the newly labelled products is not learned from: it judges the candidate against what is
    served, and is learned the next time.

    Exit status 0: promoted; 3: the gate said no, and what is served stays; 1: an error. Can be killed at any moment.
    Whatever came of it is written down beside the bundles, from where the service tells it to Prometheus.
    """
    from training.fit import TrainingOptions  # noqa: PLC0415  loads torch
    from training.retraining.lessons import HumanWeights  # noqa: PLC0415  loads scikit-learn
    from training.retraining.retrain import NothingNew, RetrainOptions  # noqa: PLC0415
    from training.retraining.retrain_report import write_retrain_report  # noqa: PLC0415  loads matplotlib
    from training.retraining.warm_plan import WarmOptions  # noqa: PLC0415

    training = TrainingOptions(seed=seed, human=HumanWeights(human_weight, importance_exponent))
    options = RetrainOptions(judge_share, training, warm=None if cold else WarmOptions())
    try:
        done = _run(open_catalogue(catalogue), options)
    except NothingNew as nothing:
        if not scheduled:
            raise
        messages.print(f"Nothing to do: {nothing}.", highlight=False)
        return
    path = write_retrain_report(report or REPORTS / f"retrain-{done.candidate}.html", done)
    messages.print(
        f"{done.candidate}: {done.start} start, trained on {done.n_answers} answers of people. Report: {path}"
    )
    say_verdict(done.verdict, done.to_json() if as_json else None, says_no=0 if scheduled else GATE_SAYS_NO)


def gate(version: Version, as_json: AsJson = False) -> None:
    """Judge a bundle against the one that is served, by all answers that neither has learned from. Moves nothing.

    It says yes if the bundle is better beyond chance, each answer weighing what it stands for; if no class and not the
    yes/no answers as a whole are clearly worse; and if its graph is right and not much slower. Exit status 0: yes;
    3: no; 1: an error. `winnow retrain` asks it by itself; ask again when more answers have come.
    """
    from training.retraining.retrain import gate as run  # noqa: PLC0415  loads torch

    with progress_bars() as progress, label_queue() as queue:
        verdict = run(version, store=model_store(), queue=queue, progress=progress)
    say_verdict(verdict, verdict.to_json() if as_json else None)


def quality(
    version: Annotated[str, typer.Option("--model", help="A version from `winnow models list`.")] = "current",
    as_json: AsJson = False,
) -> None:
    """Say how good what is served is: live precision and recall per class, from people's answers, without bias.

    Each comes with a 95 % interval; "insufficient" means that the interval is too wide to say anything: label more.
    The same is at /quality of the service, as a page with its course over time.
    """
    with label_queue() as queue:
        course = read_course(queue, read_manifest(model_store().load(version)))
    show(course.to_json(), quality_table(course), as_json=as_json)
    messages.print(quality_check(course))


def say_verdict(verdict: Verdict, document: dict[str, Any] | None, *, says_no: int = GATE_SAYS_NO) -> None:
    """Show the gate's answer, which is also the exit status unless a no is none."""
    if document is not None:
        typer.echo(json.dumps(document, indent=1))
    word = "yes" if verdict.promote else "no"
    messages.print(f"The gate says {word}: {'; '.join(verdict.reasons)}.", highlight=False)
    if not verdict.promote:
        raise typer.Exit(says_no)


def _run(catalogue: Catalogue, options: RetrainOptions) -> Retraining:
    """Retrain, and write down what came of it."""
    from training.retraining.retrain import retrain as run  # noqa: PLC0415  loads torch
    from training.retraining.retrain_record import recorded  # noqa: PLC0415

    store, home = model_store(), settings().home

    def one() -> Retraining:
        with progress_bars() as progress, label_queue() as queue:
            return run(
                catalogue, images=image_encoder(catalogue), store=store, queue=queue, directory=home, options=options,
                now=datetime.now(UTC), progress=progress,
            )  # fmt: skip

    return recorded(one, store.directory, clock=lambda: datetime.now(UTC))
