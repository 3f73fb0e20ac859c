"""EfficientNet-Lite0 without its classifier: a frozen image encoder, batch normalisation folded into the convolutions.

Tan, Le 2019 (arXiv:1905.11946); the lite variant has no squeeze-and-excitation and clips at 6. Where its weights come
from is left to `training.pretrained`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

N_LAST = 1280
MEAN, SCALE = 127.0, 128.0  # of the pixels that it was trained on
EPSILON = 1e-3  # of its batch normalisation
STEM = 32


class Stage(NamedTuple):
    """Blocks of one width; the first one strides."""

    kernel: int
    stride: int
    expansion: int
    n_out: int
    n_blocks: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)
N_EARLY = STEM + sum(stage.n_out for stage in STAGES[:3])  # colours and textures, which the last layer forgets
EARLY_BLOCKS = (0, 2, 4)  # the last of each of the first three stages
PLACED_BLOCK = 10  # the last of the fifth stage, whose maps tell where in the picture something is
CELL = 32  # pixels a side of a place


class Convolution(nn.Module):
    """A convolution with TensorFlow's "same" padding: what does not divide evenly is padded right and below."""

    def __init__(self, n_in: int, n_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        before = (kernel - stride) // 2
        self.pad = (before, kernel - stride - before) * 2 if kernel > stride else (0, 0, 0, 0)
        self.convolution = nn.Conv2d(n_in, n_out, kernel, stride=stride, groups=groups)

    def forward(self, maps: Tensor) -> Tensor:
        """(n, n_in, height, width), both divisible by the stride, to (n, n_out, height / stride, width / stride)."""
        out: Tensor = self.convolution(nn.functional.pad(maps, self.pad))
        return out


class Block(nn.Module):
    """Expand, convolve each channel by itself, project; added to what came in where the shape allows."""

    def __init__(self, n_in: int, n_out: int, kernel: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        width = n_in * expansion
        self.expand = Convolution(n_in, width, 1) if expansion > 1 else None
        self.depthwise = Convolution(width, width, kernel, stride=stride, groups=width)
        self.project = Convolution(width, n_out, 1)
        self.adds = stride == 1 and n_in == n_out

    def forward(self, maps: Tensor) -> Tensor:
        """(n, n_in, height, width) to (n, n_out, height / stride, width / stride)."""
        wide = maps if self.expand is None else nn.functional.relu6(self.expand(maps))
        projected: Tensor = self.project(nn.functional.relu6(self.depthwise(wide)))
        return projected + maps if self.adds else projected


def n_features(image_size: int) -> int:
    """Features of a square picture."""
    return N_EARLY + N_LAST + STAGES[4].n_out * (image_size // CELL) ** 2


class EfficientNetLite0(nn.Module):
    """From pixels to features: the mean of the first layers' maps, and of the last one's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, stride=2)
        blocks: list[Block] = []
        n_in = STEM
        for stage in STAGES:
            for index in range(stage.n_blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(Block(n_in, stage.n_out, stage.kernel, stride=stride, expansion=stage.expansion))
                n_in = stage.n_out
        self._blocks = tuple(blocks)
        self.blocks = nn.Sequential(*blocks)
        self.head = Convolution(n_in, N_LAST, 1)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Pixels (n, size, size, 3), uint8, size divisible by 32, to (n, n_features(size))."""
        maps = (images.permute(0, 3, 1, 2).float() - MEAN) * (1 / SCALE)
        maps = nn.functional.relu6(self.stem(maps))
        means = [maps.mean((2, 3))]
        for index, block in enumerate(self._blocks):
            maps = block(maps)
            if index in EARLY_BLOCKS:
                means.append(maps.mean((2, 3)))
            if index == PLACED_BLOCK:
                placed = nn.functional.avg_pool2d(maps, CELL // 16).flatten(1)
        means.append(nn.functional.relu6(self.head(maps)).mean((2, 3)))
        return torch.cat([*means, placed], dim=1)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the weights of the published model.

        Raises
        ------
        KeyError
            If one is missing.
        RuntimeError
            If one has another shape.
        """
        for layer, convolution, norm in self._names():
            kernel, bias = _folded(weights, convolution, norm)
            layer.convolution.load_state_dict({"weight": kernel, "bias": bias})

    def _names(self) -> Iterator[tuple[Convolution, str, str]]:
        yield self.stem, "_conv_stem", "_bn0"
        yield self.head, "_conv_head", "_bn1"
        for index, block in enumerate(self._blocks):
            if block.expand is not None:
                yield block.expand, f"_blocks.{index}._expand_conv", f"_blocks.{index}._bn0"
            yield block.depthwise, f"_blocks.{index}._depthwise_conv", f"_blocks.{index}._bn1"
            yield block.project, f"_blocks.{index}._project_conv", f"_blocks.{index}._bn2"


def _folded(weights: Mapping[str, Tensor], convolution: str, norm: str) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a convolution followed by batch normalisation."""
    scale = weights[f"{norm}.weight"] / torch.sqrt(weights[f"{norm}.running_var"] + EPSILON)
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    return weights[f"{convolution}.weight"] * scale[:, None, None, None], bias
