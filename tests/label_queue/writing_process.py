"""A process whose threads want a write lock again and again, and log each turn while they have it."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from service.label_queue.write_lock import WriteLock

TURN_SECONDS = 0.003  # about what a commit to disk takes


def main(lock_path: str, log_path: str, n_threads: int, n_turns: int) -> None:
    lock = WriteLock(Path(lock_path), patience_seconds=60.0)
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND)

    def write(index: int) -> None:
        for _ in range(n_turns):
            with lock.held():
                os.write(log, f"{os.getpid()}-{index}\n".encode())
                time.sleep(TURN_SECONDS)

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    threads = [threading.Thread(target=write, args=(index,)) for index in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
