"""Where the workers of one server put their metrics: a directory of their own, which goes when the server does.

BentoML would use one directory a BENTOML_HOME and empty it at every start, so that a second server takes the numbers of
the first. Reading and writing the numbers is left to `prometheus_client`.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

DIRECTORY = "_WINNOW_METRICS_DIRECTORY"  # from the server to its workers; nothing for people to set
CLIENTS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client looks, at its import
LIVE_GAUGE = re.compile(r"gauge_live[a-z]*_(?P<pid>[0-9]+)\.db")


def open_directory(environ: MutableMapping[str, str]) -> Path:
    """Make a fresh directory, tell it to the workers that are started from now on, and remove it at the end."""
    directory = Path(tempfile.mkdtemp(prefix="winnow-metrics-"))
    environ[DIRECTORY] = str(directory)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def join_directory(environ: MutableMapping[str, str]) -> None:
    """Put this worker's metrics into its server's directory; to be called before prometheus_client is imported."""
    if DIRECTORY in environ:
        environ[CLIENTS_DIRECTORY] = environ[DIRECTORY]
        forget_dead_workers(Path(environ[DIRECTORY]))


def forget_dead_workers(directory: Path) -> None:
    """Remove what killed workers said of the present, as their requests in flight; what they counted stays."""
    for path in directory.iterdir():
        found = LIVE_GAUGE.fullmatch(path.name)
        if found and not _is_alive(int(found["pid"])):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
