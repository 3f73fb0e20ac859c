"""Linear members: one logistic regression a class over bag ids, category ids, numbers, and features of an image.

A word's weight is the sum of its own and those of its character n-grams, so that words that look alike share what is
learned. After fitting the sum is stored in the word's own row: at serving time a known word is one look-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array, hstack
from torch import Tensor, nn

from service.contracts import MODALITIES
from service.features.encoder import EncodedProduct, Encoding
from training.encode import gram_parts
from training.members.descent import minimise
from training.weights import mask, priors

BAG_SCALE = 2.0  # a larger scale is a weaker penalty
GRAM_SHARE = 0.25  # size of a gram's contribution beside the word's own
NUMBER_SCALE = 0.3
KNOTS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # standard deviations where a number's effect may bend
PENALTY = 1.5
N_COMPONENTS = 256  # principal components of image features that are read
IMAGE_SCALE = 0.04  # of features of deviation 1
N_ITERATIONS = 25
N_FURTHER_ITERATIONS = 12  # of a member that begins where another ended
N_PAIRS = 6  # steps that the solver remembers
LEAST_DEVIATION = 1e-3  # of a feature
IMAGE_BLOCK = 4096  # images whose features are widened at a time
IMAGE = MODALITIES.index("image")
CLASS_BLOCK = 64  # classes solved together, which bounds memory


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


class ImageComponents(nn.Module):
    """The principal components of a pretrained encoder's features, each feature brought to mean 0 and deviation 1."""

    mean: Tensor
    components: Tensor

    def __init__(self, n_features: int, n_components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("components", torch.zeros(n_features, n_components))

    def forward(self, features: Tensor, have: Tensor) -> Tensor:
        """Features (n, n_features) to components (n, n_components); 0 where `have` (n, 1) is."""
        return torch.matmul(features - self.mean, self.components) * have


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
            logits = logits + self.image_weights(self.image(batch["image_features"], batch["present"][:, [IMAGE]]))
        return logits


def hinges(numbers: Tensor) -> Tensor:
    """Numbers followed by their excess over each knot, (n, n_numbers * (1 + n_knots)): a line that may bend."""
    return torch.cat([numbers, *(torch.relu(numbers - knot) for knot in KNOTS)], dim=1)


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


def fit_linear(
    data: Design, targets: NDArray[np.int8], weights: NDArray[np.float32], *, start: LinearMember | None = None
) -> LinearMember:
    """Fit one penalised logistic regression a class; known targets count by their weight.

    Parameters
    ----------
    targets, weights : (n_products, n_classes)
    start : a member of the same columns to begin with, and to stay near: the penalty then is on the difference, so that
        a few products cannot undo what many have taught
    """
    n_classes = targets.shape[1]
    image = _components(data) if start is None else start.image
    problem = _Problem(data, image)
    blocks = [slice(first, first + CLASS_BLOCK) for first in range(0, n_classes, CLASS_BLOCK)]
    begin = None if start is None else _parameters(start, data)
    solved = [
        _solve(
            problem,
            targets[:, block],
            weights[:, block] * mask(targets[:, block]),
            start=None if begin is None else begin[:, block],
        )
        for block in blocks
    ]
    return _member(data, np.concatenate(solved, axis=1), image)


def linear_logits(member: LinearMember, data: Design) -> NDArray[np.float32]:
    """What a fitted member says of a design's products, (n_products, n_classes)."""
    columns, bias = _columns(member)
    logits = np.asarray(data.rows @ columns + bias, dtype=np.float32)
    if member.image is None or member.image_weights is None:
        return logits
    with torch.no_grad():
        weights: NDArray[np.float32] = member.image_weights.weight.numpy()
    return logits + _seen(data, member.image) @ weights.T


def _components(data: Design) -> ImageComponents | None:
    """The directions in which image features of these products differ most."""
    if data.image_features is None:
        return None
    features = data.image_features[data.image_features.any(axis=1)].astype(np.float32)
    n_features = data.image_features.shape[1]
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


def _seen(data: Design, image: ImageComponents) -> NDArray[np.float32]:
    """Components of a design's images, (n_products, n_components)."""
    if data.image_features is None:
        return np.zeros((data.rows.shape[0], image.components.shape[1]), dtype=np.float32)
    have: NDArray[np.bool_] = np.asarray(data.image_features.any(axis=1, keepdims=True))
    blocks = []
    for first in range(0, len(have), IMAGE_BLOCK):
        rows = slice(first, first + IMAGE_BLOCK)
        features = torch.from_numpy(data.image_features[rows].astype(np.float32))
        blocks.append(image(features, torch.from_numpy(have[rows].astype(np.float32))).numpy())
    return np.concatenate(blocks)


def _columns(member: LinearMember) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights of a design's columns, (n_columns, n_classes), and the bias: the scales of the design taken out again."""
    tables = [member.bag.weight / BAG_SCALE]
    if member.categories is not None:
        tables.append(member.categories.weight)
    if member.numbers is not None:
        tables.append(member.numbers.weight.T / NUMBER_SCALE)
    with torch.no_grad():
        return torch.cat(tables).numpy(), member.bias.numpy()


def _parameters(member: LinearMember, data: Design) -> NDArray[np.float32]:
    """Free parameters of a fitted member, (n_parameters, n_classes): of columns, of image components, the bias.

    Words share the weights of grams and grams share none: with P the shares of the parts, columns = (I + P) free,
    P² = 0, and so free = (I - P) columns.
    """
    columns, bias = _columns(member)
    free = 2 * columns - data.sharing @ columns
    image = member.image_weights.weight.detach().numpy().T if member.image_weights is not None else columns[:0]
    return np.concatenate([free, image, bias[None]])


class _Problem:
    """The products of a fit: parameters in, logits out, and back."""

    def __init__(self, data: Design, image: ImageComponents | None) -> None:
        self._rows, self._sharing = data.rows, data.sharing
        self._rows_back, self._sharing_back = data.rows.T.tocsr(), data.sharing.T.tocsr()
        self._seen = None if image is None else _seen(data, image)
        self._n_columns = data.rows.shape[1]
        self.n_parameters = self._n_columns + (0 if self._seen is None else self._seen.shape[1]) + 1

    def logits(self, parameters: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n_parameters, n_classes) to (n_products, n_classes)."""
        said = self._rows @ (self._sharing @ parameters[: self._n_columns]) + parameters[-1]
        if self._seen is not None:
            said += self._seen @ parameters[self._n_columns : -1]
        return np.asarray(said)

    def gradient(self, error: NDArray[np.float32]) -> NDArray[np.float32]:
        """From that of logits, (n_products, n_classes), to that of parameters, (n_parameters, n_classes)."""
        gradient = np.empty((self.n_parameters, error.shape[1]), dtype=np.float32)
        gradient[: self._n_columns] = self._sharing_back @ (self._rows_back @ error)
        if self._seen is not None:
            gradient[self._n_columns : -1] = self._seen.T @ error
        gradient[-1] = error.sum(axis=0)
        return gradient


def _solve(
    problem: _Problem,
    targets: NDArray[np.int8],
    weights: NDArray[np.float32],
    *,
    start: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    begin = _at_base_rate(problem, targets) if start is None else start
    anchor = np.float32(0.0) if start is None else start[:-1]
    objective = _Objective(problem, (targets == 1).astype(np.float32), weights, anchor=anchor)
    n_iterations = N_ITERATIONS if start is None else N_FURTHER_ITERATIONS
    return minimise(objective, begin, n_iterations=n_iterations, n_pairs=N_PAIRS)


def _at_base_rate(problem: _Problem, targets: NDArray[np.int8]) -> NDArray[np.float32]:
    rate = priors(targets)
    start = np.zeros((problem.n_parameters, targets.shape[1]), dtype=np.float32)
    start[-1] = np.log(rate / (1 - rate))
    return start


class _Objective:
    """Weighted log loss of each class plus the penalty on its distance to the anchor, with the gradient."""

    def __init__(
        self,
        problem: _Problem,
        positive: NDArray[np.float32],
        weights: NDArray[np.float32],
        *,
        anchor: NDArray[np.float32] | np.float32,
    ) -> None:
        self._problem, self._anchor = problem, anchor
        self._positive, self._weights = positive, weights

    def __call__(self, parameters: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        logits = self._problem.logits(parameters)
        tail = np.exp(-np.abs(logits))
        loss = self._weights * (np.log1p(tail) + np.maximum(logits, 0) - self._positive * logits)
        error = self._weights * (np.where(logits >= 0, 1.0, tail) / (1 + tail) - self._positive)
        gradient = self._problem.gradient(error)
        moved = parameters[:-1] - self._anchor
        gradient[:-1] += np.float32(PENALTY) * moved
        penalty = 0.5 * PENALTY * np.square(moved).sum(axis=0, dtype=np.float64)
        return loss.sum(axis=0, dtype=np.float64) + penalty, gradient


def _member(data: Design, parameters: NDArray[np.float32], image: ImageComponents | None) -> LinearMember:
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
