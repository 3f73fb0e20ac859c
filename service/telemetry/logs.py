"""Logs as JSON lines: a constant message and its facts, never a product's text or image.

What is worth a line is left to the modules that log.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, message and whatever `extra` held."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record; of an exception only its type and where it was raised, for its text may quote the input."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["raised_at"] = _places(record)
        return json.dumps(line, default=str)


def configure_logging(level: str) -> None:
    """Write what our own loggers say to standard error, from `level` up; other libraries keep their ways."""
    logger = logging.getLogger("service")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    # Nobody writes the web server's access log, the metrics count requests; so nobody shall prepare its lines either.
    logging.getLogger("uvicorn.access").propagate = False


def _places(record: logging.LogRecord) -> list[str]:
    places = []
    traceback = record.exc_info[2] if record.exc_info else None
    while traceback is not None:
        places.append(f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return places
