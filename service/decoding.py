"""Decodes the images of requests in threads of their own, several a turn of a thread, as a turn has its price.

Decoding one image is left to `service.features.image`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.batcher import Batcher
from service.errors import UnreadableImage
from service.features.image import Room, decode_image

N_TOGETHER = 16  # images decoded in one turn of a thread at most
QUIET_TURNS = 1  # of the event loop, in which the requests of a crowd arrive

Pixels = NDArray[np.uint8]
File = tuple[bytes, int]  # an image file, and the side of the square that it becomes


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of some images: their pixels, or the reason why there are none."""

    outcomes: Sequence[Pixels | str]

    def rows(self, start: int, stop: int) -> Decoded:
        """Those from `start` up to, not including, `stop`."""
        return Decoded(self.outcomes[start:stop])


class Decoders:
    """Threads that share the memory that images may take while they are decoded."""

    def __init__(self, n_threads: int) -> None:
        self._room = Room()
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="decode")
        self._lanes: list[Batcher[File, Decoded]] = [
            Batcher(self._run, max_batch_size=N_TOGETHER, quiet_turns=QUIET_TURNS) for _ in range(n_threads)
        ]
        self._n_pending = [0] * n_threads

    async def decode(self, images: Mapping[int, bytes], size: int) -> tuple[dict[int, Pixels], dict[int, str]]:
        """The images as squares of pixels, and the reason for each that cannot be decoded, by the same keys."""
        keys = list(images)
        outcomes: list[Pixels | str] = []
        n_at_once = N_TOGETHER * len(self._lanes)  # no more: other requests have images too
        for start in range(0, len(keys), n_at_once):
            outcomes += await self._shared_out([(images[key], size) for key in keys[start : start + n_at_once]])
        found = list(zip(keys, outcomes, strict=True))
        pixels = {key: outcome for key, outcome in found if not isinstance(outcome, str)}
        return pixels, {key: outcome for key, outcome in found if isinstance(outcome, str)}

    def close(self) -> None:
        """Stop the threads after the images that they are at."""
        self._threads.shutdown(cancel_futures=True)

    async def _shared_out(self, files: Sequence[File]) -> list[Pixels | str]:
        n_each = -(-len(files) // len(self._lanes))
        parts = [files[start : start + n_each] for start in range(0, len(files), n_each)]
        idlest = sorted(range(len(self._lanes)), key=self._n_pending.__getitem__)
        if len(parts) == 1:
            return await self._in_lane(idlest[0], parts[0])
        done = await asyncio.gather(*(self._in_lane(lane, part) for lane, part in zip(idlest, parts, strict=False)))
        return [outcome for outcomes in done for outcome in outcomes]

    async def _in_lane(self, lane: int, files: Sequence[File]) -> list[Pixels | str]:
        self._n_pending[lane] += len(files)
        try:
            answers = await self._lanes[lane].submit(files)
        finally:
            self._n_pending[lane] -= len(files)
        return [outcome for answer in answers for outcome in answer.outcomes]

    async def _run(self, files: Sequence[File]) -> Decoded:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._decoded, files)

    def _decoded(self, files: Sequence[File]) -> Decoded:
        return Decoded([self._outcome(content, size) for content, size in files])

    def _outcome(self, content: bytes, size: int) -> Pixels | str:
        try:
            return decode_image(content, size, self._room)
        except UnreadableImage as error:
            return str(error)
