"""Small JPEGs by libjpeg-turbo itself: Pillow takes three times as long, most of it to read their markers in Python.

Pixels are the same. Larger ones, where that hardly counts, and whatever is not quite in order are left to
`service.features.image`.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

SMALL_PIXELS = 1_000_000
PIXEL_BYTES = 13  # of all scans' coefficients, the pixels, and Pillow's copy of them
COLOURS = frozenset({"YCbCr", "RGB", "Gray"})
SCALES = (8, 4, 2, 1)  # that Pillow has the decoder shrink by


def small_jpeg_bytes(content: bytes) -> int | None:
    """What decoding takes at most, told from the header; None for what is no small JPEG in a usual colour space."""
    if not simplejpeg.is_jpeg(content):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError:
        return None
    n_pixels = width * height
    return n_pixels * PIXEL_BYTES if 0 < n_pixels <= SMALL_PIXELS and colours in COLOURS else None


def decode_small_jpeg(content: bytes, size: int) -> NDArray[np.uint8] | None:
    """Decode at the least of the decoder's sizes of which no side is shorter than `size`, or the file's own.

    Returns
    -------
    (height, width, 3), uint8, RGB; None if the file has any fault
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(content)
    scale = next(scale for scale in SCALES if scale <= max(1, min(width, height) // size))
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content, min_height=-(-height // scale), min_width=-(-width // scale)
        )
    except ValueError:
        return None
    return pixels
