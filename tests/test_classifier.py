"""Requests at the same time: nobody's images, failures or swaps reach anybody else."""

from __future__ import annotations

import asyncio
import io
import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from service.classifier import Classification, Classifier
from service.decoding import Decoders
from service.errors import NoBundle
from service.served import FEW_PRODUCTS, MAX_KEPT_CHARACTERS, N_DECODED, Served, Shared, to_be_kept
from service.telemetry.metrics import Metrics
from tests.tiny_bundle import CLASSES, EXAMPLE, write_tiny_bundle


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(buffer, "PNG")
    return buffer.getvalue()


Pictured = tuple[dict[str, Any], bytes | None]


def product(product_id: str, *, title: str = "boots", image: bytes | None = None) -> Pictured:
    return {**EXAMPLE, "product_id": product_id, "title": title}, image


def probabilities(classification: Classification) -> list[list[float]]:
    return [row for part in classification.parts for row in part.predictions.probabilities.tolist()]


@pytest.fixture
def classifier(tiny_bundle: Path) -> Iterator[Classifier]:
    made = Classifier(batch_size=8, n_decoders=2, metrics=Metrics(CollectorRegistry()))
    made.load(tiny_bundle)
    yield made
    made.close()


async def classify(classifier: Classifier, request: list[Pictured], served: Served | None = None) -> Classification:
    images = {index: image for index, (_, image) in enumerate(request) if image is not None}
    return await classifier.classify(served or classifier.served, [record for record, _ in request], images)


def test_requests_at_once_are_answered_as_if_each_were_alone(classifier: Classifier) -> None:
    colours = ["red", "green", "blue", "black"]
    requests = [
        [
            product(f"{r}-{n}", title=f"{colours[r % 4]} dress", image=picture(colours[n % 4]) if n % 3 else b"torn")
            for n in range(r % 5 + 1)
        ]
        for r in range(20)
    ]

    async def together() -> list[Classification]:
        return await asyncio.gather(*(classify(classifier, request) for request in requests))

    async def one_by_one() -> list[Classification]:
        return [await classify(classifier, request) for request in requests]

    for at_once, alone, request in zip(asyncio.run(together()), asyncio.run(one_by_one()), requests, strict=True):
        for one, other in zip(probabilities(at_once), probabilities(alone), strict=True):
            assert one == pytest.approx(other, abs=1e-6)
        assert sorted(at_once.unreadable) == [n for n in range(len(request)) if n % 3 == 0]


def test_every_image_of_a_large_request_comes_back_to_its_product(classifier: Classifier) -> None:
    n_products = 2 * N_DECODED + 3  # more than two threads decode together
    images = [picture("red"), picture("blue"), b"torn", None]
    request = [product(str(n), image=images[n % 7 % 4]) for n in range(n_products)]

    together = asyncio.run(classify(classifier, request))
    of_image = [probabilities(asyncio.run(classify(classifier, [product("x", image=image)])))[0] for image in images]

    assert sorted(together.unreadable) == [n for n in range(n_products) if n % 7 % 4 == 2]
    for n, found in enumerate(probabilities(together)):
        assert found == pytest.approx(of_image[n % 7 % 4], abs=1e-6)


def test_a_request_is_answered_by_the_bundle_it_began_with(classifier: Classifier, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "next", version="tiny-2", seed=1)
    request = [product(str(n), image=picture("red")) for n in range(20)]

    async def swap_meanwhile() -> tuple[Classification, Classification]:
        begun = classifier.served
        running = asyncio.create_task(classify(classifier, request, begun))
        await asyncio.to_thread(classifier.load, tmp_path / "next")
        return await running, await classify(classifier, request)

    before, after = asyncio.run(swap_meanwhile())

    assert (before.served.manifest.version, after.served.manifest.version) == ("tiny-1", "tiny-2")
    assert all(row == pytest.approx(probabilities(before)[0], abs=1e-6) for row in probabilities(before))
    assert probabilities(before)[0] != pytest.approx(probabilities(after)[0], abs=1e-3)


