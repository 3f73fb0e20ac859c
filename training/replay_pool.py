"""What a replay runs on: a catalogue's products as fixed features, with the truth that plays the annotator.

Features are made once, without any label; heads on them are left to `training.heads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from service.bundle import Bundle
from service.contracts import Product
from service.errors import CatalogueError
from service.features.numerical import CLIP, signed_log
from training.catalogue import Catalogue, Labels
from training.predict import Progress, predict

N_TEXT_DIMENSIONS = 256
MAX_TERMS = 15_000
MAX_VALUES = 1_000
MIN_PRODUCTS = 3  # with a word or a value


@dataclass(frozen=True)
class Pool:
    """Products in the order train, stream, test.

    Parameters
    ----------
    features : (n_products, n_features), float32
    views : widths of the modalities among the features' columns
    claims : (n_train, n_classes), merchant labels: 1, 0 or -1
    truth : (n_train + n_stream, n_classes), what an annotator knows: 1, 0 or -1; -1 throughout where nobody knows
    test_truth : (n_test, n_classes)
    """

    classes: tuple[str, ...]
    features: NDArray[np.float32]
    views: tuple[int, ...]
    claims: Labels
    truth: Labels
    test_truth: Labels

    @property
    def n_train(self) -> int:
        """Products with merchant labels, which come first."""
        return len(self.claims)

    @property
    def n_askable(self) -> int:
        """Products that annotators may be asked about: train and stream."""
        return len(self.truth)


def read_pool(catalogue: Catalogue, *, bundle: Bundle | None, seed: int = 0, progress: Progress) -> Pool:
    """Read a catalogue and make its features.

    Parameters
    ----------
    bundle : with one, its embedding, which has seen the images, is a view of its own

    Raises
    ------
    CatalogueError
        If it has no merchant labels to start from, or no truth to play the annotator or to test on.
    """
    with suppress(CatalogueError):  # without the truth of train, only the stream can be asked about
        catalogue = catalogue.with_truth("train")
    train, stream, test = (catalogue.read(part) for part in ("train", "stream", "test"))
    if train.merchant_labels is None or stream.truth is None or test.truth is None:
        raise CatalogueError("a replay needs merchant labels of train, and the truth of stream and test")
    unknown = np.full_like(train.merchant_labels, -1)
    products = [*train.products, *stream.products, *test.products]
    views = _views(products, n_known=len(train.products) + len(stream.products), seed=seed)
    if bundle is not None:
        views.append(_standardised(predict(bundle, products, progress=progress).embedding))
    return Pool(
        classes=catalogue.taxonomy.classes,
        features=np.hstack(views).astype(np.float32),
        views=tuple(view.shape[1] for view in views),
        claims=train.merchant_labels,
        truth=np.vstack([unknown if train.truth is None else train.truth, stream.truth]),
        test_truth=test.truth,
    )


def _views(products: Sequence[Product], *, n_known: int, seed: int) -> list[NDArray[Any]]:
    """Text, and categories with numbers; nothing is learned from the products after the first `n_known`."""
    views = []
    texts = [" \n ".join(product.texts) for product in products]
    if any(texts):
        views.append(_text_view(texts, n_known=n_known, seed=seed))
    tabular = [_category_view(products, n_known=n_known), _number_view(products, n_known=n_known)]
    if any(view.shape[1] for view in tabular):
        views.append(np.hstack(tabular))
    return views


def _text_view(texts: list[str], *, n_known: int, seed: int) -> NDArray[Any]:
    vectoriser = TfidfVectorizer(
        ngram_range=(1, 2), min_df=MIN_PRODUCTS, max_features=MAX_TERMS, sublinear_tf=True, dtype=np.float32
    )
    vectoriser.fit(texts[:n_known])
    terms = vectoriser.transform(texts)
    n_dimensions = min(N_TEXT_DIMENSIONS, terms.shape[1] - 1)
    reduction = TruncatedSVD(n_dimensions, n_iter=2, random_state=seed).fit(terms[:n_known])
    reduced = reduction.transform(terms)
    whitened = reduced / np.sqrt(reduced[:n_known].std(axis=0) + 1e-9)  # halfway: small directions matter, but less
    return np.asarray(whitened / whitened.std())


def _category_view(products: Sequence[Product], *, n_known: int) -> NDArray[Any]:
    values = [
        [f"{column}:{value.casefold()}" for column, cell in enumerate(product.categories) for value in cell]
        for product in products
    ]
    if not any(values[:n_known]):
        return np.zeros((len(products), 0))
    counter = TfidfVectorizer(
        analyzer=list, min_df=MIN_PRODUCTS, max_features=MAX_VALUES, norm=None, use_idf=False, dtype=np.float32
    )
    counter.fit(values[:n_known])
    return np.asarray(counter.transform(values).toarray())


def _number_view(products: Sequence[Product], *, n_known: int) -> NDArray[Any]:
    numbers = signed_log(np.asarray([product.numbers for product in products], dtype=np.float64))
    missing = np.isnan(numbers)
    known = np.where(missing[:n_known], 0.0, numbers[:n_known])
    n_present = np.maximum(1, (~missing[:n_known]).sum(axis=0))
    mean = known.sum(axis=0) / n_present
    deviation = np.sqrt(np.where(missing[:n_known], 0.0, (known - mean) ** 2).sum(axis=0) / n_present)
    scaled = np.clip((numbers - mean) / np.maximum(deviation, 1e-6), -CLIP, CLIP)
    return np.hstack([np.where(missing, 0.0, scaled), missing])


def _standardised(values: NDArray[Any]) -> NDArray[Any]:
    return np.asarray((values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6))
