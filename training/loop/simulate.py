"""Simulated users of a running service, over HTTP like real ones: a backend that classifies, annotators who label.

Their answers come from a catalogue's truth; what is done with them is left to `training.loop.rounds`.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import CatalogueError
from training.catalogues.catalogue import Catalogue, Labels
from training.catalogues.catalogue_file import PartName
from training.loop.client import Client, ServiceRefused

N_CONNECTIONS = 2
PRODUCTS_A_REQUEST = 32
TASKS_A_LEASE = 50
UNACCEPTABLE = "status 422"  # for something in one of the products


@dataclass(frozen=True)
class Traffic:
    """What came of a stretch of requests.

    Parameters
    ----------
    failures : how many requests failed, by the reason
    positive : (n_products, n_classes), the served yes/no; a product whose request failed has none
    uncertainty, disagreement : (n_products,), in bits, NaN where the request failed
    """

    n_sent: int
    failures: Mapping[str, int]
    positive: NDArray[np.bool_]
    uncertainty: NDArray[np.float64]
    disagreement: NDArray[np.float64]

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whose request did not fail, (n_products,)."""
        return ~np.isnan(self.uncertainty)

    def rates(self, labels: Labels) -> tuple[float | None, float | None]:
        """Macro precision and macro recall of the served yes/no, where it was answered."""
        positive, known = self.positive[self.answered], labels[self.answered]
        hits = (positive & (known == 1)).sum(axis=0)
        claims, positives = (positive & (known >= 0)).sum(axis=0), (known == 1).sum(axis=0)
        return _mean(hits[claims > 0] / claims[claims > 0]), _mean(hits[positives > 0] / positives[positives > 0])


@dataclass(frozen=True)
class Labelling:
    """What a round of annotators did."""

    n_answers: int  # unsure among them
    opened: tuple[str, ...]  # ids of the products

    @property
    def n_products(self) -> int:
        """How many they opened."""
        return len(self.opened)


def as_posted(record: Mapping[str, Any]) -> dict[str, Any]:
    """A catalogue's record as a backend sends it: images in base64, missing values left out."""
    return {
        name: base64.b64encode(cell).decode() if isinstance(cell, bytes) else cell
        for name, cell in record.items()
        if cell is not None
    }


