"""What a replay runs on: a catalogue's products as fixed features, with the truth that plays the annotator.

Features are made once, without any label; heads on them are left to `training.replay.heads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer

from service.bundles.bundle import Bundle
from service.contracts import FieldSpec, Product
from service.errors import CatalogueError
from service.features.numerical import CLIP, magnified, signed_log
from training.catalogues.catalogue import Catalogue, Labels
from training.catalogues.left_out import warn_undecodable
from training.catalogues.merchants import tells_merchant
from training.encode import factors_of
from training.predict import predict
from training.progress import Progress

if TYPE_CHECKING:
    from training.pretrained import ImageEncoder

MAX_TERMS = 30_000
MAX_GRAMS = 30_000
MAX_VALUES = 20_000  # categories and pairs of them
MIN_PRODUCTS = 3  # with a word, a value or a pair of values
WORD_SCALE, VALUE_SCALE, NUMBER_SCALE = 2.0, 1.0, 0.3  # a larger scale is a weaker penalty
N_IMAGE_DIRECTIONS = 64
KNOTS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)  # standard deviations where a number's effect may bend


@dataclass(frozen=True)
class Pool:
    """Products in the order train, stream, test.

    Parameters
    ----------
    features : (n_products, n_features), float32, sparse
    views : widths of the modalities among the features' columns
    claims : (n_train, n_classes), merchant labels: 1, 0 or -1
    truth : (n_train + n_stream, n_classes), what an annotator knows: 1, 0 or -1; -1 throughout where nobody knows
    test_truth : (n_test, n_classes)
    """

    classes: tuple[str, ...]
    features: csr_array
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


def read_pool(
    catalogue: Catalogue, *, bundle: Bundle | None = None, images: ImageEncoder | None = None, progress: Progress
) -> Pool:
    """Read a catalogue and make its features.

    Parameters
    ----------
    bundle : with one, its embedding is a view of its own
    images : with one, its features are a view of their own, reduced to their main directions

    Raises
    ------
    CatalogueError
        If a part has no product, or it has no merchant labels to start from, or no truth to play the annotator or to
        test on.
    """
    with suppress(CatalogueError):  # without the truth of train, only the stream can be asked about
        catalogue = catalogue.with_truth("train")
    train, stream, test = (catalogue.read_filled(part) for part in ("train", "stream", "test"))
    if train.merchant_labels is None or stream.truth is None or test.truth is None:
        raise CatalogueError("a replay needs merchant labels of train, and the truth of stream and test")
    unknown = np.full_like(train.merchant_labels, -1)
    products = [*train.products, *stream.products, *test.products]
    n_known = len(train.products) + len(stream.products)
    views = _views(products, catalogue.fields, n_known=n_known)
    if images is not None:
        contents = [product.image for product in products]
        seen, there = images.features(contents, progress=partial(progress, "see images"))
        warn_undecodable(catalogue.name, products, there.tolist(), size=images.image_size)
        views.append(csr_array(_main_directions(seen.astype(np.float32), there, n_known=n_known)))
    if bundle is not None:
        embedding = predict(bundle, products, progress=progress).embedding
        views.append(csr_array(_standardised(embedding, n_known=n_known).astype(np.float32)))
    if not any(view.shape[1] for view in views):
        raise CatalogueError(f"{catalogue.name} has nothing that the heads could read; show them images or a bundle")
    return Pool(
        classes=catalogue.taxonomy.classes,
        features=csr_array(hstack(views, format="csr", dtype=np.float32)),
        views=tuple(view.shape[1] for view in views),
        claims=train.merchant_labels,
        truth=np.vstack([unknown if train.truth is None else train.truth, stream.truth]),
        test_truth=test.truth,
    )


def _views(products: Sequence[Product], fields: FieldSpec, *, n_known: int) -> list[csr_array]:
    """Text, and categories with numbers; nothing is learned from the products after the first `n_known`."""
    views = []
    texts = [" \n ".join(product.texts) for product in products]
    if any(texts[:n_known]):
        titles = [next(filter(None, product.texts), "") for product in products]
        views.append(_beside([_words(texts, n_known=n_known), _grams(titles, n_known=n_known)]))
    tabular = _beside([_categories(products, fields, n_known=n_known), _numbers(products, n_known=n_known)])
    if tabular.shape[1]:
        views.append(tabular)
    return views


def _words(texts: list[str], *, n_known: int) -> csr_array:
    vectoriser = TfidfVectorizer(
        ngram_range=(1, 2), min_df=MIN_PRODUCTS, max_features=MAX_TERMS, sublinear_tf=True, dtype=np.float32
    )
    return _counted(vectoriser, texts, n_known=n_known) * np.float32(WORD_SCALE)


def _grams(titles: list[str], *, n_known: int) -> csr_array:
    """Runs of 3 to 5 characters of the first text that a product has, so that words that look alike share weight."""
    vectoriser = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), min_df=MIN_PRODUCTS, max_features=MAX_GRAMS, sublinear_tf=True,
        dtype=np.float32,
    )  # fmt: skip
    return _counted(vectoriser, titles, n_known=n_known)


def _categories(products: Sequence[Product], fields: FieldSpec, *, n_known: int) -> csr_array:
    """Values and pairs of values, as a brand means something else in another category; not the merchant's column."""
    read = [index for index, tells in enumerate(tells_merchant(fields)) if not tells]
    single = [
        [f"{column}:{value.casefold()}" for column in read for value in product.categories[column]]
        for product in products
    ]
    values = [[*row, *(f"{one}&{other}" for one, other in combinations(row, 2))] for row in single]
    counter = TfidfVectorizer(
        analyzer=list, min_df=MIN_PRODUCTS, max_features=MAX_VALUES, norm=None, use_idf=False, dtype=np.float32
    )
    return _counted(counter, values, n_known=n_known) * np.float32(VALUE_SCALE)


