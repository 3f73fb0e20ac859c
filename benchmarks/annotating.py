"""Annotators who work through the label queue's API: lease, answer from the truth, send, until nothing is left."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import httpx

from benchmarks.queue_contents import GivenLabel
from benchmarks.traffic import Answers, original_id

PAUSE_SECONDS = 0.2  # before asking again while others hold what is left, or while nobody answers
PASSING = (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.INSUFFICIENT_STORAGE)


@dataclass
class Work:
    """What one annotator did.

    Parameters
    ----------
    task_ids : labelled, and acknowledged by the service
    answers : acknowledged: task id, class and annotator
    n_lost_leases : submissions refused because somebody else holds a task
    n_broken : calls whose connection broke, tried again
    refusals : status and Retry-After of every answer that asked to come again
    lease_seconds, submit_seconds : how long each call took
    """

    task_ids: list[str] = field(default_factory=list)
    answers: list[GivenLabel] = field(default_factory=list)
    n_lost_leases: int = 0
    n_broken: int = 0
    refusals: Counter[tuple[int, str | None]] = field(default_factory=Counter)
    lease_seconds: list[float] = field(default_factory=list)
    submit_seconds: list[float] = field(default_factory=list)


class SimulatedAnnotator:
    """One annotator at the API, who comes again with the same idempotency key when a call fails.

    Parameters
    ----------
    truth : what they know; "unsure" about everything else
    limit : tasks leased at a time
    think_seconds : over the tasks of a lease, as long as more are to come
    patience_seconds : after which they give up
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        truth: Answers,
        id_field: str,
        limit: int = 10,
        think_seconds: float = 0.0,
        patience_seconds: float = 300.0,
    ) -> None:
        self.name = name
        self.work = Work()
        self._client = httpx.Client(base_url=url, timeout=30)
        self._truth = truth
        self._id_field = id_field
        self._limit = limit
        self._think_seconds = think_seconds
        self._until = time.monotonic() + patience_seconds

    def lease(self) -> dict[str, Any]:
        """Lease some tasks."""
        started = time.perf_counter()
        answer = self._post("lease", {"limit": self._limit})
        self.work.lease_seconds.append(time.perf_counter() - started)
        lease: dict[str, Any] = answer.raise_for_status().json()
        return lease

    def labels(self, lease: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Answer every question of a lease."""
        return [{"task_id": task["task_id"], "answers": self._answers(task)} for task in lease["tasks"]]

    def submit(self, lease: Mapping[str, Any], labels: list[dict[str, Any]]) -> None:
        """Send labels, and note what the service acknowledged."""
        started = time.perf_counter()
        answer = self._post("labels", {"lease_token": lease["lease_token"], "labels": labels})
        self.work.submit_seconds.append(time.perf_counter() - started)
        if answer.status_code == httpx.codes.CONFLICT:
            self.work.n_lost_leases += 1
            return
        answer.raise_for_status()
        self.work.task_ids += [entry["task_id"] for entry in labels]
        self.work.answers += [(entry["task_id"], name, self.name) for entry in labels for name in entry["answers"]]

    def drain(self, *, is_over: Callable[[], bool] = lambda: True) -> Work:
        """Work until no task is open or leased and no more are to come."""
        while time.monotonic() < self._until:
            was_over = is_over()
            lease = self.lease()
            if lease["tasks"]:
                if not was_over:
                    time.sleep(self._think_seconds)
                self.submit(lease, self.labels(lease))
            elif was_over and self._is_drained():
                break
            else:
                time.sleep(PAUSE_SECONDS)
        return self.work

    def _post(self, route: str, body: Mapping[str, Any]) -> httpx.Response:
        """Send until it is answered with anything but "come again"."""
        headers = {"idempotency-key": secrets.token_hex(8)} if route == "labels" else {}
        while True:
            try:
                answer = self._client.post(
                    f"/label-queue/{route}", json={"annotator": self.name, **body}, headers=headers
                )
            except httpx.TransportError:
                self.work.n_broken += 1
                if time.monotonic() > self._until:
                    raise
            else:
                if answer.status_code not in PASSING or time.monotonic() > self._until:
                    return answer
                self.work.refusals[answer.status_code, answer.headers.get("retry-after")] += 1
            time.sleep(PAUSE_SECONDS)

    def _is_drained(self) -> bool:
        try:
            answer = self._client.get("/label-queue/stats")
        except httpx.TransportError:
            return False
        if answer.status_code != httpx.codes.OK:
            return False
        stats = answer.json()
        return not stats["open"] and not stats["leased"]

    def _answers(self, task: Mapping[str, Any]) -> dict[str, str]:
        known = self._truth.get(original_id(str(task["product"][self._id_field])), {})
        return {asked["class"]: known.get(asked["class"], "unsure") for asked in task["questions"]}


def lease_and_wait(start: Callable[[], SimulatedAnnotator], n_labelled: int, connection: Connection) -> None:
    """Lease, label some of the tasks, tell which were leased and which labelled, and wait to be killed."""
    annotator = start()
    lease = annotator.lease()
    annotator.submit(lease, annotator.labels(lease)[:n_labelled])
    connection.send(([task["task_id"] for task in lease["tasks"]], annotator.work.task_ids))
    connection.recv()
