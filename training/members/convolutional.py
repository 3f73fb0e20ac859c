"""Convolutional members: word windows of a title (after Kim 2014, arXiv:1408.5882), and a small network for images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from service.features.text import PADDING

# Channels, kernel, stride, padding. Starting with strides of 4 costs two thirds of starting with 2, and ranks as well.
IMAGE_LAYERS = ((48, 6, 4, 1), (96, 3, 2, 1), (160, 3, 2, 1))
KERNELS = (1, 2, 3)  # words


class TextConvolution(nn.Module):
    """The strongest response of each filter anywhere in the text."""

    def __init__(self, *, width: int, n_filters: int) -> None:
        super().__init__()
        self.filters = nn.ModuleList(nn.Conv1d(width, n_filters, kernel) for kernel in KERNELS)
        self.n_features = n_filters * len(KERNELS)

    def forward(self, words: Tensor, token_ids: Tensor) -> Tensor:
        """Word vectors (n, n_tokens, width), all zero where padded, to (n, n_features).

        A window may reach beyond the text's end, where it sees zeros: so padding changes nothing.
        """
        across = words.transpose(1, 2)
        real = (token_ids > PADDING).unsqueeze(1)
        pooled = []
        for kernel, convolution in zip(KERNELS, self.filters, strict=True):
            wide = nn.functional.pad(across, (0, kernel - 1)) if kernel > 1 else across
            response = torch.relu(convolution(wide))
            pooled.append((response * real).amax(2))
        return torch.cat(pooled, dim=1)


class ImageConvolution(nn.Module):
    """Three strided convolutions. What they find keeps its place: shops put a product in the middle of its picture.

    Parameters
    ----------
    image_size : pixels a side
    """

    def __init__(self, image_size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in, side = 3, image_size
        for n_out, kernel, stride, padding in IMAGE_LAYERS:
            layers.append(nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=padding, bias=False))
            layers += [nn.BatchNorm2d(n_out), nn.ReLU()]
            n_in, side = n_out, (side + 2 * padding - kernel) // stride + 1
        self.layers = nn.Sequential(*layers)
        self.n_features = n_in * side**2

    def forward(self, images: Tensor) -> Tensor:
        """Pixels (n_images, image_size, image_size, 3), uint8, to (n_images, n_features)."""
        scaled = images.permute(0, 3, 1, 2).float() * (1 / 64) - 2.0
        maps: Tensor = self.layers(scaled)
        return maps.flatten(1)
