"""A canary in every place where a client may write: it never reaches a log, a metric or the body of an error."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from service.bundles.bundle_store import BundleStore
from service.telemetry.logs import JsonLines
from tests.served import Backend, serving
from tests.tiny_bundle import EXAMPLE

CANARY = "canary7f3a"
JSON = {"content-type": "application/json"}


@pytest.fixture
def log() -> Iterator[StringIO]:
    """All that our loggers say, from debug up, as the service writes it."""
    written = StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("service")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield written
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def backend(bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path) -> Iterator[Backend]:
    bundle_store.promote(bundle_store.save(tiny_bundle))
    with serving(tmp_path / "bentoml", WINNOW_IMAGE_HOSTS="cdn.shop.example", WINNOW_COHORT_PRODUCTS="2") as started:
        yield started


def bad_classify_bodies() -> Iterator[bytes]:
    wrong: list[Any] = [CANARY, [CANARY], {CANARY: CANARY}, 10**400]
    for column in EXAMPLE:
        for value in wrong:
            yield json.dumps({"products": [{**EXAMPLE, column: value}]}).encode()
    for faulty in ({"image": CANARY}, {"image": "data:" + CANARY}, {"title": CANARY + "\0"}, {"title": CANARY * 5_000}):
        yield json.dumps({"products": [{**EXAMPLE, **faulty}]}).encode()
    yield json.dumps({"products": CANARY}).encode()
    yield json.dumps([CANARY]).encode()
    yield b'{"products": [{"product_id": "' + CANARY.encode() + b'\xff"}]}'
    yield b'{"products": [{"product_id": "' + CANARY.encode()


def answers_to_canaries(backend: Backend) -> Iterator[tuple[int, str]]:
    client = backend.client
    bad = [*bad_classify_bodies()]
    labels = [{"task_id": CANARY, "answers": {CANARY: "yes"}}, {"task_id": "x", "answers": {"x": CANARY}}]
    calls: list[tuple[str, str, dict[str, Any]]] = [
        *(("POST", "/classify", {"content": body, "headers": JSON}) for body in bad),
        ("POST", f"/classify?detail={CANARY}", {"json": {"products": [EXAMPLE]}}),
        ("POST", f"/classify?{CANARY}=1", {"json": {"products": [EXAMPLE]}}),
        ("POST", "/classify", {"content": b"{}", "headers": {"content-type": CANARY}}),
        ("POST", "/classify", {"content": b"{}", "headers": {**JSON, "content-encoding": CANARY}}),
        ("POST", "/label-queue/lease", {"json": {"annotator": CANARY + "\n"}}),
        ("POST", "/label-queue/labels", {"json": {"annotator": "ann", "labels": labels}}),
        ("POST", "/label-queue/labels", {"json": {"annotator": "ann", "labels": labels, "lease_token": CANARY}}),
        ("POST", "/label-queue/labels", {"json": {"annotator": "ann", "labels": [{"task_id": "x", "skip": CANARY}]}}),
        ("POST", "/label-queue/labels", {"json": {"annotator": "ann", "labels": CANARY}}),
        ("POST", "/label-queue/extend", {"json": {"annotator": "ann", "lease_token": CANARY}}),
        ("GET", f"/label-queue?class={CANARY}", {}),
        ("GET", f"/label-queue?cursor={CANARY}", {}),
        ("GET", f"/label-queue?format={CANARY}", {}),
        ("GET", f"/{CANARY}", {}),
        ("GET", f"/pages/{CANARY}.js", {}),
        ("PATCH", f"/{CANARY}", {"content": CANARY.encode()}),
        ("GET", "/model", {"headers": {"host": f"{CANARY}.example"}}),
        ("POST", "/classify", {"content": b"{}", "headers": {**JSON, "origin": f"https://{CANARY}"}}),
    ]  # fmt: skip
    for method, path, options in calls:
        answer = client.request(method, path, **options)
        yield answer.status_code, answer.text + str(dict(answer.headers))


def test_no_input_value_reaches_a_log_a_metric_or_an_error(backend: Backend, log: StringIO) -> None:
    good = {**EXAMPLE, "title": CANARY, "brand": CANARY, "product_id": CANARY}
    by_url = {**EXAMPLE, "product_id": CANARY + "2", "image_url": f"https://{CANARY}.example/{CANARY}"}
    assert backend.client.post("/classify", json={"products": [good, by_url]}).status_code == 200

    answers = list(answers_to_canaries(backend))

    errors = [(status, text) for status, text in answers if status != 200]
    assert len(errors) > 40
    assert all(400 <= status < 500 for status, _ in errors)
    assert [text for _, text in errors if CANARY in text.lower()] == []
    assert CANARY not in generate_latest(backend.registry).decode()
    backend.classifier.tick()
    assert CANARY not in log.getvalue()


def test_what_breaks_with_the_value_in_its_message_is_logged_without_it(log: StringIO) -> None:
    """The log's formatter is what stands between an unforeseen error's text, which may quote a product, and the log."""
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger("service.api.problems").error("request failed", extra={"route": "/classify"}, exc_info=True)

    assert "ValueError" in log.getvalue()
    assert CANARY not in log.getvalue()
