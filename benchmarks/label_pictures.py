"""Take the documentation's pictures of the labelling page, on made-up products of the demo catalogue.

Run: python -m benchmarks.label_pictures [--into docs/images]. Serves the current bundle of BENTOML_HOME, which should
have been trained on the demo catalogue, posts its stream, and labels a little by keyboard in Chromium.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from benchmarks.load import run_load
from benchmarks.queue_contents import wait_for
from benchmarks.servers import ROOT, bentoml_home, serving, winnow_command
from benchmarks.traffic import Answers, classify_request, groups, stream
from tests.label_queue.browser import LabellingPage, find_chromium, open_chromium
from training.catalogues.catalogue import open_catalogue

DESK = {"width": 1280, "height": 800, "deviceScaleFactor": 1.5, "mobile": False}
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
N_PRODUCTS = 800
SECONDS_AN_ANSWER = 1.2
SETTLE_SECONDS = 6.0  # pictures are decoded, the toast is gone


def main() -> int:
    """Serve, fill the queue, label, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("catalogue", nargs="?", type=Path, default=ROOT / "data" / "demo")
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "images")
    arguments = parser.parse_args()
    found = find_chromium()
    if found is None:
        raise SystemExit("no Chromium: install Debian's chromium and chromium-driver packages")
    posted = stream(open_catalogue(arguments.catalogue), N_PRODUCTS)
    with tempfile.TemporaryDirectory(prefix="winnow-pictures-") as temporary:
        database = f"sqlite:///{temporary}/queue.sqlite3"
        environment = {
            "BENTOML_HOME": str(bentoml_home()),
            "WINNOW_DATABASE_URL": database,
            "WINNOW_COHORT_PRODUCTS": str(len(posted.records) // 2),
            "WINNOW_COHORT_SECONDS": "3",
        }
        with serving("Winnow", winnow_command(), ready="/readyz", environment=environment) as server:
            requests = [classify_request(group) for group in groups(posted.records, 32)]
            run_load(server.port, requests, n_requests=len(requests), concurrency=4)
            wait_for(database, lambda held: held.n_products >= len(posted.records), timeout_seconds=60.0)
            driver = open_chromium(*found)
            try:
                _take(driver, LabellingPage(driver, server.url), posted.truth, arguments.into)
            finally:
                driver.quit()
    return 0


def _take(driver: webdriver.Chrome, page: LabellingPage, truth: Answers, directory: Path) -> None:
    _look(driver, DESK, scheme="light")
    page.sign_in("ann")
    for _ in range(4):
        _answer(page, truth, n_answers=5)
        page.press(Keys.ENTER)
    _answer(page, truth, n_answers=3)
    _save(driver, directory / "labelling.png")
    _look(driver, DESK, scheme="dark")
    _save(driver, directory / "labelling-dark.png")
    _look(driver, PHONE, scheme="light")
    page.press(Keys.ARROW_UP, Keys.ARROW_DOWN)  # scrolls to the marked question, as every step does
    _save(driver, directory / "labelling-phone.png")


def _answer(page: LabellingPage, truth: Answers, *, n_answers: int) -> None:
    """Answer as somebody who knows, at a pace that people have, so that the rate on the pictures is no boast."""
    product_id = page.driver.execute_script("return document.querySelector('.fields dd:last-of-type').textContent")
    for class_name in page.questions()[:n_answers]:
        time.sleep(SECONDS_AN_ANSWER)
        page.press(truth[product_id][class_name][0])


def _look(driver: webdriver.Chrome, size: Mapping[str, object], *, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", dict(size))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def _save(driver: webdriver.Chrome, path: Path) -> None:
    time.sleep(SETTLE_SECONDS)
    path.parent.mkdir(parents=True, exist_ok=True)
    driver.save_screenshot(str(path))


if __name__ == "__main__":
    sys.exit(main())
