"""Decoding images: what is refused, that it costs nothing to refuse it, and that threads do not meet in it."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import UnreadableImage
from service.features.image import MAX_COPY_BYTES, MAX_PIXELS, Room, decode_image
from service.features.jpeg import small_jpeg_sides


def encoded(image: Image.Image, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds no pixel."""
    header = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_an_image_is_fitted_into_a_white_square(file_format: str) -> None:
    wide = Image.new("RGB", (80, 40), (200, 30, 30))

    pixels = decode_image(encoded(wide, file_format), 16)

    assert pixels.shape == (16, 16, 3)
    assert pixels[0].min() >= 250  # white above
    np.testing.assert_allclose(pixels[8, 8], (200, 30, 30), atol=12)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    pixels = decode_image(encoded(Image.new(mode, (9, 9))), 8)

    assert pixels.shape == (8, 8, 3)


def test_what_is_transparent_is_white() -> None:
    pixels = decode_image(encoded(Image.new("RGBA", (9, 9), (0, 0, 0, 0))), 8)

    assert pixels.min() == 255


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"\xff\xd8\xff", b"<svg/>", encoded(Image.new("L", (4, 4)), "GIF")]
)
def test_what_is_no_image_of_ours_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableImage, match="send a complete JPEG, PNG or WebP"):
        decode_image(content, 8)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_a_torn_image_is_refused(file_format: str) -> None:
    whole = encoded(Image.effect_noise((64, 64), 50).convert("RGB"), file_format)

    with pytest.raises(UnreadableImage):
        decode_image(whole[: len(whole) // 2], 8)


@pytest.mark.parametrize(("width", "height"), [(MAX_PIXELS + 1, 1), (10_000, 10_000), (2**31 - 1, 2**31 - 1)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_refused_by_the_header(width: int, height: int) -> None:
    with pytest.raises(UnreadableImage):
        decode_image(png_header(width, height), 8)


@pytest.mark.parametrize(
    ("mode", "file_format", "across", "down"),
    [
        ("RGB", "WEBP", 2400, 2000),
        ("RGB", "JPEG", 4200, 3100),
        ("CMYK", "JPEG", 3200, 3000),
        ("RGBA", "PNG", 5000, 3900),
    ],
)
def test_what_would_take_too_much_memory_is_refused_by_the_header(
    mode: str, file_format: str, across: int, down: int
) -> None:
    content = encoded(Image.new(mode, (across, down)), file_format)

    with pytest.raises(UnreadableImage, match=rf"a {file_format} of {across} x {down} pixels takes more than 76000000"):
        decode_image(content, 8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_a_large_image_shrinks_to_what_a_smaller_one_of_the_same_picture_does(mode: str) -> None:
    picture = Image.radial_gradient("L").resize((2600, 1700))
    clear = Image.new("L", picture.size, 255)
    clear.paste(0, (0, 0, 900, 700))
    large = Image.merge("RGBA", (picture, picture.transpose(Image.Transpose.ROTATE_180), picture, clear)).convert(mode)
    small = large.convert("RGBA").resize((1300, 850), Image.Resampling.BOX)
    assert 4 * large.width * large.height > MAX_COPY_BYTES > 4 * small.width * small.height

    pixels = decode_image(encoded(large), 32).astype(int)

    difference = np.abs(pixels - decode_image(encoded(small), 32).astype(int))
    assert difference.mean() < 0.5
    assert np.quantile(difference, 0.99) <= 4  # the rest lies on the edge of what is transparent


def test_images_wait_for_room_and_take_turns() -> None:
    room = Room(100)
    n_held, most = 0, 0

    def decode(_: int) -> None:
        nonlocal n_held, most
        with room.held(60):
            n_held += 1
            most = max(most, n_held)
            n_held -= 1

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(decode, range(200)))

    assert most == 1
    with room.held(100):  # all of it was given back
        pass


@settings(max_examples=200, deadline=None)
@given(data=st.data(), file_format=st.sampled_from(["JPEG", "PNG", "WEBP"]))
def test_a_damaged_image_is_decoded_or_refused_never_anything_else(data: st.DataObject, file_format: str) -> None:
    content = bytearray(encoded(Image.linear_gradient("L").resize((32, 32)).convert("RGB"), file_format))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    try:
        pixels = decode_image(bytes(content), 8)
    except UnreadableImage:
        return

    assert pixels.shape == (8, 8, 3)


def test_decoding_in_threads_leaves_the_warning_filters_alone() -> None:
    content = encoded(Image.new("RGB", (60, 80), "red"), "JPEG")
    before = list(warnings.filters)

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(lambda _: decode_image(content, 16), range(1000)))

    assert warnings.filters == before


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA"])
def test_a_square_image_needs_no_border_and_loses_nothing(mode: str) -> None:
    rng = np.random.default_rng(0)
    shape = (48, 48, len(mode)) if mode != "L" else (48, 48)
    square = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode)
    buffer = io.BytesIO()
    square.save(buffer, "PNG" if mode != "CMYK" else "JPEG")

    found = decode_image(buffer.getvalue(), 24)

    stored: Image.Image = Image.open(io.BytesIO(buffer.getvalue()))
    if mode == "RGBA":
        stored = Image.alpha_composite(Image.new("RGBA", stored.size, (255, 255, 255, 255)), stored)
    stored.draft("RGB", (24, 24))
    np.testing.assert_array_equal(found, np.asarray(stored.convert("RGB").resize((24, 24), Image.Resampling.BILINEAR)))


PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8))


@pytest.mark.parametrize("sides", [(1, 1), (7, 300), (129, 127), (640, 480)])
@pytest.mark.parametrize("mode", ["RGB", "L", "YCbCr"])
@pytest.mark.parametrize("is_progressive", [True, False])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_small_jpeg_looks_as_pillow_makes_it_look(
    mode: str, subsampling: int, is_progressive: bool, sides: tuple[int, int]
) -> None:
    buffer = io.BytesIO()
    picture = PICTURE.resize(sides, Image.Resampling.BICUBIC).convert(mode)
    picture.save(buffer, "JPEG", subsampling=subsampling, progressive=is_progressive)

    for size in (48, 224):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("service.features.image.small_jpeg_sides", lambda _: None)
            by_pillow = decode_image(buffer.getvalue(), size).astype(int)
        away = np.abs(decode_image(buffer.getvalue(), size) - by_pillow)
        assert away.mean() < (2 if max(sides) > size else 1e-9)  # smaller ones are the same to the last pixel


@pytest.mark.parametrize(
    ("picture", "is_small"),
    [
        (PICTURE.resize((1000, 1000)), True),
        (PICTURE.resize((1001, 1000)), False),
        (PICTURE.convert("CMYK"), False),
    ],
)
def test_only_small_jpegs_in_usual_colours_pass_pillow_by(picture: Image.Image, is_small: bool) -> None:
    assert small_jpeg_sides(encoded(picture, "JPEG")) == (picture.size if is_small else None)
    assert small_jpeg_sides(encoded(PICTURE, "PNG")) is None
