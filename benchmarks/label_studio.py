"""Send label tasks to a real Label Studio, have them labelled there, and bring the labels back.

Run: python -m benchmarks.label_studio. Installs Label Studio in an environment of its own under build/ (some minutes)
and starts it on SQLite, without telemetry; with --url and --token it uses one that runs. Where there is Chromium, the
first task is labelled by clicks in its page, the others through its API. Fails if a label does not arrive as it was
given. --record keeps the export for the test suite.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from sqlalchemy import select

from benchmarks.claims import Claim, conclude
from benchmarks.servers import PEERS, serving
from benchmarks.traffic import postable
from service.label_queue.rows import NewCohort, NewQuestion, NewTask
from service.label_queue.schema import label, skip
from service.label_queue.store import open_store
from tests.label_queue.browser import find_chromium, open_chromium
from training.catalogues.catalogue import open_catalogue
from training.demo.catalogue import write_demo_catalogue
from training.label_files import CONFIG, TASKS

VERSION = "1.23.*"
N_TASKS = 8
PERSON, PASSWORD, TOKEN = "demo@example.org", "made-up-for-this", "0123456789abcdef0123456789abcdef01234567"
QUIET = {
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "FEATURE_FLAGS_OFFLINE": "true",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
}
PAGE_SECONDS = 60.0
TICK = """
for (const box of arguments[0].querySelectorAll("input[type=checkbox]")) {
  const name = box.closest("label").innerText.replace(/\\[\\d+\\]$/, "").trim();
  if (box.checked !== arguments[1].includes(name)) box.click();  // the model's guess is ticked already
}
"""
Said = dict[str, dict[str, str]]  # task id -> class -> answer; {"skip": ...} for a skipped one


@dataclass(frozen=True)
class Studio:
    """A Label Studio that runs, and how to sign in."""

    url: str
    client: httpx.Client
    person: str
    password: str

    def n_annotations(self, number: int) -> int:
        """How many annotations a task has."""
        return int(self.client.get(f"/api/tasks/{number}").raise_for_status().json()["total_annotations"])


def main() -> int:
    """Run it once and say whether every label came back."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", help="of a Label Studio that runs")
    parser.add_argument("--token", default=TOKEN)
    parser.add_argument("--person", default=PERSON)
    parser.add_argument("--password", default=PASSWORD)
    parser.add_argument("--record", type=Path, help="keep the export as this file")
    parser.add_argument("--screenshot", type=Path, help="keep a picture of Label Studio's page as this file")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="winnow-label-studio-")))
        studio = stack.enter_context(_studio(directory, arguments))
        claims = _round_trip(studio, directory, arguments)
    return conclude("Label Studio and back", claims)


def _round_trip(studio: Studio, directory: Path, arguments: argparse.Namespace) -> list[Claim]:
    environment = {
        **os.environ,
        "BENTOML_HOME": str(directory / "bentoml"),
        "WINNOW_DATABASE_URL": f"sqlite:///{directory / 'queue.sqlite3'}",
    }
    _fill_queue(environment["WINNOW_DATABASE_URL"], directory)
    _winnow(environment, "labels", "export", str(directory / "out"))
    project = _new_project(studio, (directory / "out" / CONFIG).read_text())
    tasks = json.loads((directory / "out" / TASKS).read_text())
    answer = studio.client.post(f"/api/projects/{project}/import", json=tasks).raise_for_status().json()
    numbers = {task["data"]["task_id"]: task["id"] for task in _listed(studio, project)}
    said, clicked = _annotate(studio, project, tasks, numbers, arguments.screenshot)
    export = studio.client.get(f"/api/projects/{project}/export", params={"exportType": "JSON"}).raise_for_status()
    (directory / "export.json").write_bytes(export.content)
    if arguments.record:
        shutil.copy(directory / "export.json", arguments.record)
    first = _winnow(environment, "labels", "import", str(directory / "export.json"))
    came_back, n_events = _labels(environment["WINNOW_DATABASE_URL"])
    again = _winnow(environment, "labels", "import", str(directory / "export.json"))
    same, n_after = _labels(environment["WINNOW_DATABASE_URL"])
    version = studio.client.get("/api/version").json()["release"]
    n_answers = sum(len(answers) for answers in said.values())
    return [
        Claim(
            f"Label Studio {version} takes the tasks with their predictions",
            f"{answer['task_count']} tasks, {answer['prediction_count']} predictions",
            answer["task_count"] == answer["prediction_count"] == N_TASKS,
        ),
        Claim("a person can answer in its page", f"{clicked} answers clicked and submitted", clicked > 0),
        Claim("every label comes back as it was given", f"{n_answers} said; {first}", came_back == said),
        Claim(
            "imported again, nothing is added",
            f"{n_events} events, then {n_after}; {again}",
            n_after == n_events and same == said,
        ),
    ]


