"""`POST /classify` in process: what is answered, by which bundle, and what is counted."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from service.bundles.bundle import read_bundle
from service.bundles.bundle_store import BundleStore
from service.ensemble import Ensemble
from service.features.encoder import Encoder, collate
from service.features.image import decode_image
from tests.posting import picture, post, post_text, results
from tests.served import Backend, serving
from tests.tiny_bundle import CLASSES, EXAMPLE, FIELDS, IMAGE_SIZE, PRIORS, write_tiny_bundle

SECRET = "do-not-repeat-me"


def test_the_answer_is_what_the_ensemble_says(client: TestClient, backend: Backend, bundle_store: BundleStore) -> None:
    image = picture("orange")

    response = post(client, {**EXAMPLE, "image": image}, {"product_id": "2", "price": 12})

    bundle = read_bundle(bundle_store.load())
    encoder = Encoder(bundle.encoding)
    pixels = decode_image(base64.b64decode(image), IMAGE_SIZE)
    encoded = [
        encoder.encode(FIELDS.product(EXAMPLE), pixels),
        encoder.encode(FIELDS.product({"product_id": "2", "price": 12}), None),
    ]
    expected = Ensemble(bundle).predict(collate(encoded)).probabilities
    answers = results(response)
    assert [answer["product_id"] for answer in answers] == ["sku-1", "2"]
    for answer, probabilities in zip(answers, expected, strict=True):
        assert list(answer["probabilities"]) == list(CLASSES)
        assert list(answer["probabilities"].values()) == pytest.approx(probabilities.tolist(), abs=1e-6)
    assert answers[0]["abstained"] == []
    assert answers[1]["abstained"] == ["words", "pixels"]


def test_positive_are_the_classes_that_reach_their_threshold(client: TestClient) -> None:
    (answer,) = results(post(client, {"product_id": "nothing known"}))

    assert list(answer["probabilities"].values()) == pytest.approx(PRIORS, abs=1e-6)
    assert answer["positive"] == ["womens"]  # 0.5 against 0.4; the others stay below theirs


def test_more_is_said_only_when_asked_for(client: TestClient) -> None:
    (plain,) = results(post(client, EXAMPLE))
    (full,) = results(post(client, EXAMPLE, query="?detail=members,classes,embedding"))

    assert set(full) - set(plain) == {"members", "classes", "embedding"}
    assert {name: full[name] for name in plain} == plain
    assert full["members"]["pixels"] is None
    assert plain["uncertainty"] == max(scores["uncertainty"] for scores in full["classes"].values())
    assert plain["disagreement"] == max(scores["disagreement"] for scores in full["classes"].values())


def test_an_image_that_cannot_be_decoded_is_reported_and_the_rest_answers(client: TestClient) -> None:
    torn = base64.b64encode(base64.b64decode(picture())[:60]).decode()

    with_torn, without = results(post(client, {**EXAMPLE, "image": torn}, EXAMPLE))

    assert with_torn.pop("warnings") == [
        {"field": "image", "detail": "the image cannot be decoded; send a complete JPEG, PNG or WebP"}
    ]
    assert with_torn == without


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_an_image_changes_the_answer(client: TestClient, file_format: str) -> None:
    with_image, without = results(post(client, {**EXAMPLE, "image": picture(file_format=file_format)}, EXAMPLE))

    assert "warnings" not in with_image
    assert with_image["probabilities"] != without["probabilities"]


def test_the_same_id_may_come_twice(client: TestClient) -> None:
    first, second = results(post(client, EXAMPLE, EXAMPLE))

    assert first == second


def test_null_and_a_missing_field_are_the_same(client: TestClient) -> None:
    nulls = dict.fromkeys(FIELDS.columns, None)

    with_nulls, without = results(post(client, {**nulls, "product_id": "a"}, {"product_id": "a"}))

    assert with_nulls == without


def test_a_category_may_be_a_list_or_separated(client: TestClient) -> None:
    separated, listed = results(
        post(
            client,
            {"product_id": "a", "merchant_category": "Shoes,Sale"},
            {"product_id": "a", "merchant_category": ["Shoes", "Sale"]},
        )
    )

    assert separated == listed


def test_256_products_are_answered_in_order(client: TestClient) -> None:
    response = post(client, *({"product_id": str(n), "price": n} for n in range(256)))

    assert [answer["product_id"] for answer in results(response)] == [str(n) for n in range(256)]


def test_an_answer_does_not_depend_on_what_it_was_batched_with(client: TestClient) -> None:
    products = [{**EXAMPLE, "product_id": str(n), "price": n * 1.5, "title": "boots " * n} for n in range(100)]

    together = results(post(client, *products))

    for product, answer in list(zip(products, together, strict=True))[::9]:
        (alone,) = results(post(client, product))
        assert list(alone["probabilities"].values()) == pytest.approx(list(answer["probabilities"].values()), abs=1e-6)


def test_before_a_bundle_is_promoted_the_answer_is_503(bundle_store: BundleStore, tmp_path: Any) -> None:
    with serving(tmp_path / "bentoml") as backend:
        response = post(backend.client, EXAMPLE)

    assert (response.status_code, response.json()["title"]) == (503, "no bundle")
    assert response.headers["retry-after"] == "5"


def test_a_damaged_bundle_is_not_served(bundle_store: BundleStore, tiny_bundle: Any, tmp_path: Any) -> None:
    bundle_store.promote(bundle_store.save(tiny_bundle))
    with (bundle_store.load() / "golden.npz").open("ab") as golden:
        golden.write(b"!")

    with serving(tmp_path / "bentoml") as backend:
        assert not backend.classifier.ready
        assert post(backend.client, EXAMPLE).status_code == 503


def test_a_refused_bundle_leaves_the_served_one_in_place(backend: Backend, tmp_path: Any) -> None:
    write_tiny_bundle(tmp_path / "worse", version="tiny-2", seed=1)
    (tmp_path / "worse" / "ensemble.onnx").write_bytes(b"")

    with pytest.raises(Exception, match="not the file the manifest names"):
        backend.classifier.load(tmp_path / "worse")

    assert post(backend.client, EXAMPLE).json()["model_version"] == "tiny-1"


def test_a_newly_loaded_bundle_answers_from_then_on(backend: Backend, tmp_path: Any) -> None:
    write_tiny_bundle(tmp_path / "next", version="tiny-2", seed=1)
    before = post(backend.client, EXAMPLE).json()

    backend.classifier.load(tmp_path / "next")

    after = post(backend.client, EXAMPLE).json()
    assert (before["model_version"], after["model_version"]) == ("tiny-1", "tiny-2")
    assert before["results"][0]["probabilities"] != after["results"][0]["probabilities"]
    assert backend.number("winnow_model_info", version="tiny-1", taxonomy=_taxonomy(backend)) == 0
    assert backend.number("winnow_model_info", version="tiny-2", taxonomy=_taxonomy(backend)) == 1


def test_no_answer_can_be_taken_for_a_page(client: TestClient) -> None:
    answers = [
        post(client, EXAMPLE),
        post(client, {"title": "without an id"}),
        client.post("/classify", content=b"x" * 10),
    ]

    assert [answer.status_code for answer in answers] == [200, 422, 415]
    assert {answer.headers["x-content-type-options"] for answer in answers} == {"nosniff"}
    assert not any("content-security-policy" in answer.headers for answer in answers)


def test_requests_products_and_images_are_counted(client: TestClient, backend: Backend) -> None:
    post(client, EXAMPLE, EXAMPLE)
    post(client, {**EXAMPLE, "image": "aGVsbG8="})
    post(client, {"title": "without an id"})
    client.get("/no/such/path")

    assert backend.number("winnow_requests_total", route="/classify", outcome="ok") == 2
    assert backend.number("winnow_requests_total", route="/classify", outcome="refused") == 1
    assert backend.number("winnow_requests_total", route="other", outcome="refused") == 1
    assert backend.number("winnow_request_products_sum") == 3
    assert backend.number("winnow_batch_products_count") == 2
    assert backend.number("winnow_unreadable_images_total") == 1


def _taxonomy(backend: Backend) -> str:
    return backend.classifier.served.manifest.taxonomy.version


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)
products = st.dictionaries(st.sampled_from(FIELDS.columns) | st.text(max_size=5), json_values, max_size=8)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.fixed_dictionaries({"products": st.lists(products, max_size=4)}) | json_values)
def test_whatever_is_posted_is_answered_or_refused_never_failed(client: TestClient, body: object) -> None:
    response = post_text(client, json.dumps(body))

    assert response.status_code in {200, 400, 422}
    if response.status_code != 200:
        assert set(response.json()) >= {"type", "title", "status", "detail"}
