"""What the command line shows: progress bars with the time left, tables, and errors in one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from service.bundles.bundle import Manifest
from service.quality.live_quality import Estimate as LiveEstimate
from service.quality.quality_course import QualityCourse

if TYPE_CHECKING:  # they load torch or scikit-learn, which a command that needs neither should not wait for
    from training.audit import Audit
    from training.baselines_report import Summary
    from training.evaluate import Evaluation, Scores
    from training.loop.loop_report import Beside, LoopReport, Round
    from training.loop.newcomers import Newcomers
    from training.progress import Progress as ProgressCallback
    from training.replay.savings import Estimate, Study

# Standard output carries results alone. Without markup and emoji, for a class may be named "[/sale]" or ":shoe:".
messages = Console(stderr=True, markup=False, emoji=False)
results = Console(markup=False, emoji=False)
N_SHOWN = 20  # rows of a long table
N_NAMED = 5  # classes in a sentence


def show_error(error: Exception) -> None:
    """Say what is wrong in one sentence, on standard error."""
    messages.print(Text.assemble(("error:", "red"), f" {error}"))


def show_warning(message: str) -> None:
    """Say what is left out or in doubt in one line, on standard error."""
    messages.print(Text.assemble(("warning:", "yellow"), f" {message}"), soft_wrap=True)


@contextmanager
def progress_bars() -> Iterator[ProgressCallback]:
    """Yield a callback that draws one bar a stage on standard error; silent where that is no terminal."""
    columns = (
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages) as bars:
        tasks = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield advance


def scores_table(manifest: Manifest, evaluation: Evaluation) -> Table:
    """One row for the ensemble and each member."""
    title = (
        f"{evaluation.model_version} on {evaluation.catalogue} ({evaluation.part}, {evaluation.n_products} products)"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("model", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for heading in ("macro AP", "rare quarter", "macro F1", "Brier", "calib. error"):
        table.add_column(heading, justify="right")
    table.add_row("ensemble", "all", *_row(evaluation.ensemble), style="bold")
    for member in manifest.members:
        table.add_row(member.name, member.kind, *_row(evaluation.members[member.name]))
    return table


def models_table(manifests: list[Manifest], current: str | None) -> Table:
    """One row a bundle, the newest first; the one that is served is marked."""
    table = Table()
    for heading in ("", "version", "catalogue", "trained at", "classes", "members"):
        table.add_column(heading, no_wrap=heading == "version")
    for manifest in manifests:
        table.add_row(
            "serving" if manifest.version == current else "",
            manifest.version,
            manifest.catalogue,
            f"{manifest.created_at:%Y-%m-%d %H:%M}",
            str(len(manifest.taxonomy)),
            ", ".join(member.name for member in manifest.members),
        )
    return table


def untrained_line(manifest: Manifest) -> str:
    """Which classes could not be learned, why, and what helps; empty where all were."""
    counts = manifest.provenance["n_positives"], manifest.provenance["n_negatives"]
    rows = zip(manifest.taxonomy.classes, manifest.trainable, *counts, strict=True)
    few = [f"{name} ({n_yes} yes, {n_no} no)" for name, is_trained, n_yes, n_no in rows if not is_trained]
    if not few:
        return ""
    named = ", ".join(few[:N_NAMED]) + (f" and {len(few) - N_NAMED} more" if len(few) > N_NAMED else "")
    return (
        f"Not trained, and so answered no for every product: {named}. Five known yes and five known no are needed: "
        "add merchant labels, or answer questions at /label and run winnow retrain."
    )


def replay_table(study: Study) -> Table:
    """One row a strategy, with what it takes to the target and what that saves against random products."""
    title = f"replay on {study.catalogue}, {len(study.seeds)} seeds, target macro AP {study.target:.4f}"
    table = Table(title=title, title_justify="left")
    table.add_column("strategy")
    for heading in ("answers", "opened", "macro AP", "rare quarter", "macro F1", "to target"):
        table.add_column(heading, justify="right")
    for heading in ("fewer answers", "less cost at 3", "at 10"):
        table.add_column(heading, justify="right")
    for row in study.summaries:
        measures = [_mean(row.end[measure], ".4f") for measure in ("macro_ap", "rare_quarter_ap", "macro_f1")]
        savings = [_mean(row.savings[cost], ".1f") for cost in (0, 3, 10)]
        to_target = _mean(row.to_target[0], ",.0f")
        table.add_row(
            row.strategy, f"{row.answers:,.0f}", f"{row.products_opened:,.0f}", *measures, to_target, *savings
        )
    return table


def loop_line(one: Round) -> str:
    """What happened in a round, in a sentence."""
    if one.number == 0:
        return f"start: macro AP {one.test_macro_ap:.4f} on the test part"
    verdict = "promoted" if one.promoted else "kept as it is"
    why = f" ({'; '.join(one.verdict.reasons)})" if one.verdict else ""
    failures = f"; {one.failed} of {one.requests_sent} requests failed" if one.failures else ""
    return (
        f"round {one.number}: {one.answers} answers about {one.products_opened} products, {verdict}{why}; "
        f"macro AP {one.test_macro_ap:.4f}{failures}"
    )


def loop_table(report: LoopReport) -> Table:
    """One row a round, live quality beside the truth."""
    table = Table(title=f"loop on {report.catalogue}", title_justify="left")
    for heading in ("round", "test macro AP", "answers", "opened", "promoted", "sent", "failed"):
        table.add_column(heading, justify="right")
    for heading in ("live precision (as answered, true)", "live recall (as answered, true)", "seconds"):
        table.add_column(heading, justify="right")
    for one in report.rounds:
        table.add_row(
            str(one.number),
            f"{one.test_macro_ap:.4f}",
            str(one.answers),
            str(one.products_opened),
            "yes" if one.promoted else "no",
            str(one.requests_sent),
            one.failed,
            _beside(one.precision),
            _beside(one.recall),
            f"{one.seconds:.0f}",
        )
    return table


def quality_table(course: QualityCourse) -> Table:
    """One row for all classes together, and one a class."""
    title = f"live quality of {course.version}: {course.now.n_answers} answers that count, {course.n_cohorts} cohorts"
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for heading in ("precision", "recall", "answers", "effective size"):
        table.add_column(heading, justify="right")
    whole = course.now
    table.add_row(
        "macro", _rate(whole.macro_precision), _rate(whole.macro_recall), str(whole.n_answers), "", style="bold"
    )
    for name, one in zip(course.classes, whole.classes, strict=True):
        size = f"{one.effective_sample_size:.1f}"
        table.add_row(name, _rate(one.precision), _rate(one.recall), str(one.n_answers), size)
    return table


def quality_check(course: QualityCourse) -> str:
    """The sampling self-check in a sentence."""
    check = course.now.self_check
    word = "off, the estimates cannot be trusted" if check.alarming else "fine"
    return f"sampling self-check: {word} (z {check.products_z:+.1f} products, {check.questions_z:+.1f} questions)"


def audit_table(audit: Audit) -> Table:
    """Merchants and classes with the most suspect labels."""
    table = Table(title=f"Suspect merchant labels of {audit.catalogue}", title_justify="left")
    for heading in ("merchant", "class"):
        table.add_column(heading, no_wrap=True)
    for heading in ("labels", "suspect", "of them yes", "share"):
        table.add_column(heading, justify="right")
    for one in audit.by_merchant()[:N_SHOWN]:
        counts = (f"{one.n_labels:,}", f"{one.n_suspect:,}", f"{one.n_suspect_yes:,}")
        table.add_row(one.merchant, one.class_name, *counts, f"{one.share:.1%}")
    return table


def baselines_table(catalogue: str, labels: str, rows: Sequence[Summary]) -> Table:
    """What each kind of model is worth on each modality, and what it costs."""
    table = Table(title=f"Baselines on {catalogue}, from {labels} labels", title_justify="left")
    table.add_column("model")  # wraps where the screen is narrow; figures do not
    for heading in ("macro AP", "rare quarter", "macro F1", "calib. error", "CPU s", "MB", "µs a product"):
        table.add_column(heading, justify="right", min_width=5)
    for one in rows:
        scores = (one.cell(name, 3) for name in ("macro_ap", "rare_quarter_ap", "macro_f1", "calibration_error"))
        costs = (one.cell("cpu_seconds", 1), one.cell("megabytes", 1), one.cell("microseconds", 0))
        table.add_row(one.name, *scores, *costs)
    return table


def _rate(estimate: LiveEstimate) -> str:
    if estimate.value is None or not estimate.sufficient:
        return "insufficient"
    return f"{estimate.value:.3f} ({estimate.lower:.3f}–{estimate.upper:.3f})"


def newcomers_table(report: LoopReport) -> Table:
    """One row a round: what became of products of a kind that no training had seen."""
    known = [(one.number, one.newcomers) for one in report.rounds if one.newcomers]
    table = Table(title=f"newcomers: products of {known[0][1].class_name}, from round 2 on", title_justify="left")
    for heading in ("round", "of traffic", "of queue", "times chance", "uncertainty (others)"):
        table.add_column(heading, justify="right")
    for heading in ("disagreement (others)", "class drift", "wrong after (others)", "AP after"):
        table.add_column(heading, justify="right")
    for number, one in known:
        table.add_row(str(number), *_newcomer_cells(one))
    return table


def _newcomer_cells(one: Newcomers) -> list[str]:
    return [
        f"{one.share_of_traffic:.3f}",
        _digits(one.share_of_queue),
        _digits(one.lift),
        f"{_digits(one.uncertainty)} ({one.others_uncertainty:.3f})",
        f"{_digits(one.disagreement)} ({one.others_disagreement:.3f})",
        _digits(one.drift.get("class")),
        f"{one.test_error_rate:.3f} ({one.others_test_error_rate:.3f})",
        f"{one.test_ap:.3f}",
    ]


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _beside(value: Beside | None) -> str:
    if value is None or value.estimate is None:
        return "–"
    return f"{value.estimate:.3f} ({_digits(value.as_answered)}, {_digits(value.truth)})"


def _mean(value: Estimate, digits: str) -> str:
    if value.mean is None:
        return "–"
    return format(value.mean, digits) + ("" if value.sd is None else f" ± {format(value.sd, digits)}")


def _row(scores: Scores) -> list[str]:
    values = (
        scores.macro_ap,
        scores.rare_quarter_ap,
        scores.macro_f1,
        scores.mean_brier,
        scores.mean_calibration_error,
    )
    return ["–" if math.isnan(value) else f"{value:.3f}" for value in values]
