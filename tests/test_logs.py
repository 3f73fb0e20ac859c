"""Log lines: facts as JSON, and of an unforeseen error only its type and place."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from service.api.problems import EXCEPTION_HANDLERS, Border
from service.telemetry.logs import JsonLines
from service.telemetry.metrics import Metrics

ROOT = Path(__file__).parent.parent


def record(message: str, **facts: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "service.x", "msg": message, "levelname": "WARNING", "created": 0.0})
    vars(made).update(facts)
    return made


def test_facts_stand_beside_the_message() -> None:
    line = json.loads(JsonLines().format(record("bundle loaded", version="v1", n_classes=3)))

    assert line == {
        "time": "1970-01-01T00:00:00.000+00:00",
        "level": "warning",
        "logger": "service.x",
        "message": "bundle loaded",
        "version": "v1",
        "n_classes": 3,
    }


def test_an_error_is_logged_by_type_and_place_without_its_text() -> None:
    try:
        raise ValueError("quoting what a client sent")
    except ValueError:
        line = JsonLines().format(record("request failed", exc_info=sys.exc_info()))

    assert "quoting" not in line
    assert json.loads(line)["error"] == "ValueError"
    assert "test_logs.py:" in json.loads(line)["raised_at"][0]


def test_an_unforeseen_error_is_a_problem_of_ours_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: Request) -> Response:
        raise LookupError("quoting what a client sent")

    registry = CollectorRegistry()
    metrics = Metrics(registry)
    app = Starlette(
        routes=[Route("/fail", fail)],
        middleware=[Middleware(Border, metrics=metrics.requests)],
        exception_handlers=EXCEPTION_HANDLERS,
    )

    answer = TestClient(app).get("/fail")
    metrics.write()

    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "quoting" not in answer.text
    assert registry.get_sample_value("winnow_requests_total", {"route": "/fail", "outcome": "failed"}) == 1
    assert [logged.message for logged in caplog.records if logged.name == "service.api.problems"] == ["request failed"]


def test_the_web_server_finds_nobody_to_write_its_access_log() -> None:
    """It asks each logger whether anyone listens before it puts a line together, which costs microseconds a request."""
    program = (
        "import logging; logging.basicConfig(); "
        "from service.telemetry.logs import configure_logging; configure_logging('info'); "
        "print(logging.getLogger('uvicorn.access').hasHandlers(), logging.getLogger('uvicorn.error').hasHandlers())"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "True"]
