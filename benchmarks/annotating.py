"""Annotators who work through the label queue's API: lease, answer from the truth, send, until nothing is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import httpx

from benchmarks.traffic import Answers

PAUSE_SECONDS = 0.2  # before asking again while others hold what is left


@dataclass
class Work:
    """What one annotator did.

    Parameters
    ----------
    task_ids : labelled, and acknowledged by the service
    lease_seconds, submit_seconds : how long each call took
    """

    task_ids: list[str] = field(default_factory=list)
    n_answers: int = 0
    n_refused: int = 0
    lease_seconds: list[float] = field(default_factory=list)
    submit_seconds: list[float] = field(default_factory=list)


class SimulatedAnnotator:
    """One annotator at the API.

    Parameters
    ----------
    truth : what they know; "unsure" about everything else
    limit : tasks leased at a time
    """

    def __init__(self, url: str, name: str, *, truth: Answers, id_field: str, limit: int = 10) -> None:
        self.name = name
        self.work = Work()
        self._client = httpx.Client(base_url=url, timeout=30)
        self._truth = truth
        self._id_field = id_field
        self._limit = limit

    def lease(self) -> dict[str, Any]:
        """Lease some tasks."""
        started = time.perf_counter()
        answer = self._client.post("/label-queue/lease", json={"annotator": self.name, "limit": self._limit})
        self.work.lease_seconds.append(time.perf_counter() - started)
        lease: dict[str, Any] = answer.raise_for_status().json()
        return lease

    def labels(self, lease: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Answer every question of a lease."""
        return [{"task_id": task["task_id"], "answers": self._answers(task)} for task in lease["tasks"]]

    def submit(self, lease: Mapping[str, Any], labels: list[dict[str, Any]]) -> None:
        """Send labels, and count what the service acknowledged."""
        body = {"annotator": self.name, "lease_token": lease["lease_token"], "labels": labels}
        started = time.perf_counter()
        answer = self._client.post("/label-queue/labels", json=body)
        self.work.submit_seconds.append(time.perf_counter() - started)
        if answer.status_code != httpx.codes.OK:
            self.work.n_refused += 1
            return
        self.work.task_ids += [entry["task_id"] for entry in labels]
        self.work.n_answers += sum(len(entry["answers"]) for entry in labels)

    def drain(self, *, until: float) -> Work:
        """Work until no task is open or leased, or until the monotonic time `until`."""
        while time.monotonic() < until:
            lease = self.lease()
            if lease["tasks"]:
                self.submit(lease, self.labels(lease))
            elif self._is_drained():
                break
            else:
                time.sleep(PAUSE_SECONDS)
        return self.work

    def _is_drained(self) -> bool:
        stats = self._client.get("/label-queue/stats").raise_for_status().json()
        return not stats["open"] and not stats["leased"]

    def _answers(self, task: Mapping[str, Any]) -> dict[str, str]:
        known = self._truth.get(str(task["product"][self._id_field]), {})
        return {asked["class"]: known.get(asked["class"], "unsure") for asked in task["questions"]}


def lease_and_wait(start: Callable[[], SimulatedAnnotator], n_labelled: int, connection: Connection) -> None:
    """Lease, label some of the tasks, tell which were leased and which labelled, and wait to be killed."""
    annotator = start()
    lease = annotator.lease()
    annotator.submit(lease, annotator.labels(lease)[:n_labelled])
    connection.send(([task["task_id"] for task in lease["tasks"]], annotator.work.task_ids))
    connection.recv()
