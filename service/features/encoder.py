"""From products to the named inputs of the graph: one product is encoded on arrival, a batch is collated from those.

What each modality's numbers mean is left to the file of that modality.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.contracts import MODALITIES, Frozen, Modality, Product
from service.features.categorical import CategoricalEncoding, category_ids
from service.features.numerical import NumericalEncoding, no_numbers, numbers
from service.features.text import TextEncoder, TextEncoding

BLACK = np.zeros((1, 32, 32, 3), dtype=np.uint8)  # a picture that nobody reads; no encoder takes less


class Encoding(Frozen):
    """All that encoding needs beside the fields; travels in the bundle as `encoding.json`."""

    text: TextEncoding = TextEncoding()
    categorical: CategoricalEncoding = CategoricalEncoding()
    numerical: NumericalEncoding = NumericalEncoding()
    image_size: int = 64  # pixels a side


@dataclass(frozen=True, slots=True)
class EncodedProduct:
    """One product as numbers, before padding."""

    token_ids: list[int]
    bag_ids: list[int]
    bag_values: list[float]
    category_ids: list[int]
    numbers: NDArray[np.float32]
    image: NDArray[np.uint8] | None
    present: tuple[bool, ...]  # per modality of MODALITIES

    def without(self, *modalities: Modality) -> EncodedProduct:
        """The same product as if it had come without these modalities."""
        texts = "text" not in modalities
        return EncodedProduct(
            token_ids=self.token_ids if texts else [],
            bag_ids=self.bag_ids if texts else [],
            bag_values=self.bag_values if texts else [],
            category_ids=self.category_ids if "categorical" not in modalities else [],
            numbers=self.numbers if "numerical" not in modalities else no_numbers(len(self.numbers) // 2),
            image=self.image if "image" not in modalities else None,
            present=tuple(have and name not in modalities for name, have in zip(MODALITIES, self.present, strict=True)),
        )


class Encoder:
    """Encodes the products of one bundle's fields."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self._text = TextEncoder(encoding.text)

    def encode(self, product: Product, image: NDArray[np.uint8] | None) -> EncodedProduct:
        """Encode one product; `image` is its decoded picture, (image_size, image_size, 3), or None."""
        token_ids, bag_ids, bag_values = self._text(product.texts)
        categories = category_ids(self.encoding.categorical, product.categories)
        has_number = not all(map(math.isnan, product.numbers))
        return EncodedProduct(
            token_ids=token_ids,
            bag_ids=bag_ids,
            bag_values=bag_values,
            category_ids=categories,
            numbers=numbers(self.encoding.numerical, product.numbers),
            image=image,
            present=(bool(token_ids), image is not None, bool(categories), has_number),
        )


def collate(products: Sequence[EncodedProduct]) -> dict[str, NDArray[Any]]:
    """Pad encoded products to one batch of graph inputs.

    Returns
    -------
    token_ids : (n, longest), int64, 0 is padding
    bag_ids, bag_values : (n, longest bag), int64 and float32, 0 is padding
    category_ids : (n, most values), int64, 0 is padding
    numbers : (n, 2 n_numerical), float32
    images : (n_images, size, size, 3), uint8, of the products that have one; one black image if none has
    image_rows : (n_images,), int64: which row of the batch each image belongs to; n for the black one
    present : (n, 4), float32, 1 where the product has the modality, in the order of `MODALITIES`
    """
    images, image_rows = images_of([product.image for product in products])
    return {
        "token_ids": _padded([product.token_ids for product in products], np.int64),
        "bag_ids": _padded([product.bag_ids for product in products], np.int64),
        "bag_values": _padded([product.bag_values for product in products], np.float32),
        "category_ids": _padded([product.category_ids for product in products], np.int64),
        "numbers": np.stack([product.numbers for product in products]),
        "images": images,
        "image_rows": image_rows,
        "present": np.asarray([product.present for product in products], dtype=np.float32).reshape(-1, len(MODALITIES)),
    }


def images_of(
    images: Sequence[NDArray[np.uint8] | None],
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The pictures that there are and the rows of their products, as `collate` says."""
    rows = [row for row, image in enumerate(images) if image is not None]
    if not rows:
        return BLACK, np.asarray([len(images)], dtype=np.int64)
    return np.stack([image for image in images if image is not None]), np.asarray(rows, dtype=np.int64)


def _padded(rows: Sequence[Sequence[float]], dtype: type[np.generic]) -> NDArray[Any]:
    longest = max(1, *map(len, rows))
    padded = np.zeros((len(rows), longest), dtype=dtype)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = values
    return padded
