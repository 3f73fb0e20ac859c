"""Products as the sparse rows that linear members are fitted on, and how the rows' columns share weights.

A word's weight is the sum of its own and those of its character n-grams, so that words that look alike share what is
learned. What is fitted on the rows is left to `training.members.linear_fit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array, hstack
from torch import Tensor

from service.features.encoder import EncodedProduct, Encoding
from training.encode import gram_parts

BAG_SCALE = 2.0  # a larger scale is a weaker penalty
GRAM_SHARE = 0.25  # size of a gram's contribution beside the word's own
NUMBER_SCALE = 0.3
KNOTS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # standard deviations where a number's effect may bend


@dataclass(frozen=True)
class Design:
    """The products as sparse rows: [bag | categories | numbers], and how columns share weights.

    Parameters
    ----------
    rows : (n_products, n_columns)
    sharing : (n_columns, n_columns), weights of columns = sharing @ free parameters
    image_features : (n_products, n_features), of a pretrained encoder, where the member reads them; 0 for no image
    """

    rows: csr_array
    sharing: csr_array
    n_bag: int
    n_categories: int
    image_features: NDArray[np.float16] | None = None

    def take(self, index: NDArray[np.int64]) -> Design:
        """The design of some of the products."""
        features = None if self.image_features is None else self.image_features[index]
        return Design(self.rows[index], self.sharing, self.n_bag, self.n_categories, features)

    def without_text(self) -> Design:
        """The same products as if none had any text."""
        return replace(self, rows=self._only(self.rows.indices >= self.n_bag))

    def parts(self) -> list[Design]:
        """The same products by their text alone, by categories and numbers alone, and by their image alone."""
        is_text = self.rows.indices < self.n_bag
        by_columns = [replace(self, rows=self._only(kept), image_features=None) for kept in (is_text, ~is_text)]
        found = [part for part in by_columns if part.rows.nnz]
        if self.image_features is not None:
            found.append(replace(self, rows=self._only(np.zeros_like(is_text))))
        return found

    def _only(self, kept: NDArray[np.bool_]) -> csr_array:
        rows = self.rows.copy()
        rows.data[~kept] = 0.0
        rows.eliminate_zeros()
        return rows


def design(
    products: Sequence[EncodedProduct],
    encoding: Encoding,
    *,
    wide: bool,
    image_features: NDArray[np.float16] | None = None,
) -> Design:
    """Rows of the text alone, or of everything but the image (`wide`), or with its features of everything.

    Parameters
    ----------
    image_features : (n_products, n_features), of a pretrained encoder
    """
    n_bag = len(encoding.text.bag) + 1
    blocks = [_sparse([p.bag_ids for p in products], [p.bag_values for p in products], n_bag) * BAG_SCALE]
    n_categories = encoding.categorical.n_ids if wide else 0
    if wide:
        ids = [p.category_ids for p in products]
        blocks.append(_sparse(ids, [[1.0] * len(row) for row in ids], n_categories))
        numbers = torch.from_numpy(np.stack([p.numbers for p in products]))
        blocks.append(csr_array(hinges(numbers).numpy() * np.float32(NUMBER_SCALE)))
    rows = _beside(blocks)
    return Design(rows, _sharing(encoding, rows.shape[1]), n_bag, n_categories, image_features)


def hinges(numbers: Tensor) -> Tensor:
    """Numbers followed by their excess over each knot, (n, n_numbers * (1 + n_knots)): a line that may bend."""
    excess = torch.relu(numbers.unsqueeze(1) - torch.tensor(KNOTS).unsqueeze(1))
    return torch.cat([numbers, excess.flatten(1)], dim=1)


def _sharing(encoding: Encoding, n_columns: int) -> csr_array:
    word_ids, gram_ids = gram_parts(encoding.text)
    shares = np.full(len(word_ids), GRAM_SHARE, dtype=np.float32)
    parts = csr_array((shares, (word_ids, gram_ids)), shape=(n_columns, n_columns))
    return csr_array(parts + eye_array(n_columns, dtype=np.float32, format="csr"))


def _sparse(ids: Sequence[Sequence[int]], values: Sequence[Sequence[float]], n_columns: int) -> csr_array:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in ids])])
    flat_ids = np.fromiter((i for row in ids for i in row), dtype=np.int64, count=starts[-1])
    flat_values = np.fromiter((v for row in values for v in row), dtype=np.float32, count=starts[-1])
    return csr_array((flat_values, flat_ids, starts), shape=(len(ids), n_columns))


def _beside(blocks: Sequence[csr_array]) -> csr_array:
    return csr_array(hstack(blocks, format="csr", dtype=np.float32))
