"""Dense members: a perceptron with layer normalisation, over categories and numbers or over every tower's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Perceptron(nn.Module):
    """Hidden layers with dropout; the last one's output is the feature vector."""

    def __init__(self, n_inputs: int, widths: tuple[int, ...], *, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in zip((n_inputs, *widths), widths, strict=False):
            layers += [nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """(n, n_inputs) to (n, last width)."""
        return self.onwards(self.layers[0](features))

    def onwards(self, hidden: Tensor) -> Tensor:
        """From what the first linear map gives, (n, first width), to (n, last width)."""
        for layer in list(self.layers)[1:]:
            hidden = layer(hidden)
        return hidden


class CategoryEmbedding(nn.Module):
    """Sum of a product's category vectors; id 0 is padding."""

    def __init__(self, n_ids: int, width: int) -> None:
        super().__init__()
        self.table = small_table(n_ids, width, deviation=0.03)

    def forward(self, category_ids: Tensor) -> Tensor:
        """(n, n_values) ids to (n, width)."""
        summed: Tensor = self.table(category_ids).sum(1)
        return summed


class BagEmbedding(nn.Module):
    """Weighted sum of the vectors of a product's words, word pairs and character n-grams; id 0 is padding."""

    def __init__(self, n_ids: int, width: int) -> None:
        super().__init__()
        self.table = small_table(n_ids, width, deviation=0.03)

    def forward(self, bag_ids: Tensor, bag_values: Tensor) -> Tensor:
        """(n, n_bag) ids and values to (n, width)."""
        if torch.onnx.is_in_onnx_export():
            return torch.matmul(bag_values.unsqueeze(1), self.table(bag_ids)).squeeze(1)
        return nn.functional.embedding_bag(bag_ids, self.table.weight, per_sample_weights=bag_values, mode="sum")


class PretrainedFeatures(nn.Module):
    """One hidden layer over the features of a frozen encoder, brought to mean 0 and standard deviation 1 first."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_inputs: int, width: int, *, dropout: float) -> None:
        super().__init__()
        self.layers = Perceptron(n_inputs, (width,), dropout=dropout)
        self.register_buffer("mean", torch.zeros(n_inputs))
        self.register_buffer("deviation", torch.ones(n_inputs))

    def scale_to(self, features: Tensor) -> None:
        """Learn mean and deviation from features, (n, n_inputs)."""
        self.mean.copy_(features.mean(0))
        self.deviation.copy_(features.std(0, unbiased=False).clamp(min=1e-3))

    def forward(self, features: Tensor) -> Tensor:
        """(n, n_inputs) to (n, width)."""
        out: Tensor = self.layers((features - self.mean) / self.deviation)
        return out


def small_table(n_ids: int, width: int, *, deviation: float) -> nn.Embedding:
    """Vectors that start small, so that ids seen rarely say little; id 0 is padding and stays zero."""
    table = nn.Embedding(n_ids, width, padding_idx=0)
    nn.init.normal_(table.weight, std=deviation)
    with torch.no_grad():
        table.weight[0] = 0.0
    return table
