"""What operators look at, against the metrics that exist: the dashboard, the rules, the table in the documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from starlette.routing import Route

from service.api.guards import REASONS
from service.app import create_app
from service.bundles.retrainings import OUTCOMES as RETRAINING_OUTCOMES
from service.image_fetch import OUTCOMES as FETCH_OUTCOMES
from service.settings import Settings
from service.telemetry.bundle_metrics import SwapOutcome
from service.telemetry.classify_metrics import BatchStage
from service.telemetry.metrics import Metrics
from service.telemetry.queue_metrics import CohortOutcome, TaskOutcome
from service.telemetry.registry import SECONDS
from service.telemetry.request_metrics import Outcome

ROOT = Path(__file__).parent.parent
DASHBOARD = ROOT / "k8s" / "base" / "dashboard.json"
RULES = ROOT / "k8s" / "base" / "rules.yaml"
DOCUMENT = ROOT / "docs" / "operations.md"
FOREIGN = {
    "up",
    "kube_job_status_failed",
    "kube_cronjob_status_last_successful_time",
}  # Prometheus', kube-state-metrics'
ROWS = ["Traffic", "Model", "Queue", "Training"]


def wrappers() -> list[MetricWrapperBase]:
    registry = CollectorRegistry()
    Metrics(registry)
    return [metric for metric in registry._collector_to_names if isinstance(metric, MetricWrapperBase)]


def exported(metric: MetricWrapperBase) -> dict[str, set[str]]:
    """Names of a metric's series, each with its labels."""
    labels = set(metric._labelnames)
    name = metric._name
    if metric._type == "counter":
        return {f"{name}_total": labels}
    if metric._type == "histogram":
        return {f"{name}_bucket": labels | {"le"}, f"{name}_count": labels, f"{name}_sum": labels}
    return {name: labels}


EXPORTED = {name: labels for metric in wrappers() for name, labels in exported(metric).items()}


def recorded() -> set[str]:
    groups = yaml.safe_load(RULES.read_text())["spec"]["groups"]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def expressions() -> Iterator[tuple[str, str]]:
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]
    for group in yaml.safe_load(RULES.read_text())["spec"]["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric of an expression with the labels that it is selected by."""
    for name, braces in re.findall(r"\b((?:winnow|kube)[a-z0-9_:]+|up)\b(?:\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"([a-z_]+)\s*(?:=~|!=|=|!~)", braces))


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_only_metrics_and_labels_that_exist_are_asked_for(where: str, expression: str) -> None:
    found = dict(selectors(expression))

    assert found
    for name, labels in found.items():
        assert name in EXPORTED or name in FOREIGN or name in recorded(), f"{where}: {name}"
        if name in EXPORTED:
            assert labels <= EXPORTED[name] | {"job"}, f"{where}: {name} has no {labels - EXPORTED[name]}"


def test_the_dashboard_has_its_rows_and_no_two_panels_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]

    assert [panel["title"] for panel in panels if panel["type"] == "row"] == ROWS
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_metric_is_shown_or_alerted_on() -> None:
    asked = {name for _, expression in expressions() for name, _ in selectors(expression)}

    for metric in wrappers():
        assert asked & set(exported(metric)), metric._name


def test_the_table_of_metrics_in_the_documentation_is_true() -> None:
    rows = re.findall(r"^\| `(winnow_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", DOCUMENT.read_text(), re.MULTILINE)

    expected = []
    for metric in wrappers():
        name = metric._name + ("_total" if metric._type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        expected.append((name, metric._type, labels, metric._documentation))
    assert [tuple(cell.strip() for cell in row) for row in rows] == sorted(expected)


def test_a_replica_stays_below_two_thousand_series(tmp_path: Path) -> None:
    """49 classes, as the largest catalogue at hand has; prometheus_client adds none in several processes."""
    app = create_app(Settings.from_env({"BENTOML_HOME": str(tmp_path)}), Metrics(CollectorRegistry()))
    n_classes, n_drifting = 49, 49 + 2 * 12
    sizes = {
        "class": n_classes + 1,  # with the macro mean
        "route": len({route.path for route in app.routes if isinstance(route, Route)}) + 1,  # with "other"
        "reason": len(REASONS),
        "stage": len(get_args(BatchStage)),
        "answer": 3,
        "state": 4,
        "member": 12,
        "measure": 2,
        "bound": 3,
        "kind": 1,
        "name": n_drifting,
        "version": 5,
        "taxonomy": 1,
        "unit": 2,
        "rank": 2,
        "le": 12,
    }
    outcomes = {
        "winnow_requests": get_args(Outcome),
        "winnow_cohorts": get_args(CohortOutcome),
        "winnow_bundle_swaps": get_args(SwapOutcome),
        "winnow_image_fetches": FETCH_OUTCOMES,
        "winnow_queue_tasks": get_args(TaskOutcome),
        "winnow_retraining_timestamp_seconds": RETRAINING_OUTCOMES,
    }

    n_series = 0
    for metric in wrappers():
        of_metric = sizes | {"outcome": len(outcomes.get(metric._name, ()))}
        product = int(np.prod([of_metric[label] for label in metric._labelnames], dtype=int))
        assert product > 0, metric._name
        n_series += product * (len(SECONDS) + 3 if metric._type == "histogram" else 1)
    assert n_series < 2000, n_series
