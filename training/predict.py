"""Runs a bundle over many products, through the same encoder and graph as the service, and evaluates what it says."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.bundles.bundle import Bundle
from service.contracts import Predictions, Product
from service.ensemble import Ensemble
from service.errors import CatalogueError, UnreadableImage
from service.features.encoder import EncodedProduct, Encoder, collate
from service.features.image import decode_image
from training.catalogues.catalogue import Catalogue, Labels
from training.evaluate import Evaluation, score
from training.progress import Progress

BATCH_SIZE = 64
N_THREADS = 2


def predict(bundle: Bundle, products: Sequence[Product], *, progress: Progress) -> Predictions:
    """Classify products in their order; an image that cannot be decoded counts as missing."""
    ensemble, encoder = Ensemble(bundle), Encoder(bundle.encoding)

    def predict_batch(start: int) -> Predictions:
        encoded = [encode(encoder, product) for product in products[start : start + BATCH_SIZE]]
        return ensemble.predict(collate(encoded))

    batches: list[Predictions] = []
    with ThreadPoolExecutor(N_THREADS) as pool:
        for batch in pool.map(predict_batch, range(0, len(products), BATCH_SIZE)):
            batches.append(batch)
            progress("classify", min(len(batches) * BATCH_SIZE, len(products)), len(products))
    return _joined(batches)


def encode(encoder: Encoder, product: Product) -> EncodedProduct:
    """Encode one product with its image, if it has one that can be decoded."""
    if product.image is None:
        return encoder.encode(product, None)
    try:
        image = decode_image(product.image, encoder.encoding.image_size)
    except UnreadableImage:
        return encoder.encode(product, None)
    return encoder.encode(product, image)


def evaluate_bundle(
    bundle: Bundle, catalogue: Catalogue, *, part: Literal["train", "test", "stream"], progress: Progress
) -> tuple[Evaluation, Predictions, Labels]:
    """Evaluate a bundle on a part of a catalogue, against the truth.

    Raises
    ------
    CatalogueError
        If fields or classes differ from the bundle's, or the part has no product or no truth.
    """
    check_fit(bundle, catalogue)
    table = catalogue.read_filled(part)
    if table.truth is None:
        raise CatalogueError(f"[{part}] of {catalogue.name} names no truth; evaluation needs it in catalogue.toml")
    predictions = predict(bundle, table.products, progress=progress)
    return _evaluation(bundle, catalogue, part, predictions, table.truth), predictions, table.truth


def check_fit(bundle: Bundle, catalogue: Catalogue) -> None:
    """Refuse a catalogue whose fields or classes are not those the bundle was trained with."""
    catalogue.check_fit(bundle.manifest)


def _evaluation(bundle: Bundle, catalogue: Catalogue, part: str, said: Predictions, truth: Labels) -> Evaluation:
    manifest = bundle.manifest
    filled = _abstentions_as_priors(said, manifest.priors)
    return Evaluation(
        model_version=manifest.version,
        catalogue=catalogue.name,
        part=part,
        targets="truth",
        classes=manifest.taxonomy.classes,
        n_products=len(truth),
        ensemble=score(said.probabilities, truth, manifest.thresholds),
        members={
            member.name: score(filled[:, index], truth, manifest.thresholds)
            for index, member in enumerate(manifest.members)
        },
    )


def _abstentions_as_priors(said: Predictions, priors: Sequence[float]) -> NDArray[np.float32]:
    """Member probabilities, with the class's prior where a member abstains."""
    return np.where(said.present[:, :, None], said.member_probabilities, np.asarray(priors, dtype=np.float32))


def _joined(batches: Sequence[Predictions]) -> Predictions:
    return Predictions(
        probabilities=np.concatenate([batch.probabilities for batch in batches]),
        member_probabilities=np.concatenate([batch.member_probabilities for batch in batches]),
        present=np.concatenate([batch.present for batch in batches]),
        embedding=np.concatenate([batch.embedding for batch in batches]),
    )
