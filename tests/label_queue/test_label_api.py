"""The label queue over HTTP: the bodies that scripts rely on."""

from __future__ import annotations

import json

import httpx
from hypothesis import strategies as st
from starlette.testclient import TestClient

from service.label_queue.store import LabelQueue
from tests.label_queue.labelling import LABEL, RECORD, Clock, labelling_app, lease, submit
from tests.label_queue.queue_samples import LEASE, NOON, make_cohort, make_question, make_task
from tests.tiny_bundle import CLASSES


def test_a_lease_has_the_body_that_scripts_rely_on(client: TestClient) -> None:
    body = lease(client)

    assert set(body) == {"lease_token", "expires_at", "tasks"}
    assert body["expires_at"] == "2026-11-23T12:15:00Z"
    assert body["tasks"] == [
        {
            "task_id": "t1",
            "product": RECORD,
            "questions": [
                {"class": "black", "probability": 0.48, "reason": "doubt"},
                {"class": "kids", "probability": 0.48, "reason": "doubt"},
            ],
            "model_version": "v1",
        }
    ]


def test_a_script_of_the_data_team_drains_the_queue(client: TestClient) -> None:
    while (leased := lease(client, limit=1))["tasks"]:
        labels = [
            {"task_id": task["task_id"], "answers": {question["class"]: "yes" for question in task["questions"]}}
            for task in leased["tasks"]
        ]
        assert submit(client, *labels, lease_token=leased["lease_token"]).json() == {"accepted": 1}

    stats = client.get("/label-queue/stats").json()
    assert stats == {
        "open": 0, "leased": 0, "lapsed": 0, "completed": 2, "withdrawn": 0, "questions": 4, "answers": 4,
        "conflicts": 0, "agreement": None, "oldest_open_seconds": None, "newest_answer_at": "2026-11-23T12:00:00Z",
        "annotators": [],
    }  # fmt: skip


def test_answers_and_a_skip_go_in_one_submission(client: TestClient) -> None:
    token = lease(client, limit=2)["lease_token"]
    answers = {"task_id": "t1", "answers": {"black": "yes", "kids": "unsure"}}

    response = submit(client, answers, {"task_id": "t2", "skip": "image missing"}, lease_token=token)

    assert response.json() == {"accepted": 2}
    stats = client.get("/label-queue/stats").json()
    assert (stats["completed"], stats["withdrawn"]) == (1, 1)


def test_a_look_is_paged_and_changes_nothing(client: TestClient) -> None:
    first = client.get("/label-queue", params={"limit": 1}).json()
    second = client.get("/label-queue", params={"limit": 1, "cursor": first["next_cursor"]}).json()

    assert [task["task_id"] for task in first["tasks"] + second["tasks"]] == ["t1", "t2"]
    assert set(first["tasks"][0]) == {"task_id", "product", "questions", "model_version"}
    assert second["next_cursor"] is None
    assert client.get("/label-queue/stats").json()["open"] == 2


def test_a_look_as_json_lines_has_a_task_a_line_and_the_next_page_in_a_header(client: TestClient) -> None:
    response = client.get("/label-queue", params={"format": "jsonl", "limit": 1})

    assert response.headers["content-type"] == "application/jsonl"
    [line] = response.text.splitlines()
    assert json.loads(line)["product"] == RECORD
    following = client.get(httpx.URL(response.headers["link"].split(">")[0].lstrip("<")))
    assert json.loads(following.text)["task_id"] == "t2"
    assert "link" not in following.headers


def test_a_look_for_label_studio_has_choices_and_a_prediction(queue: LabelQueue, client: TestClient) -> None:
    likely = make_task("t3", priority=9.0, product=RECORD, classes=())
    likely = type(likely)(
        **{name: getattr(likely, name) for name in likely.__slots__}
        | {"questions": (make_question("black", positive=True), make_question("kids"))}
    )
    queue.enqueue([make_cohort(likely)], now=NOON)

    response = client.get("/label-queue", params={"format": "label-studio", "limit": 1})
    [task] = response.json()

    assert task["data"]["task_id"] == "t3"
    assert task["data"]["questions"] == [{"value": "black"}, {"value": "kids"}]
    assert "title: Black shoe" in task["data"]["text"]
    [prediction] = task["predictions"]
    assert prediction["model_version"] == "v1"
    assert prediction["result"][0]["value"] == {"choices": ["black"]}
    following, config = response.headers["link"].split(", ")
    assert following.endswith('rel="next"')
    assert config.endswith('>; rel="describedby"')
    assert "$questions" in client.get(httpx.URL(config.split(">")[0].lstrip("<"))).text