def send(
    url: str,
    records: Sequence[Mapping[str, Any]],
    *,
    classes: Sequence[str],
    max_body_bytes: int,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> Traffic:
    """Classify all records, in requests of at most 32 products over two connections.

    A request that is refused for one of its products is sent again in halves, so that the others are answered.

    Parameters
    ----------
    max_body_bytes : that the service reads of a request
    report : told the number of products answered, and of all

    Raises
    ------
    ServiceRefused
        If all requests fail, as the first one did.
    """
    column = {name: index for index, name in enumerate(classes)}
    requests = _requests(records, max_body_bytes)
    answers: list[_Answered] = []
    with ThreadPoolExecutor(N_CONNECTIONS) as pool:
        for several in pool.map(lambda request: _answers(url, request, column), requests):
            answers += several
            report(sum(len(one.positive) for one in answers), len(records))
    failures = [one.failure for one in answers if one.failure is not None]
    if len(failures) == len(answers):
        first = failures[0]
        raise ServiceRefused(f"all {len(failures)} requests failed; the first: {first}", reason=first.reason)
    return Traffic(
        n_sent=len(answers),
        failures=Counter(failure.reason for failure in failures),
        positive=np.concatenate([one.positive for one in answers]),
        uncertainty=np.concatenate([one.uncertainty for one in answers]),
        disagreement=np.concatenate([one.disagreement for one in answers]),
    )


def _requests(records: Sequence[Mapping[str, Any]], max_body_bytes: int) -> list[list[Mapping[str, Any]]]:
    """Records in requests that the service reads; one that is too large by itself goes alone."""
    requests: list[list[Mapping[str, Any]]] = []
    n_bytes = 0
    for record in records:
        n_more = len(json.dumps(as_posted(record))) + len(", ")
        if not requests or len(requests[-1]) == PRODUCTS_A_REQUEST or n_bytes + n_more > max_body_bytes:
            requests.append([])
            n_bytes = len(json.dumps({"products": []}))
        requests[-1].append(record)
        n_bytes += n_more
    return requests


@dataclass(frozen=True)
class _Answered:
    failure: ServiceRefused | None  # where there is no answer
    positive: NDArray[np.bool_]
    uncertainty: NDArray[np.float64]
    disagreement: NDArray[np.float64]


def _answers(url: str, records: Sequence[Mapping[str, Any]], column: Mapping[str, int]) -> list[_Answered]:
    """What is said of some records, without the request that was sent again in halves."""
    whole = _classified(url, records, column)
    if whole.failure is None or whole.failure.reason != UNACCEPTABLE or len(records) == 1:
        return [whole]
    middle = len(records) // 2
    return [*_answers(url, records[:middle], column), *_answers(url, records[middle:], column)]


def _classified(url: str, records: Sequence[Mapping[str, Any]], column: Mapping[str, int]) -> _Answered:
    positive = np.zeros((len(records), len(column)), dtype=np.bool_)
    unknown = np.full(len(records), np.nan)
    client = Client(url)
    try:
        answer = client.call("POST", "/classify", {"products": [as_posted(record) for record in records]})
    except ServiceRefused as error:
        return _Answered(error, positive, unknown, unknown)
    finally:
        client.close()
    for row, result in enumerate(answer["results"]):
        positive[row, [column[name] for name in result["positive"]]] = True
    scores = (np.array([result[name] for result in answer["results"]]) for name in ("uncertainty", "disagreement"))
    return _Answered(None, positive, *scores)


class Annotators:
    """People who know the truth of some products, and err now and then, each on their own.

    Asked the same question again, the same person gives the same answer.
    """

    def __init__(
        self, ids: Iterable[str], truth: Labels, *, classes: Sequence[str], error_rate: float, seed: int
    ) -> None:
        """Let them know the truth of products by their ids."""
        self._truth, self._error_rate, self._seed = truth, error_rate, seed
        self._row = {product_id: row for row, product_id in enumerate(ids)}
        self._column = {name: index for index, name in enumerate(classes)}

    @classmethod
    def of(cls, catalogue: Catalogue, part: PartName, *, error_rate: float, seed: int) -> Annotators:
        """Those who know the truth of a catalogue's part.

        Raises
        ------
        CatalogueError
            If that truth is nowhere.
        """
        read = catalogue.read(part)
        if read.truth is None:
            raise CatalogueError(f"annotators are simulated by the truth of {part}; name its table in [{part}]")
        ids = [product.product_id for product in read.products]
        return cls(ids, read.truth, classes=catalogue.taxonomy.classes, error_rate=error_rate, seed=seed)

    def answers_of(self, ids: Sequence[str], *, annotator: int = 0) -> Labels:
        """What one of them would answer about all classes of some products, (n_products, n_classes)."""
        return np.stack([self._answers(self._row[one], annotator) for one in ids])

    def _answers(self, row: int, annotator: int) -> Labels:
        truth = self._truth[row]
        wrong = np.random.default_rng([self._seed, annotator, row]).random(len(truth)) < self._error_rate
        return np.asarray(np.where(wrong & (truth >= 0), 1 - truth, truth), dtype=np.int8)

    def label_everything(self, url: str, *, id_field: str, n_annotators: int = 2) -> Labelling:
        """Lease and label until the queue has nothing more for any of them, second opinions among it.

        Raises
        ------
        ServiceRefused
            If the queue does not accept what they send.
        """
        n_answers, opened = 0, list[str]()
        with ThreadPoolExecutor(n_annotators) as pool:
            while True:  # one may be done before another gives an answer that surprises
                done = list(pool.map(lambda index: self._label(Client(url), index, id_field), range(n_annotators)))
                if not any(one.opened for one in done):
                    return Labelling(n_answers, tuple(opened))
                n_answers += sum(one.n_answers for one in done)
                opened += [one_id for one in done for one_id in one.opened]

    def _label(self, client: Client, annotator: int, id_field: str) -> Labelling:
        name = f"simulated-{annotator}"
        n_answers, opened = 0, list[str]()
        while True:
            lease = client.call("POST", "/label-queue/lease", {"annotator": name, "limit": TASKS_A_LEASE})
            if not lease["tasks"]:
                client.close()
                return Labelling(n_answers, tuple(opened))
            labels = [self.labels_of(task, id_field, annotator=annotator) for task in lease["tasks"]]
            body = {"annotator": name, "lease_token": lease["lease_token"], "labels": labels}
            client.call("POST", "/label-queue/labels", body)
            n_answers += sum(len(label.get("answers", ())) for label in labels)
            opened += [str(task["product"][id_field]) for task in lease["tasks"]]

    def labels_of(self, task: Mapping[str, Any], id_field: str, *, annotator: int = 0) -> dict[str, Any]:
        """What one of them says about one task, as the label queue takes it."""
        row = self._row.get(task["product"][id_field])
        if row is None:
            return {"task_id": task["task_id"], "skip": "not a product of this stream"}
        said = self._answers(row, annotator)
        answers = {
            question["class"]: ("unsure", "no", "yes")[1 + int(said[self._column[question["class"]]])]
            for question in task["questions"]
        }
        return {"task_id": task["task_id"], "answers": answers}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
