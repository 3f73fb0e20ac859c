"""Training from end to end: a catalogue's train part in, a complete bundle directory out.

Two rounds of cross-fitting inside the train part come first. Linear members, over folds of whole merchants, say how
far to trust each label; all members, again over merchants or over folds that keep equal titles together, give what
calibration, stacking and thresholds are fitted on. Then all members are fitted on all products. The test part is never
read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from service.bundles.bundle import Manifest
from service.contracts import Product
from service.errors import BundleRefused, CatalogueError
from service.features.encoder import Encoder, Encoding
from training.calibrate import fit_calibration
from training.catalogues.catalogue import Catalogue, Labels, Part
from training.catalogues.left_out import warn_undecodable
from training.catalogues.merchants import merchants_of
from training.committee import Committee, Prepared, QuickMembers, fit_network, fit_quick, prepare
from training.encode import encode_but_images, encode_products, learn_encoding
from training.fitted import Clock, Fitted, write_fitted
from training.folds import even_merchant_folds, make_folds, merchant_folds
from training.gaps import gap_factors
from training.held_out import Report, believed, cross_fit
from training.joint import JointOptions
from training.members.image_rows import IMAGE
from training.noise import label_trust
from training.pretrained import ImageEncoder
from training.progress import Progress
from training.retraining.human_labels import HumanLabels
from training.retraining.lessons import HumanWeights, Lessons, with_people, without_people
from training.weights import mask, trainable_classes

Weights = NDArray[np.float32]
MIN_PRODUCTS = 20
N_BELIEF_FOLDS = 5


@dataclass(frozen=True)
class TrainingOptions:
    """What `winnow train` can be told."""

    seed: int = 0
    labels: Literal["merchant", "truth"] = "merchant"
    doubt_merchants: bool = True  # weigh each label by what others' models believe, and cross-fit over merchants
    n_folds: int = 2
    n_threads: int = 2
    joint: JointOptions = field(default_factory=JointOptions)
    human: HumanWeights = field(default_factory=HumanWeights)


def train(
    catalogue: Catalogue,
    *,
    directory: Path,
    options: TrainingOptions,
    progress: Progress,
    people: HumanLabels | None = None,
    images: ImageEncoder | None = None,
    remarks: Mapping[str, Any] | None = None,
) -> Manifest:
    """Train an ensemble and write its bundle; the directory appears last and whole, so an interrupt leaves none.

    Parameters
    ----------
    people : answers that stand over the catalogue's labels
    images : a pretrained encoder, which then sees the images instead of a network trained here
    remarks : what the provenance shall say beside what this function knows

    Raises
    ------
    BundleRefused
        If the directory is there already.
    CatalogueError
        If the train part, its labels, or a class that can be learned is missing.
    """
    if directory.exists():
        raise BundleRefused(f"{directory.name} is there already; name a new directory")
    clock = Clock()
    fitted = fit_ensemble(catalogue, options=options, clock=clock, progress=progress, people=people, images=images)
    progress("export", 1, 2)
    manifest = write_fitted(directory, catalogue, fitted, options=asdict(options), clock=clock, remarks=remarks or {})
    progress("export", 2, 2)
    return manifest


def fit_ensemble(
    catalogue: Catalogue,
    *,
    options: TrainingOptions,
    clock: Clock,
    progress: Progress,
    people: HumanLabels | None = None,
    images: ImageEncoder | None = None,
) -> Fitted:
    """Fit everything that a bundle is made of.

    Raises
    ------
    CatalogueError
        If the train part, its labels, or a class that can be learned is missing.
    """
    torch.set_num_threads(options.n_threads)
    lessons = lessons_of(catalogue, people, options)
    targets = lessons.targets
    with clock.stage("encode"):
        data = prepare_part(catalogue, lessons.products, images=images, report=partial(progress, "encode products"))
    folds = _folds(catalogue, lessons, options)
    trust = _trust(catalogue, lessons, data, options=options, clock=clock, progress=progress)
    weights = lessons.loss_weights(trust)
    standing = lessons.calibration_weights(mask(targets))  # not weighed by trust: that is another base rate
    with clock.stage("cross-fit members"):
        fit_some = partial(_fit_members, data, targets, weights, options=options)
        report = partial(progress, "cross-fit members")
        held = cross_fit(data, folds, fit=fit_some, report=report, seed=options.seed)
    with clock.stage("calibrate"):
        calibration = fit_calibration(held.logits, held.present, targets, standing, people=lessons.human > 0)
        calibration = replace(calibration, gaps=gap_factors(held.gaps, calibration, targets, standing))
    with clock.stage("train on all products"):
        report = partial(progress, "train on all products")
        committee = _fit_members(data, targets, weights, np.arange(len(targets)), report, options=options)
    return Fitted(lessons.products, targets, standing, data, held, committee, calibration, encoder_of(data, images))


def lessons_of(catalogue: Catalogue, people: HumanLabels | None, options: TrainingOptions) -> Lessons:
    """What there is to learn: the products of the train part and their labels, and over them people's answers.

    Raises
    ------
    CatalogueError
        If the train part, its labels, or a class that can be learned is missing.
    """
    part = catalogue.read("train")
    targets = _targets(catalogue, part, options)
    if people is None:
        return without_people(part.products, targets)
    return with_people(part.products, targets, people, options.human)


def _targets(catalogue: Catalogue, part: Part, options: TrainingOptions) -> Labels:
    labels = part.merchant_labels if options.labels == "merchant" else part.truth
    table = "merchant_labels" if options.labels == "merchant" else "truth"
    if labels is None:
        raise CatalogueError(f"{catalogue.name}: the train part has no {table} table; name one in [train]")
    if len(part.products) < MIN_PRODUCTS:
        raise CatalogueError(
            f"{catalogue.name}: the train part has {len(part.products)} products; at least {MIN_PRODUCTS} are needed"
        )
    if not trainable_classes(labels).any():
        raise CatalogueError(
            f"{catalogue.name}: no class has five known positives and five known negatives; write 1 for yes and 0 for "
            f"no in the {table} table, as what is left empty is unknown"
        )
    return labels


def prepare_part(
    catalogue: Catalogue, products: Sequence[Product], *, images: ImageEncoder | None, report: Report
) -> Prepared:
    """Learn an encoding from products and arrange them for every member."""
    if images is None or "image" not in catalogue.fields.modalities:
        return arranged(catalogue, products, learn_encoding(products, catalogue.fields), images=None, report=report)
    encoding = learn_encoding(products, catalogue.fields, image_size=images.image_size)
    return arranged(catalogue, products, encoding, images=images, report=report)


def arranged(
    catalogue: Catalogue,
    products: Sequence[Product],
    encoding: Encoding,
    *,
    images: ImageEncoder | None,
    report: Report,
) -> Prepared:
    """Arrange products for every member under a known encoding, with features of their images or with pixels."""
    features = None
    if images is None:
        encoded = encode_products(products, Encoder(encoding), progress=report)
    else:
        features, have = images.features([product.image for product in products], progress=report)
        encoded = encode_but_images(products, Encoder(encoding), have)
    decoded = [one.present[IMAGE] for one in encoded]
    warn_undecodable(f"[train] of {catalogue.name}", products, decoded, size=encoding.image_size)
    return prepare(encoded, encoding, catalogue.fields.modalities, features)


def encoder_of(data: Prepared, images: ImageEncoder | None) -> nn.Module | None:
    """The network that the features were made with, for the graph."""
    return None if images is None or data.image_features is None else images.network


def _folds(catalogue: Catalogue, lessons: Lessons, options: TrainingOptions) -> NDArray[np.int64]:
    """Folds for what calibration and stacking are fitted on.

    A member that has learned a merchant's mistakes agrees with that merchant's other labels, and stacking would trust
    it for that; so where merchants label, members speak of those from whom they have not learned.
    """
    if options.labels != "merchant" or not options.doubt_merchants:
        return make_folds(lessons.products, n_folds=options.n_folds, seed=options.seed)
    merchants = merchants_of(catalogue.fields, lessons.products)
    return even_merchant_folds(merchants, lessons.products, lessons.targets, n_folds=options.n_folds, seed=options.seed)


def _trust(
    catalogue: Catalogue,
    lessons: Lessons,
    data: Prepared,
    *,
    options: TrainingOptions,
    clock: Clock,
    progress: Progress,
) -> Weights:
    """How far each label is believed, (n_products, n_classes): merchants' by models that learned from others."""
    known = mask(lessons.targets)
    if options.labels != "merchant" or not options.doubt_merchants or not data.designs:
        return known
    with clock.stage("weigh labels"):
        merchants = merchants_of(catalogue.fields, lessons.products)
        apart = merchant_folds(merchants, lessons.products, n_folds=N_BELIEF_FOLDS, seed=options.seed)
        said = believed(data, lessons.targets, known, apart, report=partial(progress, "weigh labels"))
    return label_trust(lessons.targets, said)


def _fit_quick(
    data: Prepared, targets: Labels, weights: Weights, rows: NDArray[np.int64], *, options: TrainingOptions
) -> QuickMembers:
    return fit_quick(data.take(rows), targets[rows], weights[rows], seed=options.seed, n_threads=options.n_threads)


def _fit_members(
    data: Prepared,
    targets: Labels,
    weights: Weights,
    rows: NDArray[np.int64],
    report: Report,
    *,
    options: TrainingOptions,
) -> Committee:
    quick = _fit_quick(data, targets, weights, rows, options=options)
    network, curves = fit_network(
        data.take(rows), targets[rows], weights[rows], seed=options.seed, options=options.joint, on_epoch=report
    )
    return Committee(quick, network, curves)
