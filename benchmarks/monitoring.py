"""A real Prometheus and a real Alertmanager watch two real workers: scrape, rules, an alert, the dashboard's queries.

Run: python -m benchmarks.monitoring [CATALOGUE]. It serves the promoted bundle of BENTOML_HOME from a copy, sends
traffic, faulty requests and labels, and asks Prometheus every query of the dashboard; then it points the workers at a
damaged bundle and waits for the alert. What Kubernetes' own exporter and a retraining would say is stood in for.
Needs Debian's packages prometheus and prometheus-alertmanager. Takes four minutes, most of it waiting.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any

import httpx

from benchmarks.annotating import SimulatedAnnotator
from benchmarks.backend import Backend
from benchmarks.claims import Claim, conclude
from benchmarks.monitors import RULES, running_alertmanager, running_exporter, running_prometheus
from benchmarks.servers import ROOT, Server, bentoml_home, serving, winnow_command
from benchmarks.traffic import Posted, stand_in, stream
from service.bundles.bundle import GRAPH
from service.bundles.bundle_store import BundleStore
from service.bundles.history import append
from service.bundles.retrainings import RETRAININGS, Gain, Result
from training.catalogues.catalogue import Catalogue, open_catalogue

DASHBOARD = ROOT / "k8s" / "base" / "dashboard.json"
ALERT = "WinnowSwapFailing"
PATIENCE_SECONDS = 240.0
MAX_SERIES = 2_000
N_WORKERS = 2
N_RECORDS = 600
SETTINGS = {
    "WINNOW_WORKERS": str(N_WORKERS),
    "WINNOW_COHORT_PRODUCTS": "300",
    "WINNOW_COHORT_SECONDS": "5",
    "WINNOW_COHORT_TASKS": "60",
    "WINNOW_SWAP_SECONDS": "0.5",
    "WINNOW_IMAGE_HOSTS": "cdn.shop.example",
}
VARIABLES = {"$job": "winnow", "$class": ".*", "$__rate_interval": "30s", "$__range": "10m"}


def main() -> int:
    """Watch the service, and say whether what it says of itself arrives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("catalogue", nargs="?", type=Path, default=ROOT / "data" / "demo")
    parser.add_argument("--stand-in", action="store_true", help="a tiny bundle and made-up products")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="winnow-monitoring-") as temporary:
        directory = Path(temporary)
        home, catalogue = _copied(directory, arguments)
        environment = {**SETTINGS, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
        with (
            serving(
                "winnow", winnow_command(), ready="/readyz", environment=environment, log=directory / "log"
            ) as server,
            running_exporter() as kubernetes,
            running_alertmanager(directory) as alertmanager,
            running_prometheus(directory, [server.port, kubernetes], alertmanager.port) as prometheus,
        ):
            claims = _watch(Watched(server, prometheus, alertmanager), BundleStore(home), stream(catalogue, N_RECORDS))
    return conclude("A real Prometheus on two workers", claims)


class Watched:
    """The service and those who watch it."""

    def __init__(self, server: Server, prometheus: Server, alertmanager: Server) -> None:
        self.server = server
        self._prometheus = httpx.Client(base_url=prometheus.url, timeout=30)
        self._alertmanager = httpx.Client(base_url=alertmanager.url, timeout=30)

    def api(self, path: str, **parameters: str) -> Any:
        """What Prometheus answers to one call of its API."""
        answer = self._prometheus.get(f"/api/v1/{path}", params=parameters).raise_for_status().json()
        return answer["data"]

    def values(self, query: str) -> list[float]:
        """Current values of a query, one a series."""
        return [float(series["value"][1]) for series in self.api("query", query=query)["result"]]

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        return {alert["labels"]["alertname"] for alert in self.api("alerts")["alerts"] if alert["state"] == "firing"}

    def received(self) -> set[str]:
        """Names of the alerts that have reached Alertmanager."""
        return {alert["labels"]["alertname"] for alert in self._alertmanager.get("/api/v2/alerts").json()}


def _watch(watched: Watched, store: BundleStore, posted: Posted) -> list[Claim]:
    _retrained(store)
    with Backend(watched.server.url, posted, pause_seconds=0.1).running():
        _misbehave(watched.server.url)
        _label(watched.server.url, posted)
        _until(lambda: bool(watched.values('winnow_live_quality_ratio{class="macro",bound="estimate"} >= 0')))
        claims = [*_scraped(watched), *_ruled(watched), *_asked(watched)]
        claims += _alerted(watched, store)
    return claims


def _scraped(watched: Watched) -> list[Claim]:
    _until(lambda: watched.values('up{job="winnow"}') == [1.0])
    [n_series] = watched.values('scrape_samples_scraped{job="winnow"}')
    n_workers = _n_workers(watched.server)
    found = f"{n_series:.0f} series from {n_workers} workers"
    return [
        Claim('up{job="winnow"} is 1', str(watched.values('up{job="winnow"}')), holds=True),
        Claim(
            f"one scrape has fewer than {MAX_SERIES} series", found, n_series < MAX_SERIES and n_workers == N_WORKERS
        ),
    ]


def _ruled(watched: Watched) -> list[Claim]:
    wanted = len(re.findall(r"^ *- (?:alert|record):", RULES.read_text(), re.MULTILINE))
    _until(lambda: all(rule["health"] == "ok" for rule in _rules(watched)))
    healthy = [rule for rule in _rules(watched) if rule["health"] == "ok"]
    firing = watched.firing()
    return [
        Claim("every rule is loaded and evaluated", f"{len(healthy)} of {wanted}", len(healthy) == wanted),
        Claim("no alert fires before the fault", ", ".join(sorted(firing)) or "none", not firing),
    ]


def _asked(watched: Watched) -> list[Claim]:
    queries = list(_queries())
    _until(lambda: not _unanswered(watched, queries))
    without = _unanswered(watched, queries)
    found = f"{len(queries) - len(without)} of {len(queries)}" + "".join(f"; nothing for {one}" for one in without)
    return [Claim("every query of the dashboard returns a number", found, not without)]


def _alerted(watched: Watched, store: BundleStore) -> list[Claim]:
    served = store.current()
    started = time.monotonic()
    _promote_damaged(store)
    _until(lambda: ALERT in watched.received())
    seconds = time.monotonic() - started
    firing = watched.firing()
    answer = httpx.get(f"{watched.server.url}/model", timeout=20).json()["version"]
    return [
        Claim(f"a damaged promotion fires {ALERT}", f"fires: {', '.join(sorted(firing)) or 'none'}", firing == {ALERT}),
        Claim("the alert reaches Alertmanager", f"{seconds:.0f} s after the promotion", ALERT in watched.received()),
        Claim("the bundle before it serves on", answer, answer == served),
    ]


def _unanswered(watched: Watched, queries: list[tuple[str, str]]) -> list[str]:
    return [title for title, query in queries if all(isnan(value) for value in watched.values(query))]


def _queries() -> Iterator[tuple[str, str]]:
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", _filled(target["expr"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, _, label = variable["query"].removeprefix("label_values(").rstrip(")").partition(", ")
            yield f"${variable['name']}", f"count by ({label}) ({metric})"


def _filled(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def _rules(watched: Watched) -> list[dict[str, Any]]:
    return [rule for group in watched.api("rules")["groups"] for rule in group["rules"]]


def _n_workers(server: Server) -> int:
    """Processes of BentoML that answer requests, beside the one that started them."""
    return sum("bentoml_impl" in " ".join(process.cmdline()) for process in server.tree()[1:])


def _misbehave(url: str) -> None:
    """What a careless client sends: no JSON, an unreadable image, an image by a URL that leads nowhere, too much."""
    product = httpx.get(f"{url}/openapi.json", timeout=20).json()["paths"]["/classify"]["post"]["requestBody"]
    example = product["content"]["application/json"]["example"]["products"][0]
    fields = httpx.get(f"{url}/model", timeout=20).json()["fields"]
    image = fields["image"]
    httpx.post(f"{url}/classify", content=b"{", headers={"content-type": "application/json"}, timeout=20)
    for faulty in ({image: "AAAA"}, {image: None, f"{image}_url": "https://cdn.shop.example/1.jpg"}):
        for _ in range(20):
            httpx.post(f"{url}/classify", json={"products": [{**example, **faulty}]}, timeout=20)
    for _ in range(20):
        httpx.post(f"{url}/classify", content=bytes(11_000_000), timeout=20)


def _label(url: str, posted: Posted) -> None:
    """Two annotators answer the same questions; the second one slips at every tenth."""
    first = SimulatedAnnotator(url, "ann", truth=posted.truth, id_field=posted.id_field, limit=40)
    _until(lambda: bool(httpx.get(f"{url}/label-queue/stats", timeout=20).json()["open"] >= 40))
    lease = first.lease()
    labels = first.labels(lease)
    first.submit(lease, labels)
    other = {"yes": "no", "no": "yes", "unsure": "unsure"}
    for number, entry in enumerate(labels):
        if number % 10 == 0:
            entry["answers"] = {name: other[answer] for name, answer in entry["answers"].items()}
    body = {"annotator": "ben", "labels": labels}
    httpx.post(f"{url}/label-queue/labels", json=body, timeout=30).raise_for_status()


def _retrained(store: BundleStore) -> None:
    """The line that a retraining writes; a real one would outlast this program."""
    result = Result("turned_down", time.time(), "candidate", 100, 60.0, Gain(0.001, -0.002, 0.004))
    append(store.directory / RETRAININGS, asdict(result))


def _promote_damaged(store: BundleStore) -> None:
    current = store.load()
    damaged = current.parent / "damaged"
    shutil.copytree(current, damaged)
    graph = damaged / GRAPH
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    pointer = store.directory / "current.new"
    pointer.write_text("damaged")  # `promote` itself would refuse it
    pointer.replace(store.directory / "current")


def _copied(directory: Path, arguments: argparse.Namespace) -> tuple[Path, Catalogue]:
    if arguments.stand_in:
        return stand_in(directory, n_products=N_RECORDS)
    shutil.copytree(bentoml_home() / "models", directory / "home" / "models")
    return directory / "home", open_catalogue(arguments.catalogue)


def _until(happened: Callable[[], bool]) -> None:
    """Wait until something happens, or for long enough to say that it does not."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and not happened():
        time.sleep(0.5)


if __name__ == "__main__":
    raise SystemExit(main())
