"""The try-it form of `/docs` in a real Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from service.bundles.bundle_store import BundleStore
from tests.label_queue.browser import find_chromium, open_chromium
from tests.server import Server, running
from tests.tiny_bundle import EXAMPLE

SECONDS = 20.0


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium: install Debian's chromium and chromium-driver packages")
    driver = open_chromium(*found)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("bentoml")
    store = BundleStore(home)
    store.promote(store.save(tiny_bundle))
    with running(home) as started:
        yield started


def classify(browser: webdriver.Chrome) -> str:
    before = browser.find_element(By.ID, "answer").text
    browser.find_element(By.CSS_SELECTOR, "#try button").click()
    WebDriverWait(browser, SECONDS).until(lambda _: browser.find_element(By.ID, "answer").text != before)
    return browser.find_element(By.ID, "answer").text


def test_the_example_is_classified_and_drawn(browser: webdriver.Chrome, server: Server) -> None:
    browser.get(f"{server.url}/docs")

    answer = classify(browser)

    assert answer.startswith("200 in ")
    assert str(EXAMPLE["product_id"]) in answer
    assert len(browser.find_elements(By.CSS_SELECTOR, "#answer .probability")) == 4
    assert len(browser.find_elements(By.CSS_SELECTOR, "#answer .positive")) == 3
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]  # nothing was missing, nothing broke the content security policy


def test_a_chosen_picture_goes_along(browser: webdriver.Chrome, server: Server, tmp_path: Path) -> None:
    Image.new("RGB", (30, 30), "red").save(tmp_path / "red.png")
    browser.get(f"{server.url}/docs")

    browser.find_element(By.ID, "picture").send_keys(str(tmp_path / "red.png"))
    body = browser.find_element(By.ID, "body")
    WebDriverWait(browser, SECONDS).until(lambda _: '"image"' in str(body.get_property("value")))

    assert "abstained" not in classify(browser)


def test_a_refusal_is_shown_as_text(browser: webdriver.Chrome, server: Server) -> None:
    browser.get(f"{server.url}/docs")
    body = browser.find_element(By.ID, "body")
    body.clear()
    body.send_keys(json.dumps({"products": [{"product_id": "a", "<b>price</b>": 3}]}))

    answer = classify(browser)

    assert "422 in " in answer
    assert "product 0, field <b>price</b>: is no field of this catalogue" in answer
