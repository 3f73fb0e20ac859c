"""Trainings that take a moment, a shop whose merchants are wrong, and people who put it right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from service.contracts import FieldSpec
from service.label_queue.rows import Answer, NewCohort, NewQuestion, NewTask, Submission, TaskLabels
from service.label_queue.store import LabelQueue
from tests.catalogues import WORDS, Columns, write
from training.catalogues.catalogue import open_catalogue
from training.catalogues.tables import write_table
from training.fit import TrainingOptions
from training.joint import JointOptions
from training.retraining.retrain import RetrainOptions

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)  # after any bundle that a test trains
QUICK = TrainingOptions(n_folds=2, n_threads=1, joint=JointOptions(epochs=2, batch_size=16, min_steps=1))
QUICKEST = TrainingOptions(n_folds=2, n_threads=1, joint=JointOptions(epochs=1, batch_size=32, min_steps=1))
OPTIONS = RetrainOptions(judge_share=0.5, training=QUICK)
COLD = replace(OPTIONS, warm=None)
FIELDS = FieldSpec.model_validate({"id": "sku", "text": ["title"]})


def silent(_stage: str, _done: int, _total: int) -> None:
    """Nobody looks at the progress of a test."""


def titles(words: Sequence[str], rng: Random) -> Columns:
    return {"title": [f"a {word} {rng.randrange(5)}" for word in words]}


def mislabelled(directory: Path) -> Path:
    """A catalogue whose merchants call every lamp a boot and every boot a lamp."""
    write(directory, 'text = ["title"]', titles)
    opened = open_catalogue(directory)
    labels = opened.read("train").merchant_labels
    assert labels is not None
    claims = labels[:, [0, 2, 1, 3]]
    ids = [product.product_id for product in opened.read("train").products]
    columns = {name: claims[:, index].tolist() for index, name in enumerate(opened.taxonomy.classes)}
    write_table(directory / "train.labels.parquet", {"sku": ids, **columns})
    return directory


def answered(
    queue: LabelQueue,
    *,
    cohort: str = "one",
    n_products: int = 120,
    at: datetime = NOON,
    tau: float | None = None,
    unsure: Sequence[str] = (),
    worker: str = "worker",
) -> None:
    """A cohort whose products are asked about every class, and answered with the truth."""
    rng = Random(cohort)
    words = [rng.choice(WORDS) for _ in range(n_products)]
    tasks = [task(f"{cohort}-{row}", word, priority=float(n_products - row)) for row, word in enumerate(words)]
    zeros = [0.0] * len(WORDS)
    counters = {"classes": list(WORDS), "probability": zeros, "positive": zeros, "probability_of_positive": zeros}
    new = NewCohort(cohort, "shop-1", worker, at, n_products, tau, counters, tuple(tasks))
    queue.enqueue([new], now=at)
    labels = tuple(
        TaskLabels(one.fingerprint, {name: said(name, word, unsure) for name in WORDS})
        for one, word in zip(tasks, words, strict=True)
    )
    queue.submit(Submission("ann", labels, known_classes=frozenset(WORDS)), now=at)


def said(name: str, word: str, unsure: Sequence[str]) -> Answer:
    return "unsure" if name in unsure else "yes" if name == word else "no"


def task(product_id: str, word: str, *, priority: float) -> NewTask:
    questions = tuple(NewQuestion(name, 0.5, True, "doubt", 0.25, 0.5) for name in WORDS)
    return NewTask(product_id, product_id, {"sku": product_id, "title": f"a {word}"}, priority, 1.0, questions)
