"""What goes into the label queue and what comes out of it, as frozen values; how it is kept is left to `store`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Answer = Literal["yes", "no", "unsure"]
Verdict = Literal["yes", "no", "unsure", "conflict"]  # what the annotators' answers say together
TaskState = Literal["open", "leased", "completed", "withdrawn"]
ANSWERS: tuple[Answer, ...] = ("yes", "no", "unsure")


@dataclass(frozen=True, slots=True)
class NewQuestion:
    """One class asked about a product, with everything an estimate needs to know about how it was chosen."""

    class_name: str
    probability: float  # p̄ as served, in [0, 1]
    positive: bool  # ŷ as served
    reason: str  # "doubt", "disagreement", "likely positive", "doubtful merchant label", "audit"
    weight: float  # w_c, sampling weight of the question
    inclusion: float  # π, in (0, 1]: with it the question was drawn, given its product


@dataclass(frozen=True, slots=True)
class NewTask:
    """One product that a cohort kept, with its questions."""

    fingerprint: str  # the same for the same product content; becomes the task's id
    product_id: str
    product: Mapping[str, Any]  # as posted, image as base64 or URL included
    priority: float  # q = w/u
    weight: float  # w, sampling weight of the product
    questions: tuple[NewQuestion, ...]


@dataclass(frozen=True, slots=True)
class NewCohort:
    """A sealed cohort: what was sampled from a run of traffic, and the sums over all of it."""

    id: str
    bundle_version: str
    worker: str
    sealed_at: datetime
    n_products: int  # all distinct products of the cohort, kept or not
    tau: float | None  # τ, the (k+1)-th q; None when every product was kept
    counters: Mapping[str, Any]  # per class Σp̄, Σŷ, Σp̄ŷ, as `service.acquisition` arranges them
    tasks: tuple[NewTask, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A class to be answered about a task's product."""

    class_name: str
    probability: float | None  # None where no cohort asked, but annotators disagree
    positive: bool  # ŷ as served with that probability
    reason: str
    answers: Mapping[str, Answer] = field(default_factory=dict)  # annotator -> answer; filled for conflicts only


@dataclass(frozen=True, slots=True)
class Task:
    """A label task as an annotator sees it."""

    id: str
    product_id: str
    product: Mapping[str, Any]
    questions: tuple[Question, ...]
    model_version: str
    priority: float
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """Tasks that one annotator holds until `expires_at`; the token proves it."""

    token: str
    annotator: str
    expires_at: datetime
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class TaskLabels:
    """What an annotator says about one task: answers, or why there are none."""

    task_id: str
    answers: Mapping[str, Answer] = field(default_factory=dict)
    skip: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """What an annotator sends: labels of several tasks, all accepted or none."""

    annotator: str
    labels: tuple[TaskLabels, ...]
    lease_token: str | None = None
    key: str | None = None  # idempotency key
    known_classes: frozenset[str] = frozenset()  # answers to these are welcome even where they were not asked


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of the queue, and where the next one begins."""

    tasks: tuple[Task, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Stats:
    """Depth of the queue in tasks, questions and answers, and how far the annotators agree."""

    open: int
    leased: int
    lapsed: int  # of the open ones: leased once, and neither answered nor given back in time
    completed: int
    withdrawn: int
    questions: int  # distinct (task, class) pairs ever asked
    answers: int  # standing answers, one per (task, class, annotator)
    conflicts: int  # (task, class) pairs on which the answers tie
    agreement: float | None  # share of the pairs with several yes/no answers on which all agree
    oldest_open_seconds: float | None
    newest_answer_at: datetime | None


@dataclass(frozen=True, slots=True)
class LabelledClass:
    """What the annotators together say about one class of one product."""

    class_name: str
    answer: Answer
    labelled_at: datetime  # of the newest answer
    n_annotators: int


@dataclass(frozen=True, slots=True)
class LabelledProduct:
    """A product with its settled labels, for training; conflicts are not among them."""

    task_id: str
    product_id: str
    product: Mapping[str, Any]
    labels: tuple[LabelledClass, ...]


@dataclass(frozen=True, slots=True)
class StoredCohort:
    """A cohort as stored: the counters over all its products."""

    id: str
    bundle_version: str
    worker: str
    sealed_at: datetime
    n_products: int
    tau: float | None
    counters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SampledQuestion:
    """A question of a cohort with the verdict so far; `verdict` is None while nobody answered."""

    class_name: str
    probability: float
    positive: bool
    weight: float
    inclusion: float
    verdict: Verdict | None
    labelled_at: datetime | None
    n_yes: int  # annotators who say so
    n_no: int


@dataclass(frozen=True, slots=True)
class SampledTask:
    """A product that a cohort kept, for estimates: only a prefix in q of completed ones counts."""

    cohort_id: str
    task_id: str
    priority: float
    weight: float
    withdrawn: bool
    questions: tuple[SampledQuestion, ...]
