"""Images decoded together become what each becomes alone, and none of them harms another."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from service.decoding import N_TOGETHER, Decoders
from service.features.image import decode_image

SIZE = 32


def picture(shade: int, width: int = 40, height: int = 24) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (shade, 255 - shade, 90)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    made = Decoders(2)
    yield made
    made.close()


def test_every_image_of_many_requests_at_once_comes_back_to_its_place(decoders: Decoders) -> None:
    n_images = 2 * 2 * N_TOGETHER + 3  # more than is under way at once
    large = {10 * number: picture(number) if number % 7 else b"torn" for number in range(n_images)}
    small = [{3: picture(200 + number)} for number in range(20)]

    async def together() -> list[tuple[dict[int, np.ndarray], dict[int, str]]]:
        return await asyncio.gather(*(decoders.decode(images, SIZE) for images in (large, *small)))

    for images, (pixels, unreadable) in zip((large, *small), asyncio.run(together()), strict=True):
        assert sorted([*pixels, *unreadable]) == sorted(images)
        assert sorted(unreadable) == [key for key, content in images.items() if content == b"torn"]
        for key, found in pixels.items():
            np.testing.assert_array_equal(found, decode_image(images[key], SIZE))


def test_a_request_without_images_asks_for_nothing(decoders: Decoders) -> None:
    assert asyncio.run(decoders.decode({}, SIZE)) == ({}, {})
