"""The whole loop on a shop of a few products: real service, real queue, real retraining."""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from service.bundles.bundle_store import BundleStore
from service.errors import CatalogueError
from tests.catalogues import write
from tests.trainings import OPTIONS, QUICK, silent, titles
from training.catalogues.catalogue import open_catalogue
from training.catalogues.tables import write_table
from training.console import loop_line, loop_table
from training.fit import train
from training.loop.client import ServiceRefused
from training.loop.loop_report import LoopReport, Round, write_loop_report
from training.loop.newcomers import rounds_with, without_class
from training.loop.rounds import LoopOptions, loop
from training.loop.shop import check_playable
from training.loop.simulate import PRODUCTS_A_REQUEST, Annotators, send
from training.retraining.gate import Policy

ANY_PROOF = Policy(level=0.5, min_products=2, min_class_answers=1, max_slowdown=100.0)


@pytest.mark.slow
def test_a_loop_serves_labels_retrains_and_reports(tmp_path: Path) -> None:
    catalogue = open_catalogue(write(tmp_path / "shop", 'text = ["title"]', titles))
    home = tmp_path / "home"
    train(catalogue, directory=tmp_path / "draft", options=QUICK, progress=silent)
    store = BundleStore(home)
    store.promote(store.save(tmp_path / "draft"))
    seen: list[Round] = []

    report = loop(
        catalogue,
        home=home,
        options=LoopOptions(n_rounds=2, n_tasks=10, n_questions=2, retraining=OPTIONS),
        inherited=os.environ,
        progress=silent,
        policy=ANY_PROOF,
        on_round=seen.append,
    )

    page = write_loop_report(tmp_path / "report.html", report).read_text()
    assert page.count("<svg") == 3
    assert f"{report.answers}</b>" in page
    assert [one.number for one in report.rounds] == [0, 1, 2]
    assert tuple(seen) == report.rounds
    for one in report.rounds[1:]:
        assert (one.requests_sent, one.requests_failed) == (1, 0)
        n_again = one.products_opened - 10  # for a second opinion on an answer that surprised
        assert 0 <= n_again <= one.answers - 20 <= 4
        assert one.verdict is not None
        assert one.promoted == one.verdict.promote
    served = [one.served for one in report.rounds]
    for (before, after), one in zip(pairwise(served), report.rounds[1:], strict=True):
        assert (before != after) == one.promoted
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["rounds"][1]["failures"] == {}
    assert set(document["rounds"][1]) >= {
        "answers", "products_opened", "test_macro_ap", "requests_sent", "requests_failed", "promoted",
    }  # fmt: skip


@pytest.mark.slow
def test_a_class_that_nobody_has_seen_appears_in_the_second_round_and_is_handled_by_the_next_bundle(
    tmp_path: Path,
) -> None:
    catalogue = without_class(open_catalogue(write(tmp_path / "shop", 'text = ["title"]', titles)), "lamp")
    home = tmp_path / "home"
    train(catalogue, directory=tmp_path / "draft", options=QUICK, progress=silent)
    store = BundleStore(home)
    store.promote(store.save(tmp_path / "draft"))

    report = loop(
        catalogue,
        home=home,
        options=LoopOptions(n_rounds=2, n_tasks=40, n_questions=4, retraining=OPTIONS, unseen_class="lamp"),
        inherited=os.environ,
        progress=silent,
        policy=ANY_PROOF,
    )

    before, after = (one.newcomers for one in report.rounds[1:])
    assert before is not None
    assert after is not None
    assert (before.share_of_traffic, before.share_of_queue, before.uncertainty) == (0.0, 0.0, None)
    assert after.share_of_traffic > 0.2
    assert after.lift is not None
    assert after.lift > 0.9
    assert "lamp" in write_loop_report(tmp_path / "report.html", report).read_text()


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        (
            'merchant_labels = "train.labels.parquet"',
            r"\[train\] of shop names no merchant_labels; add",
        ),
        ('truth = "test.labels.parquet"', r"\[test\] of shop names no truth; add truth"),
        ('truth = "stream.labels.parquet"', r"\[stream\] of shop names no truth; add truth"),
        ("[stream]", "the catalogue 'shop' has no stream part"),
    ],
)
def test_what_the_loop_needs_is_missed_before_anything_is_read(tmp_path: Path, absent: str, said: str) -> None:
    toml = write(tmp_path / "shop", 'text = ["title"]', titles) / "catalogue.toml"
    whole = toml.read_text()
    toml.write_text(whole[: whole.index(absent)] if absent == "[stream]" else whole.replace(absent, ""))

    with pytest.raises(CatalogueError, match=said):
        check_playable(open_catalogue(toml), n_rounds=4)


