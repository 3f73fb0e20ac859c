"""Images by URL through `/classify`: a fetched image answers as a posted one, and a failed fetch fails nothing."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from service.bundles.bundle_store import BundleStore
from service.contracts import FieldSpec
from service.image_fetch import OUTCOMES, ImageFetcher
from service.image_urls import SUFFIX, WHY, ImageUrls
from service.label_queue.reading import Filters
from service.label_queue.store import open_store
from tests.image_host import NAME, Certificate, image_host, make_certificate, trusting
from tests.posting import picture, post, results
from tests.served import Backend, serving
from tests.tiny_bundle import EXAMPLE, FIELDS

FOUND = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
BesideShop = Callable[..., AbstractContextManager[tuple[Backend, str]]]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@contextmanager
def shop(certificate: Certificate, response: bytes) -> Iterator[int]:
    """A shop's image host that gives one answer to everything; its port."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(response)

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(image_host(certificate, answer)) as host,
    ):
        yield host.port


@pytest.fixture
def beside_shop(bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path, certificate: Certificate) -> BesideShop:
    """Starts the service, allowed to fetch from a shop that gives one answer; with a URL there."""
    bundle_store.promote(bundle_store.save(tiny_bundle))

    @contextmanager
    def start(response: bytes, **changes: Any) -> Iterator[tuple[Backend, str]]:
        with shop(certificate, response) as port:
            fetcher = trusting(certificate, port, **changes)
            with serving(tmp_path / "bentoml", fetcher=fetcher) as backend:
                yield backend, f"https://{NAME}:{port}/p/1.png"

    return start


def test_an_image_by_url_is_answered_as_the_same_image_posted(beside_shop: BesideShop) -> None:
    content = base64.b64decode(picture("orange"))
    with beside_shop(FOUND % len(content) + content) as (
        backend,
        url,
    ):
        by_url, posted, both = results(
            post(
                backend.client,
                {**EXAMPLE, "image_url": url},
                {**EXAMPLE, "image": picture("orange")},
                {**EXAMPLE, "image": picture("orange"), "image_url": url},
            )
        )

        assert by_url == posted == both
        assert "warnings" not in by_url
        assert (
            backend.number("winnow_image_fetches_total", outcome="fetched") == 1
        )  # a posted image is not fetched again


def test_a_product_waits_for_labelling_with_the_image_that_its_url_gave(
    beside_shop: BesideShop, tmp_path: Path
) -> None:
    content = base64.b64decode(picture("orange"))
    with beside_shop(FOUND % len(content) + content) as (backend, url):
        post(backend.client, {**EXAMPLE, "image_url": url})

    queue = open_store(f"sqlite:///{tmp_path / 'bentoml' / 'winnow.sqlite3'}", lease_seconds=60)
    (task,) = queue.look(Filters(), limit=2, now=datetime.now(UTC)).tasks
    queue.close()
    assert (task.product["image"], task.product["image_url"]) == (picture("orange"), url)


@pytest.mark.parametrize(
    ("response", "outcome", "detail"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "not_found", "the URL leads to nothing"),
        (b"HTTP/1.1 500 Oh no\r\nContent-Length: 0\r\n\r\n", "failed", "the URL could not be fetched"),
        (b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", "refused",
         "the URL is not followed: only https URLs of the allowed hosts are, without redirects"),
        (FOUND % 3_000_000, "too_large", "the URL leads to an image that is too large"),
        (b"no HTTP at all", "failed", "the URL could not be fetched"),
        (FOUND % 4 + b"junk", "fetched", "the image cannot be decoded; send a complete JPEG, PNG or WebP"),
    ],
)  # fmt: skip
def test_a_url_that_gives_no_image_is_reported_and_the_rest_answered(
    beside_shop: BesideShop, response: bytes, outcome: str, detail: str
) -> None:
    with beside_shop(response) as (backend, url):
        by_url, without = results(post(backend.client, {**EXAMPLE, "image_url": url}, EXAMPLE))

        assert by_url.pop("warnings") == [{"field": "image_url", "detail": detail}]
        assert by_url == without
        assert backend.number("winnow_image_fetches_total", outcome=outcome) == 1


def test_a_host_that_is_silent_costs_its_time_and_not_the_answer(beside_shop: BesideShop) -> None:
    with beside_shop(FOUND % 10, timeout_seconds=0.05) as (backend, url):
        [answer] = results(post(backend.client, {**EXAMPLE, "image_url": url}))

        assert answer["warnings"][0]["field"] == "image_url"
        assert answer["abstained"] == ["pixels"]


def test_images_by_url_are_off_unless_a_host_is_allowed(backend: Backend) -> None:
    response = post(backend.client, {**EXAMPLE, "image_url": "https://cdn.shop.example/1.jpg"})

    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "image_url"
    assert "image_url" not in product_properties(backend.client.get("/openapi.json"))


def test_what_may_be_given_by_url_is_documented(bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle_store.promote(bundle_store.save(tiny_bundle))
    with serving(tmp_path / "bentoml", WINNOW_IMAGE_HOSTS="cdn.shop.example, *.img.example") as backend:
        schema = product_properties(backend.client.get("/openapi.json"))["image_url"]
        page = backend.client.get("/docs")

        assert (schema["type"], schema["maxLength"]) == (["string", "null"], 2048)
        assert "<code>image_url</code>" in page.text
        assert (
            "img-src 'self' data: https://*.img.example https://cdn.shop.example;"
            in page.headers["content-security-policy"]
        )


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "https://[::1]/", "", "https://cdn.shop.example@127.0.0.1/"])
def test_a_url_that_may_not_be_followed_is_no_error_of_the_request(
    bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path, url: str
) -> None:
    bundle_store.promote(bundle_store.save(tiny_bundle))
    with serving(tmp_path / "bentoml", WINNOW_IMAGE_HOSTS="cdn.shop.example") as backend:
        [answer] = results(post(backend.client, {**EXAMPLE, "image_url": url}))

        assert answer["warnings"][0]["detail"].startswith("the URL is not followed")
        assert backend.number("winnow_image_fetches_total", outcome="refused") == 1


def test_a_catalogue_that_has_a_column_of_that_name_keeps_it() -> None:
    images = ImageUrls(ImageFetcher([NAME]), on_fetch=lambda _: None)
    taken = FIELDS.model_copy(update={"text": (*FIELDS.text, f"image{SUFFIX}")})

    assert images.column(FIELDS) == "image_url"
    assert images.column(taken) is None
    assert images.column(FieldSpec(id="id", text=("title",))) is None


def test_images_of_all_requests_share_a_room_that_is_given_back(certificate: Certificate) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(FOUND % 600 + bytes(600))

    async def scenario() -> list[str]:
        async with image_host(certificate, answer) as host:
            fetcher = trusting(certificate, host.port, max_held_bytes=1000)
            url = [f"https://{NAME}:{host.port}/"]
            async with fetcher.fetched(url) as first, fetcher.fetched(url) as second:
                pass
            async with fetcher.fetched(url) as third:
                return [fetch.outcome for fetch in (*first, *second, *third)]

    assert asyncio.run(scenario()) == ["fetched", "no_room", "fetched"]


def test_every_outcome_without_an_image_has_its_words() -> None:
    assert set(WHY) == set(OUTCOMES) - {"fetched"}


def product_properties(response: httpx.Response) -> dict[str, Any]:
    return dict(json.loads(response.text)["components"]["schemas"]["Product"]["properties"])
