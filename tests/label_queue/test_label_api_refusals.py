"""What the label queue's routes refuse, and how they say it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from service.label_queue.store import open_store
from tests.label_queue.labelling import LABEL, Clock, labelling_app, lease, submit
from tests.label_queue.queue_postgres import PostgresServer
from tests.label_queue.queue_samples import LEASE, LEASE_SECONDS, NOON, make_cohort, make_task

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["annotator", "lease_token", "labels", "limit", "task_id", "task_ids", "answers", "skip"])


def test_a_class_that_is_misspelt_is_told_from_one_that_nobody_asks_about(client: TestClient) -> None:
    served, asked_before, misspelt = (
        client.get("/label-queue", params={"class": name}) for name in ("sale", "kids", "blakc")
    )

    assert (served.status_code, served.json()["tasks"]) == (200, [])
    assert len(asked_before.json()["tasks"]) == 2  # in no served taxonomy, but older bundles asked
    assert (misspelt.status_code, misspelt.json()["errors"][0]["field"]) == (422, "class")


def test_a_name_that_is_not_known_is_answered_with_those_that_are(client: TestClient) -> None:
    problem = client.get("/label-queue", params={"klass": "black"}).json()

    assert problem["detail"].endswith("known are limit, cursor, class, state, min_score, min_age_seconds, format")
    assert "klass" not in str(problem)


def test_a_stale_token_is_a_conflict_that_names_the_tasks(client: TestClient, clock: Clock) -> None:
    token = lease(client)["lease_token"]
    clock.now = NOON + LEASE
    lease(client, "ben")

    response = submit(client, {"task_id": "t1", "answers": {"black": "yes"}}, lease_token=token)

    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.json()["title"], response.json()["task_ids"]) == ("lease lost", ["t1"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"labels": [LABEL]}, "annotator"),
        ({"annotator": "", "labels": [LABEL]}, "annotator"),
        ({"annotator": "ann\u0000", "labels": [LABEL]}, "annotator"),
        ({"annotator": "ann", "labels": []}, "labels"),
        ({"annotator": "ann", "labels": [LABEL, {"task_id": "t2"}]}, "labels[1]"),
        ({"annotator": "ann", "labels": [{**LABEL, "skip": "both"}]}, "labels[0]"),
        ({"annotator": "ann", "labels": [{"task_id": 7, "answers": {"black": "yes"}}]}, "labels[0].task_id"),
        ({"annotator": "ann", "labels": [{"task_id": "t1", "answers": {"canary": "maybe"}}]}, "labels[0].answers"),
        ({"annotator": "ann", "labels": [{"task_id": "t1", "answers": {"canary": True}}]}, "labels[0].answers"),
        ({"annotator": "ann", "labels": [{**LABEL, "canary": 1}]}, "labels[0]"),
        ({"annotator": "ann", "labels": [LABEL, LABEL]}, None),
        ({"annotator": "ann", "labels": [LABEL], "canary": "x"}, None),
        (["canary"], None),
    ],
)
def test_a_wrong_body_is_refused_naming_the_field_and_never_the_value(
    client: TestClient, body: Any, field: str | None
) -> None:
    response = client.post("/label-queue/labels", json=body)

    assert response.status_code == 422
    assert [fault["field"] for fault in response.json().get("errors", [{"field": None}])] == [field]
    assert "canary" not in response.text
    assert client.get("/label-queue/stats").json()["answers"] == 0


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "format=xml", "cursor=x", "min_score=nan", "class=%00", "colour=red"]
)
def test_a_wrong_query_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/label-queue?{query}").status_code == 422


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"annotator": "\\ud800", "limit": 1}', b"[" * 100_000])
def test_what_is_no_json_is_refused(client: TestClient, content: bytes) -> None:
    response = client.post("/label-queue/lease", content=content, headers={"content-type": "application/json"})

    assert response.status_code == 422


def test_a_whole_number_may_be_written_with_a_point(client: TestClient) -> None:
    leased = client.post("/label-queue/lease", json={"annotator": "ann", "limit": 1.0})
    refused = client.post("/label-queue/lease", json={"annotator": "ann", "limit": 1.5})

    assert (len(leased.json()["tasks"]), refused.status_code) == (1, 422)


def test_a_body_of_another_type_is_refused(client: TestClient) -> None:
    assert client.post("/label-queue/lease", data={"annotator": "ann"}).status_code == 415


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(route=st.sampled_from(["lease", "labels", "extend", "release"]), body=st.dictionaries(names, json_values))
def test_no_body_makes_the_queue_fail(client: TestClient, route: str, body: dict[str, Any]) -> None:
    assert client.post(f"/label-queue/{route}", json=body).status_code in {200, 404, 409, 422}


def test_a_store_that_is_away_answers_503_and_when_to_come_again(
    postgres_server: PostgresServer, new_url: Callable[[str], str], tiny_bundle: Path, clock: Clock
) -> None:
    queue = open_store(new_url("postgresql"), lease_seconds=LEASE_SECONDS)
    client = TestClient(labelling_app(queue, None, now=clock))
    postgres_server.stop("immediate")

    try:
        response = submit(client, LABEL)
    finally:
        postgres_server.start()

    assert (response.status_code, response.json()["title"]) == (503, "label queue unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert client.get("/label-queue/stats").json()["answers"] == 0
    queue.close()


def test_a_full_disk_answers_507_and_stores_nothing(tmp_path: Path, clock: Clock) -> None:
    queue = open_store(f"sqlite:///{tmp_path}/queue.sqlite3", lease_seconds=LEASE_SECONDS)
    tasks = [make_task(f"t{index}") for index in range(300)]
    queue.enqueue([make_cohort(*tasks)], now=NOON)
    client = TestClient(labelling_app(queue, None, now=clock))
    with queue.database.read() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")

    labels = [{"task_id": task.fingerprint, "answers": {"black": "yes", "kids": "no"}} for task in tasks]
    response = submit(client, *labels)

    assert (response.status_code, response.json()["title"]) == (507, "label queue storage full")
    assert int(response.headers["retry-after"]) > 0
    assert client.get("/label-queue/stats").json()["answers"] == 0
    queue.close()
