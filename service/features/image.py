"""Images as small squares of pixels, decoded by Pillow with its dangers switched off."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from service.errors import UnreadableImage

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 20_000_000  # read from the header, before a pixel is decoded
BACKGROUND = (255, 255, 255)  # shops photograph on white


def decode_image(content: bytes, size: int) -> NDArray[np.uint8]:
    """Decode, scale to fit a square, and pad with white.

    Returns
    -------
    (size, size, 3), uint8, RGB

    Raises
    ------
    UnreadableImage
        If the content is no JPEG, PNG or WebP, is truncated, or has more than `MAX_PIXELS` pixels.
    """
    try:
        # Pillow's warning of large images changes nothing here, and warning filters are not safe to change in a thread.
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_pixels(image)
            return _square(image, size)
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


def _square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    image.draft("RGB", (size, size))  # lets the JPEG decoder skip resolution nobody needs
    width, height = image.size
    scale = size / max(width, height)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    flat = _opaque(image).resize(fitted, Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (size, size), BACKGROUND)
    canvas.paste(flat, ((size - fitted[0]) // 2, (size - fitted[1]) // 2))
    return np.asarray(canvas, dtype=np.uint8)


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        backed = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return Image.alpha_composite(backed, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
