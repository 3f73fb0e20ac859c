"""Images decoded together become what each becomes alone, and none of them harms another."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from service.decoding import Decoders, Outcome
from service.features.image import decode_image

SIZE = 32


def picture(shade: int, width: int = 40, height: int = 24, *, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (shade, 255 - shade, 90)).save(buffer, file_format)
    return buffer.getvalue()


def in_scans() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 24), (200, 30, 90)).save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


def thumbnail(width: int = 40, height: int = 24) -> bytes:
    return picture(7, width, height, file_format="JPEG")


def test_images_of_batches_at_once_come_back_to_their_places() -> None:
    files = [None if n % 5 == 0 else b"torn" if n % 7 == 0 else picture(n) for n in range(60)]
    batches = [files[:30], files[30:45], files[45:]]
    turns: list[float] = []
    decoders = Decoders(2, on_decoded=turns.append)

    async def together() -> list[Outcome]:
        decoded = await asyncio.gather(*(decoders.decode(batch, SIZE) for batch in batches))
        return [outcome for batch in decoded for outcome in batch]

    outcomes = asyncio.run(together())
    decoders.close()

    for content, outcome in zip(files, outcomes, strict=True):
        if content is None:
            assert outcome is None
        elif content == b"torn":
            assert outcome == "the image cannot be decoded; send a complete JPEG, PNG or WebP"
        else:
            assert isinstance(outcome, np.ndarray)
            np.testing.assert_array_equal(outcome, decode_image(content, SIZE))
    assert len(turns) == 3


@pytest.mark.parametrize(
    ("files", "is_light"),
    [
        ([], True),
        ([thumbnail(), None, thumbnail()], True),
        ([thumbnail(400, 250)], True),
        ([thumbnail(400, 250), thumbnail(1, 1)], False),  # too many pixels together
        ([thumbnail(), picture(7)], False),  # a PNG may be anything
        ([thumbnail(), b"torn"], False),
        ([in_scans()], False),  # of which there may be hundreds
    ],
)
def test_a_few_small_jpegs_are_decoded_at_once(files: list[bytes | None], *, is_light: bool) -> None:
    decoders = Decoders(1, on_decoded=lambda _: None)

    outcomes = decoders.decode_light(files, SIZE)

    decoders.close()
    assert (outcomes is not None) == is_light
    for content, outcome in zip(files, outcomes or [], strict=is_light):
        assert (outcome is None) == (content is None)
        assert content is None or np.array_equal(np.asarray(outcome), decode_image(content, SIZE))
