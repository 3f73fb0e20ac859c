"""What is made of images, on the rows of the products that they show.

Maps are applied to images first and put on rows then, so that products without an image cost next to nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from service.contracts import MODALITIES

IMAGE = MODALITIES.index("image")


def on_rows(values: Tensor, rows: Tensor, present: Tensor) -> Tensor:
    """Values of images, (n_images, width), on the rows of their products, (n, width); 0 where there is no image.

    Parameters
    ----------
    rows : (n_images,), n for an image that belongs to no product
    present : (n, n_modalities), 1 where a product has it
    """
    width = int(values.shape[1])
    blank = torch.cat([nothing(present, width), torch.zeros(1, width)])
    places = rows.unsqueeze(1) + torch.zeros(1, width, dtype=torch.int64)  # one operator, where expanding takes nine
    return blank.scatter(0, places, values)[:-1] * present[:, [IMAGE]]


def nothing(present: Tensor, width: int) -> Tensor:
    """Zeros, (n, width), in one operator of the graph; to make them by their shape takes it six.

    Parameters
    ----------
    present : (n, n_modalities)
    """
    return torch.matmul(present, torch.zeros(len(MODALITIES), width))


def widened(features: Tensor, n_features: int) -> Tensor:
    """Features of images, (n_images, n_features), 0 where there are fewer.

    The black image of a batch without pictures may be smaller than a picture, and so have fewer: nobody reads them.
    """
    return nn.functional.pad(features, (0, n_features))[:, :n_features]  # two operators; to pad by what lacks takes ten
