"""The service under BentoML, as `winnow serve` and `bentoml serve` start it."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from service.app import LARGE_ALLOCATIONS
from service.bundles.bundle_store import BundleStore
from service.launch import command, environment, welcome
from service.telemetry.tally import DELAY_SECONDS
from tests.server import Server, running
from tests.tiny_bundle import EXAMPLE, write_tiny_bundle

ROOT = Path(__file__).parent.parent


def promoted(home: Path) -> Path:
    write_tiny_bundle(home / "tiny")
    store = BundleStore(home)
    store.promote(store.save(home / "tiny"))
    return home


def samples(server: Server, name: str) -> dict[str, float]:
    lines = (line for line in server.get("/metrics").text.splitlines() if re.match(rf"{name}[{{ ]", line))
    return {labels: float(value) for labels, value in (line.rsplit(" ", 1) for line in lines)}


def settled(server: Server, name: str) -> dict[str, float]:
    """Numbers that have come to rest: a worker writes what it counts a moment after its answer."""
    found: dict[str, float] = {}
    while (now := samples(server, name)) != found:
        found = now
        time.sleep(4 * DELAY_SECONDS)
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(promoted(tmp_path_factory.mktemp("bentoml")), workers=2) as started:
        started.wait_for_log("bundle loaded", times=2)  # the first worker is ready before the second
        yield started


def test_two_workers_answer_and_add_up_their_metrics(server: Server) -> None:
    counted = 'winnow_requests_total{outcome="ok",route="/classify"}'
    before = samples(server, "winnow_requests_total").get(counted, 0.0)

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: server.post("/classify", {"products": [EXAMPLE] * 3}), range(40)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert len(re.findall("bundle loaded", server.log.read_text())) == 2
    for _ in range(4):  # whichever worker is asked
        assert settled(server, "winnow_requests_total")[counted] == before + 40


def test_a_second_server_on_one_home_leaves_the_first_its_numbers(server: Server, tmp_path: Path) -> None:
    counted = 'winnow_requests_total{outcome="ok",route="/model"}'
    server.get("/model")
    before = settled(server, "winnow_requests_total")[counted]

    variables = {"WINNOW_DATABASE_URL": f"sqlite:///{tmp_path / 'queue.sqlite3'}"}
    with running(server.log.parent, variables=variables) as second:
        first_then = samples(server, "winnow_requests_total")[counted]
        second_then = samples(second, "winnow_requests_total").get(counted, 0.0)
        server.get("/model")

    assert (first_then, second_then) == (before, 0.0)
    assert settled(server, "winnow_requests_total")[counted] == before + 1


def test_workers_give_large_blocks_of_memory_back(server: Server) -> None:
    workers = psutil.Process(server.process.pid).children(recursive=True)

    told = [worker.environ().get(LARGE_ALLOCATIONS[0]) for worker in workers if "worker" in " ".join(worker.cmdline())]

    assert told == [LARGE_ALLOCATIONS[1]] * 2


def test_our_routes_pass_by_bentoml_and_its_own_do_not(server: Server) -> None:
    """Fails when BentoML changes how it composes its application, on which the short way to our routes rests."""
    answer = server.post("/classify", {"products": [EXAMPLE]})
    server.get("/readyz")

    assert answer.status_code == 200
    assert "x-bentoml-request-id" not in answer.headers
    endpoints = {label for label in samples(server, "bentoml_service_request_total") if "endpoint=" in label}
    assert any('endpoint="/readyz"' in label for label in endpoints)
    assert not any('endpoint="/classify"' in label for label in endpoints)


@pytest.mark.parametrize(
    ("path", "status", "media_type"),
    [
        ("/", 200, "text/html"),
        ("/docs", 200, "text/html"),
        ("/openapi.json", 200, "application/json"),
        ("/model", 200, "application/json"),
        ("/metrics", 200, "text/plain"),
        ("/livez", 200, "text/plain"),
        ("/readyz", 200, "text/plain"),
        ("/docs.json", 404, "application/problem+json"),
        ("/classify", 405, "application/problem+json"),
    ],
)
def test_every_route_is_there(server: Server, path: str, status: int, media_type: str) -> None:
    answer = server.get(path)

    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (status, media_type)


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
def test_what_is_only_read_says_so(server: Server, path: str) -> None:
    answer = httpx.post(server.url + path, timeout=20)

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_command_on_the_docs_page_works(server: Server) -> None:
    page = server.get("/docs").text
    shown = re.search(r'<pre id="curl">(.*?)</pre>', page, re.DOTALL)
    assert shown
    curl, url, _, header, _, body = shlex.split(html.unescape(shown[1]).replace("\\\n", ""))
    name, value = header.split(": ")

    answer = httpx.post(url, content=body, headers={name: value}, timeout=20)

    assert (curl, url) == ("curl", f"{server.url}/classify")
    assert answer.json()["results"][0]["product_id"] == EXAMPLE["product_id"]


def test_a_value_of_a_refused_product_is_not_logged(server: Server) -> None:
    answer = server.post("/classify", {"products": [{"product_id": "x", "price": "do-not-log-me"}]})

    assert answer.status_code == 422
    assert "do-not-log-me" not in server.log.read_text()


def test_without_a_bundle_the_server_lives_and_is_not_ready(tmp_path: Path) -> None:
    with running(tmp_path / "empty", wait_for="/livez") as server:
        assert server.get("/readyz").status_code == 503
        assert server.post("/classify", {"products": [EXAMPLE]}).json()["title"] == "no bundle"
        assert server.get("/").status_code == 503


def test_a_server_with_a_wrong_setting_says_so_and_does_not_start(tmp_path: Path) -> None:
    variables = environment({**os.environ, "BENTOML_HOME": str(tmp_path), "WINNOW_WORKER": "2"})

    done = subprocess.run(
        command("127.0.0.1", 1), env=variables, capture_output=True, text=True, timeout=240, check=False
    )

    assert done.returncode != 0
    assert "WINNOW_WORKER is no setting; did you mean WINNOW_WORKERS?" in done.stdout + done.stderr


def test_a_built_bento_answers_the_same(server: Server, tmp_path: Path) -> None:
    home = promoted(tmp_path / "bentoml")
    variables = environment({**os.environ, "BENTOML_HOME": str(home)})
    build = [sys.executable, "-m", "bentoml", "build", "--version", "test", str(ROOT)]
    subprocess.run(build, env=variables, check=True, capture_output=True, timeout=240)

    with running(home, served=["winnow:test"], cwd=tmp_path) as bento:
        body = {"products": [EXAMPLE, {"product_id": "2", "title": "red shirt"}]}
        assert bento.post("/classify", body).json() == server.post("/classify", body).json()


def test_a_bento_installs_what_the_project_says_serving_needs() -> None:
    bentofile = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert bentofile["python"]["packages"] == project["dependencies"]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80/docs"),
        ("0.0.0.0", "http://127.0.0.1:80/docs"),
        ("::1", "http://[::1]:80/docs"),
    ],
)
def test_the_addresses_shown_at_the_start_can_be_opened(host: str, url: str) -> None:
    assert url in welcome(host, 80)


KEY = "a-key-of-the-test"
KEYS = f"test:classify+ops:{hashlib.sha256(KEY.encode()).hexdigest()}"


def refused_start(home: Path, *arguments: str, **variables: str) -> str:
    inherited = environment({**os.environ, "BENTOML_HOME": str(home), **variables})
    serve = [sys.executable, "-m", "bentoml", "serve", "service.app:Winnow", "--port", "1", *arguments]
    done = subprocess.run(serve, cwd=ROOT, env=inherited, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_without_keys_it_refuses_to_start_where_others_can_call(tmp_path: Path) -> None:
    assert "set WINNOW_API_KEYS, or listen on 127.0.0.1" in refused_start(tmp_path, "--host", "0.0.0.0")


def test_an_address_in_the_environment_is_refused_too(tmp_path: Path) -> None:
    assert "set WINNOW_API_KEYS, or listen on 127.0.0.1" in refused_start(tmp_path, BENTOML_HOST="0.0.0.0")


def test_malformed_keys_are_refused_without_being_shown(tmp_path: Path) -> None:
    said = refused_start(tmp_path, WINNOW_API_KEYS="shop:classify:do-not-show-me")

    assert "API key 1 is not of the form" in said
    assert "do-not-show-me" not in said


def test_with_keys_every_route_but_the_probes_needs_one(tmp_path: Path) -> None:
    with running(promoted(tmp_path / "bentoml"), variables={"WINNOW_API_KEYS": KEYS}) as server:
        headers = {"authorization": f"Bearer {KEY}"}
        answer = httpx.post(f"{server.url}/classify", json={"products": [EXAMPLE]}, headers=headers, timeout=20)
        metrics = httpx.get(f"{server.url}/metrics", headers=headers, timeout=20)
        without = [server.get(path).status_code for path in ("/", "/metrics", "/model", "/livez", "/readyz")]

    assert (answer.status_code, metrics.status_code) == (200, 200)
    assert without == [401, 401, 401, 200, 200]


def test_the_guards_stand_before_every_route(server: Server) -> None:
    large = httpx.post(f"{server.url}/classify", content=bytes(10_000_001), timeout=20)
    renamed = httpx.get(f"{server.url}/metrics", headers={"host": "evil.example"}, timeout=20)
    metrics = server.get("/metrics")

    assert (large.status_code, large.json()["title"]) == (413, "request body too large")
    assert renamed.status_code == 403
    assert metrics.headers["content-security-policy"].startswith("default-src 'none'")
    assert (
        samples(server, "winnow_refused_requests_total")['winnow_refused_requests_total{reason="body_too_large"}'] == 1
    )


def by_httpx(url: str, n_bytes: int) -> httpx.Response:
    """An answer to a body that is sent to its end before the answer is read."""
    megabytes = (bytes(1_000_000) for _ in range(n_bytes // 1_000_000))
    return httpx.post(url, content=megabytes, headers={"content-length": str(n_bytes)}, timeout=60)


def by_http_client(url: str, n_bytes: int) -> HTTPResponse:
    """The same by the standard library, on which `requests` rests."""
    connection = HTTPConnection(url.split("/")[2], timeout=60)
    connection.request("POST", "/classify", body=bytes(n_bytes))
    return connection.getresponse()


def test_whoever_sends_a_far_too_large_body_to_its_end_reads_why_it_was_refused(server: Server) -> None:
    answers = [by_httpx(f"{server.url}/classify", 100_000_000) for _ in range(3)]
    plain = [by_http_client(f"{server.url}/classify", 100_000_000) for _ in range(3)]

    assert {(answer.status_code, answer.headers["connection"]) for answer in answers} == {(413, "close")}
    assert {answer.json()["title"] for answer in answers} == {"request body too large"}
    assert {(answer.status, json.loads(answer.read())["title"]) for answer in plain} == {
        (413, "request body too large")
    }
