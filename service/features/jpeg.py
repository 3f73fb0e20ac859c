"""Small JPEGs by libjpeg-turbo itself, in half of the time: Pillow reads their markers in Python.

They are decoded at the least of its sizes that is large enough, of which Pillow knows every second or fewer. Larger
files, and whatever is not quite in order, are left to `service.features.image`.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

SMALL_PIXELS = 1_000_000
PIXEL_BYTES = 13  # of a file's pixel, at most: the coefficients of all scans, the pixel, and Pillow's copy of it
COLOURS = frozenset({"YCbCr", "RGB", "Gray"})

Sides = tuple[int, int]  # width and height


def small_jpeg_sides(content: bytes) -> Sides | None:
    """Width and height by the header; None for what is no small JPEG in a usual colour space."""
    if not simplejpeg.is_jpeg(content):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError:
        return None
    return (width, height) if 0 < width * height <= SMALL_PIXELS and colours in COLOURS else None


def decode_small_jpeg(content: bytes, sides: Sides, *, at_least: Sides) -> NDArray[np.uint8] | None:
    """Decode at the least of the decoder's sizes that is large enough, or the file's own.

    Parameters
    ----------
    sides : of the file

    Returns
    -------
    (height, width, 3), uint8, RGB; None if the file has any fault
    """
    width, height = map(min, sides, at_least)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, min_width=width, min_height=height)
    except ValueError:
        return None
    return pixels
