"""Decodes the images of a batch in one turn of a thread, as a turn has its price, and small ones without a turn.

Decoding one image is left to `service.features.image`, what waits for a turn to `service.batcher`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from service.errors import UnreadableImage
from service.features.image import Room, decode_image, decode_small
from service.features.jpeg import Sides, small_jpeg_sides

LIGHT_PIXELS = 100_000  # of a request's JPEGs: decoding takes a millisecond, and a third less here than in a thread
LIGHT_BYTES = 30_000  # hardly any with so few pixels are larger, and reading the header of one that is has its price
IN_SCANS = b"\xff\xc2"  # marks a progressive JPEG: a small file can ask for hundreds of scans

Pixels = NDArray[np.uint8]
Outcome = Pixels | str | None  # of an image: its pixels, why there are none, or None where there was no image


class Decoders:
    """Threads that share the memory that images may take while they are decoded.

    Parameters
    ----------
    on_decoded : told the seconds of each turn, and of what is decoded without one, where it is decoded
    """

    def __init__(self, n_threads: int, *, on_decoded: Callable[[float], None]) -> None:
        self.n_threads = n_threads
        self._on_decoded = on_decoded
        self._room = Room()
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="decode")

    async def decode(self, contents: Sequence[bytes | None], size: int) -> list[Outcome]:
        """What becomes of some image files; `size` is the side of the square that each becomes."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._decoded, contents, size)

    def decode_light(self, contents: Sequence[bytes | None], size: int) -> list[Outcome] | None:
        """The same at once, of what is known to take no longer than a millisecond; else None."""
        started = perf_counter()
        sides = _sides_if_light(contents)
        if sides is None:
            return None
        outcomes = [_light_outcome(content, sides.get(place), size) for place, content in enumerate(contents)]
        self._on_decoded(perf_counter() - started)
        return outcomes

    def close(self) -> None:
        """Stop the threads after the images that they are at."""
        self._threads.shutdown(cancel_futures=True)

    def _decoded(self, contents: Sequence[bytes | None], size: int) -> list[Outcome]:
        started = perf_counter()
        outcomes = [None if content is None else _outcome(content, size, self._room) for content in contents]
        self._on_decoded(perf_counter() - started)
        return outcomes


def _sides_if_light(contents: Sequence[bytes | None]) -> dict[int, Sides] | None:
    """Width and height of the files, by place; None if some file may take long."""
    files = {place: content for place, content in enumerate(contents) if content is not None}
    if sum(map(len, files.values())) > LIGHT_BYTES or any(IN_SCANS in content for content in files.values()):
        return None
    found = {place: small_jpeg_sides(content) for place, content in files.items()}
    sides = {place: one for place, one in found.items() if one is not None}
    is_light = len(sides) == len(files) and sum(width * height for width, height in sides.values()) <= LIGHT_PIXELS
    return sides if is_light else None


def _light_outcome(content: bytes | None, sides: Sides | None, size: int) -> Outcome:
    if content is None or sides is None:
        return None
    pixels = decode_small(content, sides, size)
    return _outcome(content, size, Room()) if pixels is None else pixels  # nobody may wait here for the threads' room


def _outcome(content: bytes, size: int, room: Room) -> Pixels | str:
    try:
        return decode_image(content, size, room)
    except UnreadableImage as error:
        return str(error)