def test_filters_narrow_a_look(client: TestClient, queue: LabelQueue) -> None:
    queue.enqueue([make_cohort(make_task("t3", classes=["formal"], weight=9.0))], now=NOON)

    by_class = client.get("/label-queue", params={"class": "formal"}).json()["tasks"]
    by_score = client.get("/label-queue", params={"min_score": "5"}).json()["tasks"]

    assert [task["task_id"] for task in by_class] == [task["task_id"] for task in by_score] == ["t3"]


def test_extending_and_releasing_answer_what_they_did(client: TestClient, clock: Clock) -> None:
    token = lease(client)["lease_token"]
    clock.now = NOON + LEASE / 2
    body = {"annotator": "ann", "lease_token": token}

    extended = client.post("/label-queue/extend", json=body).json()
    with_tasks = client.post("/label-queue/extend", json={**body, "with_tasks": True}).json()
    released = client.post("/label-queue/release", json=body).json()

    assert extended == {"lease_token": token, "expires_at": "2026-11-23T12:22:30Z", "task_ids": ["t1"]}
    assert [question["class"] for question in with_tasks["tasks"][0]["questions"]] == ["black", "kids"]
    assert released == {"released": 1}


def test_a_second_opinion_is_leased_on_request(client: TestClient) -> None:
    submit(client, {"task_id": "t1", "answers": {"black": "yes", "kids": "no"}})

    response = client.post("/label-queue/lease", json={"annotator": "ben", "limit": 1, "overlap": 2})

    assert [task["task_id"] for task in response.json()["tasks"]] == ["t1"]


def test_a_conflict_shows_who_said_what(client: TestClient) -> None:
    submit(client, {"task_id": "t1", "answers": {"black": "yes"}})
    submit(client, {"task_id": "t1", "answers": {"black": "no"}}, annotator="ben")

    [task] = client.get("/label-queue", params={"state": "conflict"}).json()["tasks"]

    assert [question["answers"] for question in task["questions"]] == [{"ann": "yes", "ben": "no"}]


def test_a_repeated_submission_with_its_key_is_accepted_once(client: TestClient) -> None:
    label = {"task_id": "t1", "answers": {"black": "yes"}}
    submit(client, label, key="k1")

    again = submit(client, label, key="k1")
    other = submit(client, {"task_id": "t1", "answers": {"black": "no"}}, key="k1")

    assert (again.status_code, again.json()) == (200, {"accepted": 1})
    assert (other.status_code, other.json()["title"]) == (422, "idempotency key reused")


def test_answers_to_any_class_of_the_taxonomy_are_welcome(client: TestClient) -> None:
    assert submit(client, {"task_id": "t1", "answers": {CLASSES[-1]: "yes"}}).status_code == 200
    assert submit(client, {"task_id": "t1", "answers": {"nonsense": "yes"}}).status_code == 422


def test_a_product_is_deleted_by_its_id_whatever_characters_that_has(client: TestClient) -> None:
    assert client.delete("/label-queue/products/p/1").json() == {"deleted": 1}
    assert client.delete("/label-queue/products/p%2F1").json() == {"deleted": 0}
    assert [task["task_id"] for task in client.get("/label-queue").json()["tasks"]] == ["t2"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["annotator", "lease_token", "labels", "limit", "task_id", "task_ids", "answers", "skip"])


def test_without_a_bundle_asked_classes_can_be_answered(queue: LabelQueue, clock: Clock) -> None:
    queue.enqueue([make_cohort(make_task("t1"))], now=NOON)
    client = TestClient(labelling_app(queue, None, now=clock))

    assert submit(client, LABEL).json() == {"accepted": 1}


def test_the_page_allows_no_script_style_or_host_but_its_own(client: TestClient) -> None:
    response = client.get("/label")

    policy = response.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "img-src 'self' data:;" in policy
    assert "unsafe" not in policy
    assert "<style" not in response.text
    assert "onclick" not in response.text