def _numbers(products: Sequence[Product], *, n_known: int) -> csr_array:
    raw = np.asarray([product.numbers for product in products], dtype=np.float64)
    numbers = signed_log(magnified(raw, factors_of(raw[:n_known])))
    missing = np.isnan(numbers)
    known = np.where(missing[:n_known], 0.0, numbers[:n_known])
    n_present = np.maximum(1, (~missing[:n_known]).sum(axis=0))
    mean = known.sum(axis=0) / n_present
    deviation = np.sqrt(np.where(missing[:n_known], 0.0, (known - mean) ** 2).sum(axis=0) / n_present)
    scaled = np.clip((numbers - mean) / np.maximum(deviation, 1e-6), -CLIP, CLIP)
    filled = np.where(missing, 0.0, scaled)
    bends = [np.maximum(filled - knot, 0.0) for knot in KNOTS]
    return csr_array(np.hstack([filled, missing, *bends]).astype(np.float32) * np.float32(NUMBER_SCALE))


def _counted(vectoriser: TfidfVectorizer, documents: Sequence[Any], *, n_known: int) -> csr_array:
    """Columns that the vectoriser finds in the first `n_known` documents; none where nothing is frequent enough."""
    try:
        vectoriser.fit(documents[:n_known])
    except ValueError:  # an empty vocabulary
        return csr_array((len(documents), 0), dtype=np.float32)
    return csr_array(vectoriser.transform(documents))


def _beside(blocks: Sequence[csr_array]) -> csr_array:
    return csr_array(hstack(blocks, format="csr", dtype=np.float32))


def _main_directions(features: NDArray[np.float32], there: NDArray[np.bool_], *, n_known: int) -> NDArray[np.float32]:
    """The directions in which the features vary most; 0 for a product that is not `there`."""
    known = features[:n_known][there[:n_known]]
    if len(known) <= N_IMAGE_DIRECTIONS:
        return np.zeros((len(features), 0), dtype=np.float32)
    reduction = PCA(N_IMAGE_DIRECTIONS, whiten=True, svd_solver="randomized", random_state=0).fit(known)
    reduced = reduction.transform(features) / np.sqrt(N_IMAGE_DIRECTIONS)
    return np.asarray(reduced * there[:, None], dtype=np.float32)


def _standardised(values: NDArray[Any], *, n_known: int) -> NDArray[Any]:
    """Mean 0, and together of length 1 or so: as large as a text's row."""
    known = values[:n_known]
    scaled = (values - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-6)
    return np.asarray(np.clip(scaled, -CLIP, CLIP) / np.sqrt(values.shape[1]))
