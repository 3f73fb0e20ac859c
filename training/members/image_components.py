"""What linear members read of an image: the principal components of a pretrained encoder's features."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

N_COMPONENTS = 512  # that are read
IMAGE_SCALE = 0.04  # of features of deviation 1
LEAST_DEVIATION = 1e-3  # of a feature
IMAGE_BLOCK = 4096  # images whose features are widened at a time


class ImageComponents(nn.Module):
    """The principal components of a pretrained encoder's features, each feature brought to mean 0 and deviation 1."""

    mean: Tensor
    components: Tensor

    def __init__(self, n_features: int, n_components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("components", torch.zeros(n_features, n_components))

    def forward(self, features: Tensor) -> Tensor:
        """Features (n_images, n_features) to components (n_images, n_components)."""
        return torch.matmul(features - self.mean, self.components)


def fit_components(image_features: NDArray[np.float16]) -> ImageComponents:
    """The directions in which features of images, (n_products, n_features), differ most; a row of 0 is no image."""
    features = image_features[image_features.any(axis=1)].astype(np.float32)
    n_features = image_features.shape[1]
    image = ImageComponents(n_features, min(N_COMPONENTS, n_features))
    if not len(features):
        return image
    mean = features.mean(axis=0)
    deviation = np.maximum(features.std(axis=0), LEAST_DEVIATION)
    scaled = (features - mean) / deviation
    _, directions = np.linalg.eigh(scaled.T @ scaled)  # rising
    first = directions[:, ::-1][:, : image.components.shape[1]]
    image.mean.copy_(torch.from_numpy(mean))
    image.components.copy_(torch.from_numpy(first / deviation[:, None] * np.float32(IMAGE_SCALE)))
    return image


def read_components(image: ImageComponents, image_features: NDArray[np.float16]) -> NDArray[np.float32]:
    """Components of images, (n_products, n_components); 0 where there is no image.

    Parameters
    ----------
    image_features : (n_products, n_features), a row of 0 for no image
    """
    have: NDArray[np.bool_] = np.asarray(image_features.any(axis=1, keepdims=True))
    blocks = []
    for first in range(0, len(have), IMAGE_BLOCK):
        rows = slice(first, first + IMAGE_BLOCK)
        features = torch.from_numpy(image_features[rows].astype(np.float32))
        blocks.append(image(features).numpy() * have[rows])
    return np.concatenate(blocks)