def _fill_queue(url: str, directory: Path) -> None:
    """Queue a few made-up products with pictures, one of them without."""
    write_demo_catalogue(directory / "demo", n_products=200, seed=3, progress=lambda *_, **__: None)
    catalogue = open_catalogue(directory / "demo")
    names = catalogue.taxonomy.classes
    tasks = []
    for index, record in zip(range(N_TASKS), catalogue.records("stream"), strict=False):
        product = dict(postable(record))
        if index == N_TASKS - 1:
            product["image"] = None
        asked = [names[(index * 3 + step) % len(names)] for step in range(4)]
        questions = tuple(
            NewQuestion(name, 0.2 + 0.2 * step, step > 2, "doubt", 0.4, 0.8) for step, name in enumerate(asked)
        )
        product_id = str(product[catalogue.fields.id])
        tasks.append(NewTask(f"task-{index}", product_id, product, 10.0 - index, 1.0, questions))
    cohort = NewCohort("cohort", "demo-1", "worker", datetime.now(UTC), N_TASKS, None, {"classes": []}, tuple(tasks))
    with closing(open_store(url, lease_seconds=60.0)) as queue:
        queue.enqueue([cohort], now=datetime.now(UTC))


def _new_project(studio: Studio, config: str) -> int:
    body = {"title": "Winnow", "label_config": config}
    return int(studio.client.post("/api/projects", json=body).raise_for_status().json()["id"])


def _listed(studio: Studio, project: int) -> list[dict[str, Any]]:
    query: dict[str, str | int] = {"project": project, "page_size": N_TASKS}
    listed: list[dict[str, Any]] = studio.client.get("/api/tasks", params=query).raise_for_status().json()["tasks"]
    return listed


def _annotate(
    studio: Studio, project: int, tasks: list[dict[str, Any]], numbers: Mapping[str, int], screenshot: Path | None
) -> tuple[Said, int]:
    """Answer every task, the first by clicks where there is a browser, the last by skipping it."""
    said: Said = {}
    clicked = 0
    for index, task in enumerate(tasks):
        task_id = task["data"]["task_id"]
        asked = [question["value"] for question in task["data"]["questions"]]
        yes, unsure = asked[index % 2 : 3 : 2], asked[3:]
        if index == N_TASKS - 1:
            _post_annotation(studio, numbers[task_id], [], was_cancelled=True)
            said[task_id] = {"skip": "skipped in Label Studio"}
            continue
        if index == 0 and find_chromium():
            _click(studio, f"/projects/{project}/data?task={numbers[task_id]}", (yes, unsure), screenshot)
            clicked = len(asked)
        else:
            results = [_choices("yes", yes), _choices("unsure", unsure)]
            _post_annotation(studio, numbers[task_id], results, was_cancelled=False)
        said[task_id] = dict.fromkeys(asked, "no") | dict.fromkeys(yes, "yes") | dict.fromkeys(unsure, "unsure")
    return said, clicked


def _choices(name: str, chosen: list[str]) -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": chosen}}


