"""Prometheus, Alertmanager and a stand-in for kube-state-metrics, each on a free port of this machine."""

from __future__ import annotations

import http.server
import json
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.servers import ROOT, Server, serving
from service.launch import free_port

RULES = ROOT / "k8s" / "base" / "rules.yaml"
SCRAPE_SECONDS = 2
KUBERNETES = """kube_cronjob_status_last_successful_time{{cronjob="winnow-retrain"}} {now}
kube_job_status_failed{{job_name="winnow-retrain-1"}} 0
"""


@contextmanager
def running_prometheus(directory: Path, ports: list[int], alertmanager: int) -> Iterator[Server]:
    """Prometheus with the rules as they are in k8s/base.

    Parameters
    ----------
    ports : of Winnow, and of what says what kube-state-metrics would say
    alertmanager : its port
    """
    (directory / "rules.yaml").write_text(
        textwrap.dedent(RULES.read_text().split("\nspec:\n")[1])
    )  # as the operator does
    names = ("winnow", "kubernetes")
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for name, port in zip(names, ports, strict=True)
    ]
    timing = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
    alerting = {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]}
    config = {"global": timing, "rule_files": ["rules.yaml"], "scrape_configs": jobs, "alerting": alerting}
    (directory / "prometheus.yaml").write_text(json.dumps(config))
    command = ["prometheus", f"--config.file={directory / 'prometheus.yaml'}", "--web.listen-address=127.0.0.1:{port}"]
    command += [f"--storage.tsdb.path={directory / 'series'}"]
    with serving("prometheus", command, ready="/-/ready", environment={}) as server:
        yield server


@contextmanager
def running_alertmanager(directory: Path) -> Iterator[Server]:
    """An Alertmanager that keeps what it is sent."""
    config = {"route": {"receiver": "nobody", "group_wait": "1s"}, "receivers": [{"name": "nobody"}]}
    (directory / "alertmanager.yaml").write_text(json.dumps(config))
    command = [
        "prometheus-alertmanager",
        f"--config.file={directory / 'alertmanager.yaml'}",
        "--cluster.listen-address=",
    ]
    command += ["--web.listen-address=127.0.0.1:{port}", f"--storage.path={directory / 'alerts'}"]
    with serving("alertmanager", command, ready="/-/ready", environment={}) as server:
        yield server


@contextmanager
def running_exporter() -> Iterator[int]:
    """Says what kube-state-metrics would say of a healthy retraining job; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = KUBERNETES.format(now=time.time()).encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