def n_counted(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("winnow_probabilities_total", {"class": CLASSES[0], "le": "+Inf"})


def test_all_that_a_bundle_classified_is_counted_when_another_takes_over(tiny_bundle: Path, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    classifier = Classifier(batch_size=8, n_decoders=1, metrics=Metrics(registry))
    classifier.load(tiny_bundle)
    begun = classifier.served
    request = [product(str(n)) for n in range(3)]

    asyncio.run(classify(classifier, request))
    for seed in (1, 2):
        write_tiny_bundle(tmp_path / f"{seed}", version=f"tiny-{seed}", seed=seed)
        classifier.load(tmp_path / f"{seed}")
        asyncio.run(classify(classifier, request))
    classifier.tick()
    at_the_tick = n_counted(registry)
    asyncio.run(classify(classifier, request, begun))

    assert (at_the_tick, n_counted(registry)) == (9, 12)
    classifier.close()


def test_all_that_was_classified_before_the_end_is_counted(tiny_bundle: Path) -> None:
    registry = CollectorRegistry()
    classifier = Classifier(batch_size=8, n_decoders=1, metrics=Metrics(registry))
    classifier.load(tiny_bundle)
    asyncio.run(classify(classifier, [product("1"), product("2")]))

    classifier.close()

    assert n_counted(registry) == 2


@pytest.fixture
def ended() -> ThreadPoolExecutor:
    """The thread of the graph, which takes no more work and says so."""
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    return executor


def served_by(directory: Path, inference: ThreadPoolExecutor, decoders: Decoders) -> Served:
    metrics = Metrics(CollectorRegistry())
    return Served(
        directory, Shared(batch_size=16, device="cpu", inference=inference, decoders=decoders, metrics=metrics)
    )


@pytest.mark.parametrize(
    ("n_products", "image", "is_answered"),
    [(1, None, True), (FEW_PRODUCTS, None, True), (FEW_PRODUCTS + 1, None, False), (1, picture("red"), False)],
)
def test_the_graph_of_few_products_without_pictures_needs_no_thread(
    tiny_bundle: Path, ended: ThreadPoolExecutor, n_products: int, image: bytes | None, is_answered: bool
) -> None:
    decoders = Decoders(1, on_decoded=lambda _: None)
    served = served_by(tiny_bundle, ended, decoders)
    records = [product(str(number))[0] for number in range(n_products)]

    with nullcontext() if is_answered else pytest.raises(RuntimeError, match="after shutdown"):
        parts, _ = asyncio.run(served.classify(records, {} if image is None else {0: image}))
        assert sum(len(part.answers) for part in parts) == n_products

    decoders.close()


def test_the_graph_leaves_the_event_loop_to_images_that_are_decoded(
    tiny_bundle: Path, ended: ThreadPoolExecutor
) -> None:
    go_on = threading.Event()

    def hold(_: float) -> None:
        go_on.wait(20)

    decoders = Decoders(1, on_decoded=hold)
    served = served_by(tiny_bundle, ended, decoders)
    record, image = product("1", image=picture("red"))
    assert image is not None

    async def main() -> tuple[object, object]:
        decoding = asyncio.create_task(served.classify([record], {0: image}))
        await asyncio.sleep(0)
        plain = asyncio.create_task(served.classify([record], {}))
        await asyncio.wait([plain])
        go_on.set()
        return await asyncio.gather(plain, decoding, return_exceptions=True)

    said = asyncio.run(main())

    assert ["after shutdown" in str(one) for one in said] == [True, True]
    decoders.close()


def test_without_a_bundle_there_is_nothing_to_ask() -> None:
    classifier = Classifier(batch_size=8, n_decoders=2, metrics=Metrics(CollectorRegistry()))

    assert not classifier.ready
    with pytest.raises(NoBundle, match="no model is loaded yet"):
        _ = classifier.served
    classifier.close()


def test_what_waits_for_labelling_has_the_image_that_was_classified_unless_nobody_can_see_it_or_it_is_too_large() -> (
    None
):
    large = b64encode(bytes(MAX_KEPT_CHARACTERS)).decode()
    products = [
        ({"id": "unreadable", "image": "AAAA"}, b"\0\0\0"),
        ({"id": "too large", "image": large}, bytes(MAX_KEPT_CHARACTERS)),
        ({"id": "posted", "image": "AAAA"}, b"\0\0\0"),
        ({"id": "by URL"}, b"\0\0\0\0"),
        ({"id": "too large by URL"}, bytes(MAX_KEPT_CHARACTERS)),
        ({"id": "none"}, None),
    ]

    kept = to_be_kept(products, ["the image cannot be decoded", *[None] * 5], "image")

    assert [record.get("image") for record in kept] == [None, None, "AAAA", "AAAAAA==", None, None]
    assert products[0][0]["image"] == "AAAA"  # the record itself is the caller's
    assert to_be_kept(products, [None] * 6, None) == [record for record, _ in products]
