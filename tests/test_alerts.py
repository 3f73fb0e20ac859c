"""The rules: Prometheus accepts them, and every alert fires when it should and stays quiet when it should."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.programs import needed

ROOT = Path(__file__).parent.parent
RULES = ROOT / "k8s" / "base" / "rules.yaml"


@dataclass(frozen=True)
class Case:
    """Series, as promtool writes them: one set that provokes the alert and one that is just not enough."""

    fires: dict[str, str]
    quiet: dict[str, str]
    after: str = "30m"
    every: str = "1m"


def answered(ok: str, failed: str) -> dict[str, str]:
    requests = 'winnow_requests_total{route="/classify",outcome="%s"}'
    return {requests % "ok": ok, requests % "failed": failed}


def fast_of_all(fast: str, everything: str) -> dict[str, str]:
    return {
        'winnow_request_seconds_bucket{route="/classify",le="0.25"}': fast,
        'winnow_request_seconds_count{route="/classify"}': everything,
    }


UP = {'up{job="winnow"}': "1x60"}
CASES = {
    "WinnowAvailabilityFastBurn": Case(answered("0+980x90", "0+20x90"), answered("0+990x90", "0+10x90"), after="90m"),
    "WinnowAvailabilitySlowBurn": Case(answered("0+990x480", "0+10x480"), answered("0+995x480", "0+5x480"), after="8h"),
    "WinnowLatencyFastBurn": Case(fast_of_all("0+80x90", "0+100x90"), fast_of_all("0+90x90", "0+100x90"), after="90m"),
    "WinnowLatencySlowBurn": Case(
        fast_of_all("0+90x480", "0+100x480"), fast_of_all("0+95x480", "0+100x480"), after="8h"
    ),
    "WinnowDown": Case(
        {'up{job="winnow",pod="a"}': "0x60"}, {'up{job="winnow",pod="a"}': "0x60", 'up{job="winnow"}': "1x60"}
    ),
    "WinnowNoModel": Case(
        {**UP, 'winnow_model_info{version="a"}': "0x60"}, {**UP, 'winnow_model_info{version="a"}': "1x60"}
    ),
    "WinnowOverloaded": Case(
        {**answered("0+600x60", "0x60"), 'winnow_refused_requests_total{reason="line_full"}': "0+12x60"},
        {
            **answered("0+600x60", "0x60"),
            'winnow_refused_requests_total{reason="line_full"}': "0+3x60",
            'winnow_refused_requests_total{reason="hung_up"}': "0+300x60",  # no error of ours
        },
    ),
    "WinnowStoreDown": Case(
        {'winnow_queue_store_up{pod="a"}': "1 0x60"}, {'winnow_queue_store_up{pod="a"}': "1x20 0 0 1x40"}
    ),
    "WinnowSamplesDropped": Case(
        {'winnow_queue_tasks_total{outcome="dropped"}': "0x20 100x20"},
        {'winnow_queue_tasks_total{outcome="written"}': "0+9x60", 'winnow_cohorts_total{outcome="sealed"}': "0+1x60"},
    ),
    "WinnowQueueStale": Case(
        {
            "winnow_label_queue_oldest_seconds": "700000x60",
            "winnow_label_newest_timestamp_seconds": "0+3600x20 72000x40",  # of these, none for 30 hours
        },
        {
            "winnow_label_queue_oldest_seconds": "700000x60",
            "winnow_label_newest_timestamp_seconds": "0+3600x60",
        },
        after="50h",
        every="1h",
    ),
    "WinnowDrift": Case(
        {'winnow_drift_index{kind="field",name="price"}': "0.3x120"},
        {'winnow_drift_index{kind="field",name="price"}': "0.3x30 0.1 0.3x50"},
        after="80m",
    ),
    "WinnowModelStale": Case(
        {"winnow_model_created_timestamp_seconds": "1x1500"},
        {"winnow_model_created_timestamp_seconds": "1x700 2592001x800"},
        after="800h",
        every="1h",
    ),
    "WinnowSwapFailing": Case(
        {'winnow_bundle_swaps_total{outcome="refused"}': "0x20 1x20"},
        {'winnow_bundle_swaps_total{outcome="swapped"}': "0x20 1x20"},
    ),
    "WinnowVersionsApart": Case(
        {'winnow_model_info{version="a"}': "1x60", 'winnow_model_info{version="b"}': "1x60"},
        {'winnow_model_info{version="a"}': "0x60", 'winnow_model_info{version="b"}': "1x60"},
    ),
    "WinnowRetrainFailed": Case(
        {'kube_job_status_failed{job_name="winnow-retrain-1"}': "0x20 1x40"},
        {
            'kube_job_status_failed{job_name="other-1"}': "1x60",
            'kube_job_status_failed{job_name="winnow-retrain-1"}': "0x60",
            'winnow_retraining_timestamp_seconds{outcome="failed"}': "500x60",
            'winnow_retraining_timestamp_seconds{outcome="turned_down"}': "600x60",
        },
    ),
    "WinnowRetrainOverdue": Case(
        {'kube_cronjob_status_last_successful_time{cronjob="winnow-retrain"}': "1x100"},
        {'kube_cronjob_status_last_successful_time{cronjob="winnow-retrain"}': "1x50 180000x50"},
        after="80h",
        every="1h",
    ),
    "WinnowAnnotatorErrs": Case(
        {'winnow_annotator_error_ratio{rank="highest"}': "0.25x120"},
        {
            'winnow_annotator_error_ratio{rank="highest"}': "0.15x120",
            'winnow_annotator_error_ratio{rank="median"}': "0.25x120",
        },
        after="80m",
    ),
    "WinnowLivePrecisionLow": Case(
        {'winnow_live_quality_ratio{measure="precision",bound="upper",class="black"}': "0.45x120"},
        {
            'winnow_live_quality_ratio{measure="precision",bound="estimate",class="black"}': "0.3x120",
            'winnow_live_quality_ratio{measure="precision",bound="upper",class="black"}': "0.6x120",
            'winnow_live_quality_ratio{measure="recall",bound="upper",class="black"}': "0.2x120",
        },
        after="80m",
    ),
    "WinnowSamplingBiased": Case(
        {'winnow_sampling_check_z{unit="product"}': "-4.5x60"},
        {'winnow_sampling_check_z{unit="product"}': "-3.5x60"},
        after="50m",
    ),
}


# The same alerts without Kubernetes' metrics, from what the service tells of retraining.
BY_ITSELF = {
    "WinnowRetrainFailed": Case(
        {
            'winnow_retraining_timestamp_seconds{outcome="promoted"}': "500x60",
            'winnow_retraining_timestamp_seconds{outcome="failed"}': "0x20 600x40",
        },
        {
            'winnow_retraining_timestamp_seconds{outcome="promoted"}': "0x60",
            'winnow_retraining_timestamp_seconds{outcome="failed"}': "0x60",
        },
    ),
    "WinnowRetrainOverdue": Case(
        {
            'winnow_retraining_timestamp_seconds{outcome="turned_down"}': "1x100",
            'winnow_retraining_timestamp_seconds{outcome="failed"}': "1x50 180000x50",
        },
        {'winnow_retraining_timestamp_seconds{outcome="turned_down"}': "1x50 180000x50"},
        after="80h",
        every="1h",
    ),
}


def rules() -> dict[str, Any]:
    return dict(yaml.safe_load(RULES.read_text())["spec"])


def alerts() -> list[dict[str, Any]]:
    return [rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rules")
    (directory / "rules.yaml").write_text(yaml.safe_dump(rules()))
    return directory


def promtool(*arguments: str, folder: Path) -> None:
    command = [needed("promtool", package="prometheus"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_the_rules(folder: Path) -> None:
    promtool("check", "rules", "rules.yaml", folder=folder)


@pytest.mark.parametrize("fires", [True, False], ids=["fires", "stays quiet"])
@pytest.mark.parametrize(("name", "case"), [*CASES.items(), *BY_ITSELF.items()])
def test_an_alert(name: str, case: Case, fires: bool, folder: Path) -> None:
    series = case.fires if fires else case.quiet
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1}] if fires else []
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": case.every,
        "tests": [
            {
                "interval": case.every,
                "input_series": [{"series": labels, "values": values} for labels, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'group by (alertname) (ALERTS{{alertname="{name}",alertstate="firing"}})',
                        "eval_time": case.after,
                        "exp_samples": samples,
                    }
                ],
            }
        ],
    }
    path = folder / f"{name}-{fires}-{case.after}-{len(series)}.yaml"
    path.write_text(yaml.safe_dump(test))

    promtool("test", "rules", path.name, folder=folder)


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert [alert["alert"] for alert in alerts()] == list(CASES)


def test_every_alert_has_a_section_in_the_runbook() -> None:
    sections = set(re.findall(r"^### (\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE))

    assert {alert["alert"] for alert in alerts()} <= sections
    for alert in alerts():
        assert alert["annotations"]["runbook_url"].endswith(f"docs/operations.md#{alert['alert'].lower()}")
