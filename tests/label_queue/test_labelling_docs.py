"""The page about labelling is true: its script runs, and its keys and parameters exist."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from service.api.label_requests import LookQuery
from service.label_queue.store import LabelQueue
from tests.label_queue.labelling import labelling_app
from tests.label_queue.queue_samples import NOON, make_cohort, make_task

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "labelling.md").read_text(encoding="utf-8")


def test_the_script_drains_the_queue(queue: LabelQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.enqueue([make_cohort(*(make_task(f"t{index}") for index in range(15)))], now=NOON)
    app = labelling_app(queue, None, now=lambda: NOON)
    monkeypatch.setattr(httpx, "Client", lambda base_url, timeout: TestClient(app, base_url=base_url))
    [script] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)

    exec(script, {"your_answer": lambda product, class_name: "yes"})

    stats = queue.stats(now=NOON)
    assert (stats.completed, stats.answers) == (15, 30)


def test_every_key_of_the_page_is_documented() -> None:
    source = (ROOT / "service" / "pages" / "label.js").read_text(encoding="utf-8")
    keys = re.search(r"const KEYS = \{(.*?)\n\};", source, re.DOTALL)
    assert keys is not None
    bound = set(re.findall(r'^  "?(\w+|\?)"?:', keys[1], re.MULTILINE))

    names = {"ArrowUp": "↑", "ArrowDown": "↓"}
    assert {f"`{names.get(key, key.upper() if len(key) == 1 else key)}`" for key in bound} <= set(
        re.findall(r"`[^`]+`", TEXT)
    )


def test_every_parameter_of_a_look_is_documented() -> None:
    names = {field.alias or name for name, field in LookQuery.model_fields.items()}

    assert all(f"`{name}" in TEXT for name in names)
