"""Image features kept between trainings, under the content of the image: what was computed once is read back.

A store is a directory of blocks that are written whole and never changed, so any number of processes may share it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.bundles.bundle import unpack_arrays
from service.bundles.drafts import new_draft, sweep_drafts

Features = NDArray[np.float16]  # (n, n_features)
KEY_BYTES = 16


class FeatureStore:
    """The features that one encoder gives.

    Parameters
    ----------
    directory : of this encoder alone; created when something is added
    """

    def __init__(self, directory: Path, n_features: int) -> None:
        self._directory = directory
        self.n_features = n_features
        self._known: dict[bytes, NDArray[np.float16]] = {}
        for path in sorted(directory.glob("*.npz")):
            self._read(path)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: bytes) -> NDArray[np.float16] | None:
        """Features under a key, (n_features,), or None."""
        return self._known.get(key)

    def add(self, keys: Sequence[bytes], features: Features) -> None:
        """Keep features, (n_keys, n_features); another process sees them when it opens the store next."""
        self._known |= dict(zip(keys, features, strict=True))
        name = f"{hashlib.sha256(b''.join(keys)).hexdigest()[:32]}.npz"
        sweep_drafts(self._directory)
        with new_draft(self._directory) as draft:
            np.savez(draft / name, keys=np.frombuffer(b"".join(keys), dtype=np.uint8), features=features)
            (draft / name).replace(self._directory / name)

    def _read(self, path: Path) -> None:
        """Take in a block; one that is damaged is removed, as its features can be computed again."""
        try:
            block = unpack_arrays(path.read_bytes())
            keys, features = block["keys"].reshape(-1, KEY_BYTES), block["features"]
            if features.shape != (len(keys), self.n_features) or features.dtype != np.float16:
                raise ValueError(path.name)
        except (ValueError, OSError, KeyError):
            path.unlink(missing_ok=True)
            return
        self._known |= {key.tobytes(): row for key, row in zip(keys, features, strict=True)}


def content_key(content: bytes) -> bytes:
    """What an image is kept under."""
    return hashlib.blake2b(content, digest_size=KEY_BYTES).digest()


def features_of(
    contents: Sequence[bytes | None],
    *,
    store: FeatureStore,
    compute: Callable[[Sequence[bytes]], tuple[Sequence[int], Features]],
    block_size: int,
    progress: Callable[[int, int], None],
) -> tuple[Features, NDArray[np.bool_]]:
    """Features of images, from the store or computed and kept.

    Parameters
    ----------
    contents : image files as bytes, None where there is none
    compute : features of images, with the positions of those that could be decoded

    Returns
    -------
    features : (n, n_features), 0 where there is none
    have : (n,), which have some
    """
    keys = [content_key(content) if content is not None else None for content in contents]
    unknown = {key: content for key, content in zip(keys, contents, strict=True) if key and content}
    todo = [(key, content) for key, content in unknown.items() if store.get(key) is None]
    n_done = len(contents) - len(todo)
    for start in range(0, len(todo), block_size):
        block = todo[start : start + block_size]
        decoded, features = compute([content for _, content in block])
        store.add([block[position][0] for position in decoded], features)
        progress(min(n_done + start + block_size, len(contents)), len(contents))
    progress(len(contents), len(contents))
    found = [store.get(key) if key else None for key in keys]
    have = np.array([row is not None for row in found], dtype=np.bool_)
    blank = np.zeros(store.n_features, dtype=np.float16)
    return np.stack([blank if row is None else row for row in found]), have
