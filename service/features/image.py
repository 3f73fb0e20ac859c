"""Images as small squares of pixels, decoded by Pillow with its dangers switched off, small JPEGs without it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from service.errors import UnreadableImage
from service.features.jpeg import PIXEL_BYTES, Sides, decode_small_jpeg, small_jpeg_sides

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 20_000_000  # read from the header, before a pixel is decoded
MAX_BYTES = 76_000_000  # that one image may take while it is decoded; a worker's images together take no more
WEBP_PIXEL_BYTES = 17  # measured: the decoder's canvas, the one before it, their copy and Pillow's
JPEG_BAND_BYTES = 2  # of a pixel and band: the coefficients of all scans, where there are several
MAX_COPY_BYTES = 16_000_000  # of copies without transparency; an image that would take more is shrunk in strips
MAX_TEXT_BYTES = 2_000_000  # of a PNG, unpacked; nobody reads it
BACKGROUND = (255, 255, 255)  # shops photograph on white

PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES  # Pillow's own limit is 64 MB, for each image that is open


class Room:
    """Bytes that images may take at one time; who finds none waits, in its thread."""

    def __init__(self, n_bytes: int = MAX_BYTES) -> None:
        self._n_bytes = n_bytes
        self._changed = Condition()

    @contextmanager
    def held(self, n_bytes: int) -> Iterator[None]:
        """Hold some bytes for the length of the block."""
        with self._changed:
            self._changed.wait_for(lambda: n_bytes <= self._n_bytes)
            self._n_bytes -= n_bytes
        try:
            yield
        finally:
            with self._changed:
                self._n_bytes += n_bytes
                self._changed.notify_all()


def decode_image(content: bytes, size: int, room: Room | None = None) -> NDArray[np.uint8]:
    """Decode, scale to fit a square, and pad with white.

    Parameters
    ----------
    room : that images decoded at the same time share; by default this one has all of it

    Returns
    -------
    (size, size, 3), uint8, RGB

    Raises
    ------
    UnreadableImage
        If the content is no JPEG, PNG or WebP, is truncated, or has more than `MAX_PIXELS` pixels or takes more than
        `MAX_BYTES` bytes.
    """
    room = room or Room()
    sides = small_jpeg_sides(content)
    if sides is not None:
        with room.held(sides[0] * sides[1] * PIXEL_BYTES):
            pixels = decode_small(content, sides, size)
            if pixels is not None:
                return pixels
    return _decoded_by_pillow(content, size, room)


def decode_small(content: bytes, sides: Sides, size: int) -> NDArray[np.uint8] | None:
    """The same of a small JPEG, whose sides are known; None if it has any fault."""
    fitted = _fitting(sides, size)
    pixels = decode_small_jpeg(content, sides, at_least=fitted)
    if pixels is None:
        return None
    height, width, _ = pixels.shape
    return _fitted(Image.frombytes("RGB", (width, height), pixels), fitted, size)


def _decoded_by_pillow(content: bytes, size: int, room: Room) -> NDArray[np.uint8]:
    try:
        # Pillow's warning of large images changes nothing here, and warning filters are not safe to change in a thread.
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_pixels(image)
            with room.held(_checked_bytes(image)):
                try:
                    return _square(image, size)
                finally:
                    image.close()  # its pixels go now, before others take their room
    except UnreadableImage:
        raise
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
        MemoryError,
        OverflowError,
        IndexError,
    ) as error:
        raise UnreadableImage("the image cannot be decoded; send a complete JPEG, PNG or WebP") from error


def _check_pixels(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS or min(width, height) < 1:
        raise UnreadableImage(f"the image has more than {MAX_PIXELS} pixels; send a smaller one")


def _checked_bytes(image: Image.Image) -> int:
    """What the image takes at most while it is decoded, told from its header."""
    n_pixels = image.width * image.height
    n_bytes = n_pixels * _pixel_bytes(image) + min(n_pixels * _copy_bytes(image), MAX_COPY_BYTES)
    if n_bytes > MAX_BYTES:
        kind = f"{image.format} of {image.width} x {image.height} pixels"
        raise UnreadableImage(f"a {kind} takes more than {MAX_BYTES} bytes to decode; send a smaller one")
    return n_bytes


def _pixel_bytes(image: Image.Image) -> int:
    n_bands = len(image.getbands())
    if image.format == "WEBP":
        return WEBP_PIXEL_BYTES
    if image.format == "JPEG":
        return JPEG_BAND_BYTES * n_bands
    return 4 if n_bands > 1 or image.mode == "I" else 2  # as Pillow keeps pixels


def _copy_bytes(image: Image.Image) -> int:
    """Of a pixel, in all the copies that `_opaque` makes."""
    return 16 if _is_transparent(image) else 4


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info


def _square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    image.draft("RGB", (size, size))  # lets the JPEG decoder skip resolution nobody needs
    is_large = image.width * image.height * _copy_bytes(image) > MAX_COPY_BYTES
    shrunk = _shrunk(image, max(1, max(image.size) // size // 4)) if is_large else _opaque(image)
    return _fitted(shrunk, _fitting(image.size, size), size)


def _fitting(sides: Sides, size: int) -> Sides:
    """Width and height that fit a square, in the proportion of some sides."""
    scale = size / max(sides)
    return max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))


def _fitted(image: Image.Image, fitted: Sides, size: int) -> NDArray[np.uint8]:
    """An RGB image scaled to sides that fit, in the middle of a white square."""
    flat = image.resize(fitted, Image.Resampling.BILINEAR)
    if fitted != (size, size):
        canvas = Image.new("RGB", (size, size), BACKGROUND)
        canvas.paste(flat, ((size - fitted[0]) // 2, (size - fitted[1]) // 2))
        flat = canvas
    return np.frombuffer(flat.tobytes(), dtype=np.uint8).reshape(size, size, 3)


def _shrunk(image: Image.Image, factor: int) -> Image.Image:
    """The image by a whole factor smaller, each pixel the mean of its square, made strip by strip."""
    width, height = image.size
    shrunk = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, factor):
        strip = image.crop((0, top, width, min(top + factor, height)))
        shrunk.paste(_opaque(strip).reduce(factor), (0, top // factor))
    return shrunk


def _opaque(image: Image.Image) -> Image.Image:
    if _is_transparent(image):
        backed = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return Image.alpha_composite(backed, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # converting to the same copies
