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
from service.features.image import Room, decode_image
from service.features.jpeg import small_jpeg_sides

LIGHT_PIXELS = 100_000  # of a request's JPEGs: decoding takes a millisecond, and a third less here than in a thread
LIGHT_BYTES = 30_000  # hardly any with so few pixels are larger, and reading the header of one that is has its price

Pixels = NDArray[np.uint8]
Outcome = Pixels | str | None  # of an image: its pixels, why there are none, or None where there was no image


class Decoders:
    """Threads that share the memory that images may take while they are decoded.

    Parameters
    ----------
    on_decoded : told the seconds of each turn, in its thread
    """

    def __init__(self, n_threads: int, *, on_decoded: Callable[[float], None]) -> None:
        self.n_threads = n_threads
        self._on_decoded = on_decoded
        self._room = Room()
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="decode")

    async def decode(self, contents: Sequence[bytes | None], size: int) -> list[Outcome]:
        """What becomes of some image files; `size` is the side of the square that each becomes."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._decoded, contents, size, self._room)

    def decode_light(self, contents: Sequence[bytes | None], size: int) -> list[Outcome] | None:
        """The same at once, of what is known to take no longer than a millisecond; else None."""
        if not _are_light(contents):
            return None
        return self._decoded(contents, size, Room())  # the threads may hold all of theirs, and nobody may wait here

    def close(self) -> None:
        """Stop the threads after the images that they are at."""
        self._threads.shutdown(cancel_futures=True)

    def _decoded(self, contents: Sequence[bytes | None], size: int, room: Room) -> list[Outcome]:
        started = perf_counter()
        outcomes = [None if content is None else _outcome(content, size, room) for content in contents]
        self._on_decoded(perf_counter() - started)
        return outcomes


def _are_light(contents: Sequence[bytes | None]) -> bool:
    files = [content for content in contents if content is not None]
    if sum(map(len, files)) > LIGHT_BYTES:
        return False
    n_pixels = 0
    for content in files:
        sides = small_jpeg_sides(content)
        if sides is None:
            return False
        n_pixels += sides[0] * sides[1]
    return n_pixels <= LIGHT_PIXELS


def _outcome(content: bytes, size: int, room: Room) -> Pixels | str:
    try:
        return decode_image(content, size, room)
    except UnreadableImage as error:
        return str(error)
