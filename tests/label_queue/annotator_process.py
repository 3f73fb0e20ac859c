"""An annotator in a process of its own: labels until it is killed, and prints each task once its labels are stored."""

from __future__ import annotations

import sys

from service.label_queue.store import open_store
from tests.label_queue.queue_samples import LEASE_SECONDS, NOON, answer


def main(url: str, name: str) -> None:
    queue = open_store(url, lease_seconds=LEASE_SECONDS)
    while True:
        lease = queue.lease(annotator=name, n_tasks=3, now=NOON)
        for task in lease.tasks:
            queue.submit(answer(name, task.id, {"black": "yes", "kids": "no"}, token=lease.token), now=NOON)
            sys.stdout.write(f"{task.id}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