def test_a_loop_of_more_rounds_than_the_stream_has_products_for_is_refused(tmp_path: Path) -> None:
    catalogue = open_catalogue(write(tmp_path / "shop", 'text = ["title"]', titles))

    check_playable(catalogue, n_rounds=20)
    with pytest.raises(CatalogueError, match=r"\[stream\] of shop has fewer than 2 products a round; ask for fewer"):
        check_playable(catalogue, n_rounds=21)


def test_a_part_without_products_is_missed_before_it_is_read(tmp_path: Path) -> None:
    toml = write(tmp_path / "shop", 'text = ["title"]', titles) / "catalogue.toml"
    write_table(tmp_path / "shop" / "test.csv", {"sku": [], "title": []})
    toml.write_text(toml.read_text().replace("test.parquet", "test.csv"))

    with pytest.raises(CatalogueError, match=r"\[test\] of shop has no products; fill its table test.csv"):
        open_catalogue(toml).check_filled("test", "truth")


class FaultyService(BaseHTTPRequestHandler):
    """Answers the first request with 503 and the second not at all, and gives any other an empty answer."""

    turns: Iterator[int]

    def do_POST(self) -> None:
        """Answer one request."""
        self.rfile.read(int(self.headers["content-length"]))
        turn = next(self.turns)
        if turn == 1:
            self.close_connection = True
            return
        body = b'{"results": []}'
        self.send_response(503 if turn == 0 else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the standard library's name
        """Say nothing."""


def test_requests_that_fail_are_counted_by_their_reason() -> None:
    FaultyService.turns = itertools.count()
    with ThreadingHTTPServer(("127.0.0.1", 0), FaultyService) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever, 0.05)
        records = [{"sku": str(row)} for row in range(4 * PRODUCTS_A_REQUEST)]

        traffic = send(f"http://127.0.0.1:{server.server_port}", records, classes=("mug",), max_body_bytes=10_000)

        server.shutdown()
    assert traffic.n_sent == 4
    assert traffic.failures == {"status 503": 1, "RemoteDisconnected": 1}


class SmallService(BaseHTTPRequestHandler):
    """Answers yes to all products, and refuses a body that is too large, or in which a title is "odd"."""

    max_body_bytes = 600
    n_bytes: list[int]  # of every body

    def do_POST(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.n_bytes.append(len(body))
        if len(body) > self.max_body_bytes:
            self._answer(413, {"title": "request body too large", "detail": "send less at one time"})
            return
        if any(product.get("title") == "odd" for product in json.loads(body)["products"]):
            self._answer(422, {"title": "invalid product", "detail": "a product is odd"})
            return
        result = {"positive": ["mug"], "uncertainty": 0.5, "disagreement": 0.1}
        self._answer(200, {"results": [result for _ in json.loads(body)["products"]]})

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the standard library's name
        """Say nothing."""


@pytest.fixture
def small_service() -> Iterator[str]:
    """The address of a service that reads little of a request."""
    SmallService.n_bytes = []
    with ThreadingHTTPServer(("127.0.0.1", 0), SmallService) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever, 0.05)
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_requests_are_no_larger_than_the_service_reads(small_service: str) -> None:
    photos = [bytes(size) for size in range(0, 400, 7)]
    records = [{"sku": str(row), "title": "é", "photo": photo} for row, photo in enumerate(photos)]

    traffic = send(small_service, records, classes=("mug",), max_body_bytes=SmallService.max_body_bytes)

    assert traffic.failures == {}
    assert traffic.positive.all()
    assert len(traffic.positive) == len(records)
    assert traffic.n_sent == len(SmallService.n_bytes) < len(records)
    assert max(SmallService.n_bytes) <= SmallService.max_body_bytes


def test_a_product_that_is_larger_than_the_service_reads_goes_alone(small_service: str) -> None:
    records: list[dict[str, object]] = [{"sku": "0"}, {"sku": "1", "photo": bytes(600)}, {"sku": "2"}]

    traffic = send(small_service, records, classes=("mug",), max_body_bytes=SmallService.max_body_bytes)

    assert traffic.failures == {"status 413": 1}
    assert traffic.positive[:, 0].tolist() == [True, False, True]


def test_a_product_that_is_refused_takes_no_other_with_it(small_service: str) -> None:
    titles = ["odd" if row in {0, 5} else "mug" for row in range(13)]
    records = [{"sku": str(row), "title": title} for row, title in enumerate(titles)]

    traffic = send(small_service, records, classes=("mug",), max_body_bytes=SmallService.max_body_bytes)

    assert traffic.answered.tolist() == traffic.positive[:, 0].tolist() == [title == "mug" for title in titles]
    assert traffic.failures == {"status 422": 2}


