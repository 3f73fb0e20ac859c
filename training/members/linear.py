"""Linear members: one logistic regression a class over bag ids, category ids, numbers, and components of an image.

The weights that a word shares with its n-grams are summed after fitting and stored in the word's own row: at serving
time a known word is one look-up. Fitting is left to `training.members.linear_fit`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.members.image_components import ImageComponents, read_components
from training.members.image_rows import on_rows
from training.members.linear_design import BAG_SCALE, NUMBER_SCALE, Design, hinges


class LinearMember(nn.Module):
    """Logits as sums of looked-up rows; reads what the graph reads."""

    def __init__(
        self, *, n_bag: int, n_categories: int, n_numbers: int, n_classes: int, image: ImageComponents | None = None
    ) -> None:
        super().__init__()
        self.image = image
        self.image_weights = nn.Linear(image.components.shape[1], n_classes, bias=False) if image else None
        self.bag = nn.Embedding(max(n_bag, 1), n_classes, padding_idx=0)
        self.categories = nn.Embedding(n_categories, n_classes, padding_idx=0) if n_categories else None
        self.numbers = nn.Linear(n_numbers, n_classes, bias=False) if n_numbers else None
        self.bias = nn.Parameter(torch.zeros(n_classes))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits, (n, n_classes)."""
        logits = torch.matmul(batch["bag_values"].unsqueeze(1), self.bag(batch["bag_ids"])).squeeze(1) + self.bias
        if self.categories is not None:
            logits = logits + self.categories(batch["category_ids"]).sum(1)
        if self.numbers is not None:
            logits = logits + self.numbers(hinges(batch["numbers"]))
        if self.image is not None and self.image_weights is not None:
            seen = self.image_weights(self.image(batch["image_features"]))
            logits = logits + on_rows(seen, batch["feature_rows"], batch["present"])
        return logits


def linear_logits(member: LinearMember, data: Design) -> NDArray[np.float32]:
    """What a fitted member says of a design's products, (n_products, n_classes)."""
    columns, bias = _columns(member)
    logits = np.asarray(data.rows @ columns + bias, dtype=np.float32)
    if member.image is None or member.image_weights is None:
        return logits
    with torch.no_grad():
        weights: NDArray[np.float32] = member.image_weights.weight.numpy()
    return logits + components_of(data, member.image) @ weights.T


def components_of(data: Design, image: ImageComponents) -> NDArray[np.float32]:
    """Components of a design's images, (n_products, n_components); 0 where it has none."""
    if data.image_features is None:
        return np.zeros((data.rows.shape[0], image.components.shape[1]), dtype=np.float32)
    return read_components(image, data.image_features)


def free_parameters(member: LinearMember, data: Design) -> NDArray[np.float32]:
    """Free parameters of a fitted member, (n_parameters, n_classes): of columns, of image components, the bias.

    Words share the weights of grams and grams share none: with P the shares of the parts, columns = (I + P) free,
    P² = 0, and so free = (I - P) columns.
    """
    columns, bias = _columns(member)
    free = 2 * columns - data.sharing @ columns
    image = member.image_weights.weight.detach().numpy().T if member.image_weights is not None else columns[:0]
    return np.concatenate([free, image, bias[None]])


def member_of(data: Design, parameters: NDArray[np.float32], image: ImageComponents | None) -> LinearMember:
    """The fitted weights, with the scales of the design folded in."""
    n_columns, after_categories = data.rows.shape[1], data.n_bag + data.n_categories
    columns, seen, bias = data.sharing @ parameters[:n_columns], parameters[n_columns:-1], parameters[-1]
    member = LinearMember(
        n_bag=data.n_bag,
        n_categories=data.n_categories,
        n_numbers=n_columns - after_categories,
        n_classes=len(bias),
        image=image,
    )
    with torch.no_grad():
        member.bag.weight.copy_(torch.from_numpy(columns[: data.n_bag] * np.float32(BAG_SCALE)))
        if member.categories is not None:
            member.categories.weight.copy_(torch.from_numpy(columns[data.n_bag : after_categories]))
        if member.numbers is not None:
            member.numbers.weight.copy_(torch.from_numpy(columns[after_categories:] * np.float32(NUMBER_SCALE)).T)
        if member.image_weights is not None:
            member.image_weights.weight.copy_(torch.from_numpy(seen.T))
        member.bias.copy_(torch.from_numpy(bias))
        for table in (member.bag, member.categories):
            if table is not None:
                table.weight[0] = 0.0  # padding
    return member.eval()


def _columns(member: LinearMember) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights of a design's columns, (n_columns, n_classes), and the bias: the scales of the design taken out again."""
    tables = [member.bag.weight / BAG_SCALE]
    if member.categories is not None:
        tables.append(member.categories.weight)
    if member.numbers is not None:
        tables.append(member.numbers.weight.T / NUMBER_SCALE)
    with torch.no_grad():
        return torch.cat(tables).numpy(), member.bias.numpy()
