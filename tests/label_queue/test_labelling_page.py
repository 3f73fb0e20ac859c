"""The labelling page in a real Chromium, by keyboard alone: what is typed arrives in the store."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from sqlalchemy import select

from service.bundles.bundle import read_manifest
from service.label_queue.schema import label, skip
from service.label_queue.store import LabelQueue, open_store
from tests.label_queue.browser import LabellingPage, Server, find_chromium, open_chromium
from tests.label_queue.labelling import labelling_app
from tests.label_queue.queue_samples import LEASE_SECONDS, NOON, answer, make_cohort, make_task

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


def picture() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 80), "teal").save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


FIRST = {"product_id": "p1", "title": "Teal <b>shirt</b>", "description": "Soft.", "price": 12.5, "image": picture()}
SECOND = {"product_id": "p2", "title": "Plain shoe", "brand": "Nord", "price": None}


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    found = find_chromium()
    if found is None:
        if os.environ.get("REQUIRE_CHROMIUM") == "1":
            pytest.fail("REQUIRE_CHROMIUM=1, but chromium and chromedriver are not both on PATH")
        pytest.skip("no Chromium: install Debian's chromium and chromium-driver packages")
    driver = open_chromium(*found)
    yield driver
    driver.quit()


@pytest.fixture
def page_queue(sqlite_template: Path, tmp_path: Path) -> Iterator[LabelQueue]:
    queue = open_store(f"sqlite:///{tmp_path}/queue.sqlite3", lease_seconds=LEASE_SECONDS)
    first = make_task("t1", priority=9.0, classes=["black", "kids", "sale"], product=FIRST)
    queue.enqueue([make_cohort(first, make_task("t2", classes=["black", "formal"], product=SECOND))], now=NOON)
    yield queue
    queue.close()


@pytest.fixture
def server(page_queue: LabelQueue, tiny_bundle: Path) -> Iterator[Server]:
    app = labelling_app(page_queue, read_manifest(tiny_bundle), now=lambda: datetime.now(UTC))
    server = Server(app)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def page(chromium: webdriver.Chrome, server: Server) -> Iterator[LabellingPage]:
    page = LabellingPage(chromium, f"http://127.0.0.1:{server.port}")
    yield page
    complaints = page.complaints()
    chromium.get("about:blank")
    assert not [said for said in complaints if "ERR_CONNECTION_REFUSED" not in said]


def stored(queue: LabelQueue) -> dict[tuple[str, str], str]:
    with queue.database.read() as connection:
        rows = connection.execute(select(label.c.task_id, label.c.class_name, label.c.answer).order_by(label.c.id))
        return {(task_id, class_name): said for task_id, class_name, said in rows}


def annotators(queue: LabelQueue) -> set[str]:
    with queue.database.read() as connection:
        return set(connection.execute(select(label.c.annotator)).scalars())


def answer_the_last_product_while_away(page: LabellingPage, queue: LabelQueue, server: Server) -> None:
    page.sign_in()
    page.press("y", "y", "y", Keys.ENTER)
    page.until(lambda: len(stored(queue)) == 3)
    server.stop()
    page.press("y", "y", Keys.ENTER)
    page.until(lambda: "1 not sent yet" in page.text("unsent") and "cannot be reached" in page.text("start-error"))


def reopen_while_away(page: LabellingPage) -> None:
    """Load the page anew where the browser reaches the page and not the queue."""
    page.block("*/label-queue/*")
    page.open()
    page.until(lambda: "cannot be reached" in page.text("start-error"))
    assert all("ERR_BLOCKED_BY_CLIENT" in said for said in page.complaints())


def test_two_products_are_labelled_by_keyboard_alone(page: LabellingPage, page_queue: LabelQueue) -> None:
    page.sign_in()
    assert page.questions() == ["black", "kids", "sale"]

    page.press("y", "n", "u", Keys.ENTER)
    page.until(lambda: page.questions() == ["black", "formal"])
    page.press("n", "n", Keys.ENTER)
    page.until(lambda: page.showing("done"))

    expected = {("t1", "black"): "yes", ("t1", "kids"): "no", ("t1", "sale"): "unsure"}
    expected |= {("t2", "black"): "no", ("t2", "formal"): "no"}
    page.until(lambda: stored(page_queue) == expected)
    assert page_queue.stats(now=NOON).completed == 2
    assert "2 products with 5 answers" in page.text("done-text")


def test_the_product_is_shown_with_its_picture_and_its_text_as_text(page: LabellingPage) -> None:
    page.sign_in()

    page.until(lambda: page.driver.execute_script("return document.querySelector('.picture img').naturalWidth") == 60)
    assert page.driver.find_element(By.CSS_SELECTOR, ".facts h1").text == "Teal <b>shirt</b>"
    assert "Soft." in page.text("product")
    assert "12.5" in page.text("product")
    page.press("y", "n", "u", Keys.ENTER)
    page.until(lambda: "Plain shoe" in page.text("product"))
    assert "no image" in page.text("product")


def test_each_question_says_why_it_is_asked_and_what_the_model_thinks_unless_blind(page: LabellingPage) -> None:
    page.sign_in()
    seeing = page.row_texts()[0]

    page.until(lambda: "50 %" in page.meter_titles()[0])
    meters = page.meter_titles()
    page.press("b")

    assert meters[0] == "The model says 48 %; yes from 50 %"
    assert "doubt" in seeing
    assert "48 %" in seeing
    assert page.row_texts()[0].split() == ["black", "Yes", "Y", "No", "N", "Unsure", "U"]


def test_answers_move_on_and_arrows_move_back(page: LabellingPage) -> None:
    page.sign_in()

    page.press("y")
    after_one = page.marked()
    page.press(Keys.ARROW_UP, "n")

    assert after_one == ["kids"]
    assert page.given() == {"black": "no"}
    assert page.marked() == ["kids"]


def test_unsent_answers_survive_a_reload(page: LabellingPage, page_queue: LabelQueue) -> None:
    page.sign_in()
    page.press("y", "n")

    page.open()
    page.until(lambda: page.showing("work"))

    assert page.given() == {"black": "yes", "kids": "no"}
    assert page.marked() == ["sale"]
    page.press("y", Keys.ENTER)
    page.until(lambda: len(stored(page_queue)) == 3)


def test_an_answer_is_taken_back_even_after_it_was_sent(page: LabellingPage, page_queue: LabelQueue) -> None:
    page.sign_in()
    page.press("y", "n", "u", Keys.ENTER)
    page.until(lambda: len(stored(page_queue)) == 3)

    page.press("z")
    page.until(lambda: page.questions() == ["black", "kids", "sale"])
    page.press("z", "n", Keys.ENTER)

    page.until(lambda: stored(page_queue)["t1", "sale"] == "no")
    assert page_queue.stats(now=NOON).completed == 1


def test_a_product_is_skipped_with_a_reason_and_taken_back(page: LabellingPage, page_queue: LabelQueue) -> None:
    page.sign_in()
    page.press("s")
    page.until(lambda: page.showing("skip-dialog"))
    page.press("2")
    page.until(lambda: page_queue.stats(now=NOON).withdrawn == 1)
    with page_queue.database.read() as connection:
        assert connection.execute(select(skip.c.reason)).scalars().all() == ["text and image do not match"]

    page.press("z", "y", "y", "y", Keys.ENTER)

    page.until(lambda: page_queue.stats(now=NOON).completed == 1)


def test_unanswered_questions_are_pointed_out_once_before_sending(page: LabellingPage, page_queue: LabelQueue) -> None:
    page.sign_in()
    page.press("y", Keys.ENTER)
    page.until(lambda: "2 unanswered" in page.text("toast"))
    assert stored(page_queue) == {}

    page.press(Keys.ENTER)

    page.until(lambda: stored(page_queue) == {("t1", "black"): "yes"})


def test_another_class_is_one_key_away(page: LabellingPage, page_queue: LabelQueue) -> None:
    page.sign_in()
    page.press("o")
    page.until(lambda: page.showing("others-dialog"))
    page.press("footw", Keys.ENTER, Keys.ESCAPE)

    assert page.questions()[-1] == "footwear"
    page.press("n", "n", "n", Keys.ENTER)

    page.until(lambda: stored(page_queue).get(("t1", "footwear")) == "yes")


def test_what_is_answered_while_the_service_is_away_arrives_when_it_is_back(
    page: LabellingPage, page_queue: LabelQueue, server: Server
) -> None:
    page.sign_in()
    server.stop()
    page.press("y", "y", "y", Keys.ENTER)
    page.until(lambda: "1 not sent yet" in page.text("unsent"))
    assert page.questions() == ["black", "formal"]

    server.start()

    page.until(lambda: len(stored(page_queue)) == 3)
    page.until(lambda: not page.showing("unsent"))


def test_the_answer_to_the_last_product_outlives_an_outage_and_a_new_beginning(
    page: LabellingPage, page_queue: LabelQueue, server: Server
) -> None:
    answer_the_last_product_while_away(page, page_queue, server)
    page.element("annotator").clear()
    page.element("annotator").send_keys("ben", Keys.ENTER)

    server.start()
    page.driver.execute_script("document.getElementById('begin').click()")  # hidden if Enter has come through by now
    page.until(lambda: page.showing("done"))

    page.until(lambda: len(stored(page_queue)) == 5)
    assert annotators(page_queue) == {"ann"}


def test_the_answer_to_the_last_product_arrives_after_an_outage_by_itself(
    page: LabellingPage, page_queue: LabelQueue, server: Server
) -> None:
    answer_the_last_product_while_away(page, page_queue, server)

    server.start()

    page.until(lambda: len(stored(page_queue)) == 5)


def test_unsent_answers_outlive_a_beginning_while_the_queue_was_away(
    page: LabellingPage, page_queue: LabelQueue
) -> None:
    page.sign_in()
    page.press("y", "n")
    reopen_while_away(page)
    page.element("annotator").clear()
    page.element("annotator").send_keys("ben")
    page.block()

    page.press(Keys.ENTER)
    page.until(lambda: page.showing("done"))

    page.until(lambda: stored(page_queue) == {("t1", "black"): "yes", ("t1", "kids"): "no"})
    assert annotators(page_queue) == {"ann"}
    assert page.showing("done")


def test_a_beginning_under_the_same_name_goes_on_where_it_was(page: LabellingPage, page_queue: LabelQueue) -> None:
    page.sign_in()
    page.press("y", "n")
    reopen_while_away(page)
    page.block()

    page.element("begin").click()
    page.until(lambda: page.showing("work"))

    assert page.given() == {"black": "yes", "kids": "no"}
    page.press("y", Keys.ENTER)
    page.until(lambda: len(stored(page_queue)) == 3)


def test_a_product_that_somebody_else_took_over_is_said_to_be_theirs(
    page: LabellingPage, page_queue: LabelQueue
) -> None:
    page.sign_in()
    later = datetime.now(UTC).replace(year=2030)
    other = page_queue.lease(annotator="ben", n_tasks=1, now=later)

    page.press("y", "y", "y", Keys.ENTER)

    page.until(lambda: "Somebody else" in page.text("toast"))
    page_queue.submit(answer("ben", "t1", {"black": "no"}, token=other.token), now=later)
    assert stored(page_queue) == {("t1", "black"): "no"}
    assert ["409" in said for said in page.complaints()] == [True]


def test_help_opens_and_closes_by_keyboard(page: LabellingPage) -> None:
    page.sign_in()

    page.press("?")
    page.until(lambda: page.showing("help-dialog"))
    assert "The model is close to its threshold" in page.text("help-dialog")
    page.press("y", Keys.ESCAPE)

    page.until(lambda: not page.showing("help-dialog"))
    assert page.given() == {}


def test_it_works_on_a_phone_by_thumb(page: LabellingPage, page_queue: LabelQueue) -> None:
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        page.sign_in()
        for said in ("yes", "no", "unsure"):
            page.driver.find_element(By.CSS_SELECTOR, f"#thumbs .{said}").click()
        wide = page.driver.execute_script("return document.documentElement.scrollWidth > innerWidth")
        page.until(lambda: page.showing("thumb-send"))
        page.element("thumb-send").click()
        page.until(lambda: len(stored(page_queue)) == 3)
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    assert not wide
    assert stored(page_queue)["t1", "kids"] == "no"


def test_second_opinions_ask_what_others_answered(page: LabellingPage, page_queue: LabelQueue) -> None:
    for task, classes in (("t1", ["black", "kids", "sale"]), ("t2", ["black", "formal"])):
        page_queue.submit(answer("ben", task, dict.fromkeys(classes, "yes")), now=NOON)
    page.open()
    page.element("second").click()
    page.element("annotator").click()
    page.sign_in_here("ann")

    page.press("n", "n", "n", Keys.ENTER)

    page.until(lambda: page_queue.stats(now=NOON).conflicts == 3)
