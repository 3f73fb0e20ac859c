"""Simulated users of a running service, over HTTP like real ones: a backend that classifies, annotators who label.

Their answers come from a catalogue's truth; what is done with them is left to `training.loop.rounds`.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from service.errors import CatalogueError, WinnowError
from training.catalogues.catalogue import Catalogue, Labels
from training.catalogues.catalogue_file import PartName

TIMEOUT_SECONDS = 60.0
N_CONNECTIONS = 2
PRODUCTS_A_REQUEST = 32
TASKS_A_LEASE = 50


class ServiceRefused(WinnowError):
    """The running service answered a simulated user with an error, or not at all.

    Parameters
    ----------
    reason : the answer's status, as "status 503", or the kind of error that there was in place of an answer
    """

    status = 502
    title = "service refused"

    def __init__(self, detail: str, *, reason: str) -> None:
        super().__init__(detail)
        self.reason = reason


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


@dataclass(frozen=True)
class Labelling:
    """What a round of annotators did."""

    n_answers: int  # unsure among them
    opened: tuple[str, ...]  # ids of the products

    @property
    def n_products(self) -> int:
        """How many they opened."""
        return len(self.opened)


class Client:
    """A connection that is kept open, for one thread."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._connection: http.client.HTTPConnection | None = None

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send one request and return the answer.

        Raises
        ------
        ServiceRefused
            If the answer is no 200, or there is none.
        """
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection = self._connection = self._connection or http.client.HTTPConnection(
                self._host, timeout=TIMEOUT_SECONDS
            )
            connection.request(method, path, body=content, headers=headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            kind = type(error).__name__
            raise ServiceRefused(f"{method} {path}: no answer ({kind})", reason=kind) from error
        if response.status != http.client.OK:
            detail = f"{method} {path}: {response.status} {_said(answer)}"
            raise ServiceRefused(detail, reason=f"status {response.status}")
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _said(answer: bytes) -> str:
    """The detail of a problem document, or else how the answer begins."""
    try:
        return str(json.loads(answer)["detail"])
    except (ValueError, KeyError, TypeError):
        return answer[:300].decode(errors="replace")


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
        for answer in pool.map(lambda request: _classified(url, request, column), requests):
            answers.append(answer)
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