def test_a_product_whose_request_failed_is_in_no_rate(small_service: str) -> None:
    records = [{"sku": str(row), "title": title} for row, title in enumerate(["mug", "odd", "mug", "odd"])]
    traffic = send(small_service, records, classes=("mug",), max_body_bytes=SmallService.max_body_bytes)

    precision, recall = traffic.rates(np.array([[1], [1], [0], [-1]], dtype=np.int8))

    assert (precision, recall) == (0.5, 1.0)


def test_a_round_all_of_whose_requests_fail_ends_the_loop_with_the_reason(small_service: str) -> None:
    records = [{"sku": str(row), "photo": bytes(600)} for row in range(2)]

    with pytest.raises(ServiceRefused, match=r"^all 2 requests failed; the first: POST /classify: 413 send less"):
        send(small_service, records, classes=("mug",), max_body_bytes=SmallService.max_body_bytes)


def test_a_report_says_why_requests_failed(tmp_path: Path) -> None:
    failures: tuple[dict[str, int], ...] = ({}, {"status 503": 2, "TimeoutError": 1}, {"TimeoutError": 2})
    rounds = tuple(Round(number, "shop-1", 0.5, 0, 0, 9, False, 1.0, one) for number, one in enumerate(failures))
    report = LoopReport("shop", str(tmp_path), rounds)
    console = Console(record=True, width=200, file=io.StringIO())

    console.print(loop_line(rounds[1]), loop_table(report))

    assert "3 (2 × status 503, 1 × TimeoutError) of 9 requests failed" in console.export_text(clear=False)
    assert "2 (2 × TimeoutError)" in console.export_text()
    assert "5 (3 × TimeoutError, 2 × status 503) failed" in write_loop_report(tmp_path / "r.html", report).read_text()
    assert [one["requests_failed"] for one in report.to_json()["rounds"]] == [0, 3, 2]
    assert report.to_json()["rounds"][1]["failures"] == failures[1]


def test_newcomers_wait_for_the_second_round_and_rounds_are_equally_long() -> None:
    is_newcomer = np.arange(103) % 10 == 0

    rows = rounds_with(is_newcomer, n_rounds=4, rng=np.random.default_rng(0))

    assert len({len(own) for own in rows}) == 1
    assert len(set(np.concatenate(rows).tolist())) == sum(map(len, rows)) > 90
    assert not is_newcomer[rows[0]].any()
    assert [int(is_newcomer[own].sum()) for own in rows[1:]] == [4, 4, 3]


def test_a_class_that_the_catalogue_does_not_have_is_named_with_those_it_has(tmp_path: Path) -> None:
    catalogue = open_catalogue(write(tmp_path / "shop", 'text = ["title"]', titles))

    with pytest.raises(CatalogueError, match="no class 'hat'; it has mug, lamp, boot, scarf"):
        without_class(catalogue, "hat")


def test_the_train_part_without_a_class_has_no_product_of_it(tmp_path: Path) -> None:
    catalogue = open_catalogue(write(tmp_path / "shop", 'text = ["title"]', titles))
    column = catalogue.taxonomy.classes.index("mug")

    whole, part = (one.read("train") for one in (catalogue, without_class(catalogue, "mug")))

    assert whole.merchant_labels is not None
    assert part.merchant_labels is not None
    assert len(part.products) == int((whole.merchant_labels[:, column] != 1).sum()) < len(whole.products)
    assert not (part.merchant_labels[:, column] == 1).any()


def test_annotators_err_as_often_as_they_should_and_always_in_the_same_way() -> None:
    truth = np.random.default_rng(0).integers(-1, 2, (2_000, 3)).astype(np.int8)
    ids = [str(row) for row in range(len(truth))]
    people = Annotators(ids, truth, classes=("a", "b", "c"), error_rate=0.1, seed=1)
    questions = [{"class": name} for name in "abc"]

    def answers() -> list[list[str]]:
        tasks = ({"task_id": one, "product": {"sku": one}, "questions": questions} for one in ids)
        return [list(people.labels_of(task, "sku")["answers"].values()) for task in tasks]

    first = np.array(answers())

    assert np.array_equal(first, np.array(answers()))
    assert np.all((first == "unsure") == (truth == -1))
    wrong = ((first == "yes") != (truth == 1))[truth >= 0]
    assert 0.08 < wrong.mean() < 0.12


def test_an_annotator_skips_a_product_of_which_nothing_is_known() -> None:
    people = Annotators(["1"], np.ones((1, 1), dtype=np.int8), classes=("a",), error_rate=0.0, seed=0)

    label = people.labels_of({"task_id": "t", "product": {"sku": "2"}, "questions": []}, "sku")

    assert label == {"task_id": "t", "skip": "not a product of this stream"}