def _post_annotation(studio: Studio, number: int, results: list[dict[str, Any]], *, was_cancelled: bool) -> None:
    body = {"result": results, "was_cancelled": was_cancelled}
    studio.client.post(f"/api/tasks/{number}/annotations", json=body).raise_for_status()


def _click(studio: Studio, page: str, chosen: tuple[list[str], list[str]], screenshot: Path | None) -> None:
    """Sign in as a person, open a task's page, click the choices and submit."""
    browser, driver_path = find_chromium() or ("", "")
    driver = open_chromium(browser, driver_path)
    wait = WebDriverWait(driver, PAGE_SECONDS)
    try:
        driver.set_window_size(1600, 1000)
        driver.get(f"{studio.url}/user/login")
        driver.find_element(By.NAME, "email").send_keys(studio.person)
        driver.find_element(By.NAME, "password").send_keys(studio.password)
        driver.find_element(By.CSS_SELECTOR, "form button[type=submit]").click()
        wait.until(lambda _: "/login" not in driver.current_url)
        driver.get(studio.url + page)
        groups = wait.until(lambda _: _choice_groups(driver, len(chosen)))
        for group, names in zip(groups, chosen, strict=True):
            driver.execute_script(TICK, group, names)  # clicks by place may miss: pictures load late
        if screenshot:
            driver.save_screenshot(str(screenshot))
        driver.find_element(By.CSS_SELECTOR, "button[aria-label*='ubmit']").click()
        wait.until(lambda _: studio.n_annotations(int(page.rpartition("=")[2])) == 1)
    finally:
        driver.quit()


def _choice_groups(driver: Any, n_groups: int) -> list[Any]:
    found = driver.find_elements(By.CSS_SELECTOR, ".lsf-choices")
    return found if len(found) == n_groups else []


def _labels(url: str) -> tuple[Said, int]:
    """What the queue holds: the standing answers by task, and how many events."""
    with closing(open_store(url, lease_seconds=60.0)) as queue, queue.database.read() as connection:
        answers = connection.execute(select(label.c.task_id, label.c.class_name, label.c.answer)).all()
        skips = connection.execute(select(skip.c.task_id, skip.c.reason)).all()
    said: Said = {}
    for task_id, class_name, answer in answers:
        said.setdefault(task_id, {})[class_name] = answer
    return said | {task_id: {"skip": reason} for task_id, reason in skips}, len(answers) + len(skips)


def _winnow(environment: Mapping[str, str], *words: str) -> str:
    command = [sys.executable, "-c", "from training.cli import main; main()", *words]
    done = subprocess.run(command, env=dict(environment), check=True, capture_output=True, text=True)
    return " ".join((done.stderr + done.stdout).split())


@contextmanager
def _studio(directory: Path, arguments: argparse.Namespace) -> Iterator[Studio]:
    if arguments.url:
        yield _signed_in(arguments.url, arguments)
        return
    command = [
        str(_installed()), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", "{port}",
        "--username", PERSON, "--password", PASSWORD, "--user-token", TOKEN,
    ]  # fmt: skip
    environment = QUIET | {"LABEL_STUDIO_BASE_DATA_DIR": str(directory / "studio"), "DJANGO_DB": "sqlite"}
    with serving("Label Studio", command, ready="/health", environment=environment, start_seconds=1_800.0) as server:
        yield _signed_in(server.url, arguments)


def _signed_in(url: str, arguments: argparse.Namespace) -> Studio:
    client = httpx.Client(base_url=url, headers={"authorization": f"Token {arguments.token}"}, timeout=60.0)
    return Studio(url, client, arguments.person, arguments.password)


def _installed() -> Path:
    """Label Studio's command in an environment of its own, made on first use."""
    directory = PEERS / "label-studio"
    command = directory / "bin" / "label-studio"
    if not command.exists():
        venv.create(directory, with_pip=True, clear=True)
        pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, f"label-studio=={VERSION}"], check=True)
    return command


if __name__ == "__main__":
    sys.exit(main())
