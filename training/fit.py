"""Training from end to end: a catalogue's train part in, a complete bundle directory out.

Two rounds of cross-fitting inside the train part come first, over folds that keep equal titles together: one by quick
members says how far to trust each label, one by all members fits calibration, stacking and thresholds. Then all members
are fitted on all products. The test part is never read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from service.bundle import ENCODING, GOLDEN, GRAPH, Manifest, MemberCard, pack_golden, write_bundle
from service.contracts import MODALITIES, Product
from service.errors import CatalogueError
from service.features.encoder import EncodedProduct, Encoder, Encoding, collate
from service.features.text import words
from training.calibrate import (
    Platt,
    choose_threshold,
    fit_platt,
    fit_stacking,
    logit,
    mixture,
    shrunk_threshold,
    sigmoid,
)
from training.catalogue import Catalogue, Labels, Part
from training.committee import KINDS, Committee, Logits, Prepared, fit_network, fit_quick, prepare
from training.encode import encode_products, learn_encoding
from training.evaluate import score
from training.export import Calibration, EnsembleModule, export_graph, run_module
from training.joint import JointOptions
from training.noise import label_confidence
from training.reference import learn_reference
from training.weights import mask, priors, trainable_classes

Progress = Callable[[str, int, int], None]  # stage, steps done, steps in all
Weights = NDArray[np.float32]
MIN_PRODUCTS = 20
MIN_GROUPS, MIN_GROUP_SHARE = 20, 0.05  # distinct texts, in all and as a share of the products
N_GOLDEN = 24


@dataclass(frozen=True)
class TrainingOptions:
    """What `winnow train` can be told."""

    seed: int = 0
    labels: Literal["merchant", "truth"] = "merchant"
    n_folds: int = 3
    n_threads: int = 2
    joint: JointOptions = field(default_factory=JointOptions)


@dataclass(frozen=True)
class _Held:
    """Predictions for products that the members had not seen.

    Parameters
    ----------
    logits : (n_products, n_members, n_classes)
    present : (n_products, n_members)
    """

    logits: NDArray[np.float32]
    present: NDArray[np.bool_]


class _Clock:
    """CPU seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.process_time() - start, 2)


def train(catalogue: Catalogue, *, directory: Path, options: TrainingOptions, progress: Progress) -> Manifest:
    """Train an ensemble and write its bundle; the directory is created last, so that an interrupt leaves none.

    Raises
    ------
    CatalogueError
        If the train part, its labels, or a class that can be learned is missing.
    """
    torch.set_num_threads(options.n_threads)
    clock = _Clock()
    part = catalogue.read("train")
    targets = _targets(catalogue, part, options)
    with clock.stage("encode"):
        encoding = learn_encoding(part.products, catalogue.fields)
        report = _stage(progress, "encode products")
        encoded = encode_products(part.products, Encoder(encoding), progress=report)
        data = prepare(encoded, encoding, catalogue.fields.modalities)
    folds = make_folds(part.products, n_folds=options.n_folds, seed=options.seed)
    weights = _label_weights(data, targets, folds, options=options, progress=progress, clock=clock)
    held = _cross_fit(data, targets, weights, folds, options=options, progress=progress, clock=clock)
    with clock.stage("train on all"):
        committee = _fit_all(data, targets, weights, options=options, report=_stage(progress, "train on all products"))
    with clock.stage("calibrate"):
        calibration = calibrate(held.logits, held.present, targets, weights)
        answers = held_out_probabilities(held.logits, held.present, calibration)
        thresholds = _thresholds(catalogue, answers, targets, weights)
    with clock.stage("export"):
        cards = _cards(data, committee, calibration)
        module = EnsembleModule(committee.quick.modules(encoding), committee.network, cards, calibration)
        files = _files(module, encoding, encoded)
        progress("export", 1, 1)
    about = {
        "catalogue": catalogue.name,
        "fields": catalogue.fields,
        "taxonomy": catalogue.taxonomy,
        "thresholds": thresholds,
        "priors": calibration.priors.tolist(),
        "trainable": calibration.trainable.tolist(),
        "members": cards,
        "metrics": _metrics(
            answers, calibration.members(held.logits), targets, thresholds=thresholds, members=committee.members
        ),
        "reference": learn_reference(catalogue, part.products, encoded, answers),
        "provenance": _provenance(part, targets, committee, options, clock),
        "example": _example(catalogue),
    }
    now = datetime.now(UTC)
    return write_bundle(directory, {**about, "created_at": now, "version": _version(catalogue.name, now)}, files=files)


def make_folds(products: Sequence[Product], *, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each product, (n_products,); products with the same first text share one, where texts mostly differ."""
    keys = [" ".join(words(product.texts[0])) if product.texts else "" for product in products]
    named = [key or f"\0{row}" for row, key in enumerate(keys)]  # a product without a title stands alone
    distinct, group = np.unique(named, return_inverse=True)
    if len(distinct) < MIN_GROUPS + len(products) * MIN_GROUP_SHARE:  # a text is then a kind, not a product
        group = np.arange(len(products))
    fold_of_group = np.random.default_rng(seed).permutation(int(group.max()) + 1) % n_folds
    return fold_of_group[group].astype(np.int64)


def calibrate(
    logits: NDArray[np.float32], present: NDArray[np.bool_], targets: Labels, weights: Weights
) -> Calibration:
    """Everything between logits and probabilities, fitted on predictions for unseen products.

    Parameters
    ----------
    logits : (n_products, n_members, n_classes)
    present : (n_products, n_members), False where a member abstains
    """
    positive = targets == 1
    rates = priors(targets)
    lines = [fit_platt(logits[:, m], positive, weights * present[:, [m]]) for m in range(logits.shape[1])]
    members = Platt(np.stack([line.slope for line in lines]), np.stack([line.shift for line in lines]))
    probabilities = members(logits)
    stacking = fit_stacking(probabilities, present, positive, weights)
    stacked = mixture(probabilities, present, stacking, rates)
    ensemble = fit_platt(logit(stacked), positive, weights)
    return Calibration(members, ensemble, stacking, rates, trainable_classes(targets))


def held_out_probabilities(
    logits: NDArray[np.float32], present: NDArray[np.bool_], calibration: Calibration
) -> NDArray[np.float64]:
    """What the ensemble would have answered, (n_products, n_classes)."""
    stacked = mixture(calibration.members(logits), present, calibration.stacking, calibration.priors)
    answered = present.any(axis=1, keepdims=True) & calibration.trainable
    return np.where(answered, calibration.ensemble(logit(stacked)), calibration.priors)


def _targets(catalogue: Catalogue, part: Part, options: TrainingOptions) -> Labels:
    labels = part.merchant_labels if options.labels == "merchant" else part.truth
    if labels is None:
        table = "merchant_labels" if options.labels == "merchant" else "truth"
        raise CatalogueError(f"{catalogue.name}: the train part has no {table} table; name one in [train]")
    if len(part.products) < MIN_PRODUCTS:
        raise CatalogueError(
            f"{catalogue.name}: the train part has {len(part.products)} products; at least {MIN_PRODUCTS} are needed"
        )
    if not trainable_classes(labels).any():
        raise CatalogueError(f"{catalogue.name}: no class has five known positives and five known negatives")
    return labels


def _label_weights(
    data: Prepared,
    targets: Labels,
    folds: NDArray[np.int64],
    *,
    options: TrainingOptions,
    progress: Progress,
    clock: _Clock,
) -> Weights:
    """Confidence in each merchant label, from quick members that did not see it; true labels all count 1."""
    known = mask(targets)
    if options.labels == "truth" or not data.designs:
        return known
    report = _stage(progress, "weigh labels")
    believed = np.zeros(targets.shape)
    with clock.stage("weigh labels"):
        for fold in range(options.n_folds):
            seen, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            quick = fit_quick(
                data.take(seen), targets[seen], known[seen], seed=options.seed, n_threads=options.n_threads
            )
            believed[unseen] = _mean_probability(quick.logits(data.take(unseen)))
            report(fold + 1, options.n_folds)
    return label_confidence(targets, believed)


def _mean_probability(logits: Logits) -> NDArray[np.float64]:
    return np.asarray(np.mean([sigmoid(values) for values in logits.values()], axis=0), dtype=np.float64)


def _cross_fit(
    data: Prepared,
    targets: Labels,
    weights: Weights,
    folds: NDArray[np.int64],
    *,
    options: TrainingOptions,
    progress: Progress,
    clock: _Clock,
) -> _Held:
    report = _stage(progress, "cross-fit members")
    blocks = []
    with clock.stage("cross-fit members"):
        for fold in range(options.n_folds):
            seen, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            further = partial(_further, report, fold, options.n_folds)
            committee = _fit_all(data.take(seen), targets[seen], weights[seen], options=options, report=further)
            blocks.append((unseen, committee.logits(data.take(unseen))))
    logits = np.empty((len(targets), *blocks[0][1].shape[1:]), dtype=np.float32)
    for rows, block in blocks:
        logits[rows] = block
    return _Held(logits, data.present(committee.members))


def _fit_all(
    data: Prepared, targets: Labels, weights: Weights, *, options: TrainingOptions, report: Callable[[int, int], None]
) -> Committee:
    quick = fit_quick(data, targets, weights, seed=options.seed, n_threads=options.n_threads)
    network, curves = fit_network(data, targets, weights, seed=options.seed, options=options.joint, on_epoch=report)
    return Committee(quick, network, curves)


def _thresholds(
    catalogue: Catalogue, answers: NDArray[np.float64], targets: Labels, weights: Weights
) -> tuple[float, ...]:
    """Each class's own threshold, drawn towards the one that suits all classes together."""
    known = mask(targets) * weights
    positive = targets == 1
    pooled = choose_threshold(answers.ravel(), positive.ravel(), known.ravel(), catalogue.thresholds)
    chosen = []
    for index, name in enumerate(catalogue.taxonomy.classes):
        objective = catalogue.thresholds.of(name)
        own = choose_threshold(answers[:, index], positive[:, index], known[:, index], objective)
        chosen.append(shrunk_threshold(own, pooled, float(positive[:, index].sum())))
    return tuple(chosen)


def _cards(data: Prepared, committee: Committee, calibration: Calibration) -> tuple[MemberCard, ...]:
    return tuple(
        MemberCard(
            name=name,
            kind=KINDS[name],
            modalities=data.reads(name),
            weights=tuple(calibration.stacking[index].tolist()),
        )
        for index, name in enumerate(committee.members)
    )


def _files(module: EnsembleModule, encoding: Encoding, products: Sequence[EncodedProduct]) -> dict[str, bytes]:
    golden = golden_products(products)
    return {
        GRAPH: export_graph(module, golden),
        ENCODING: encoding.model_dump_json().encode(),
        GOLDEN: pack_golden(collate(golden), run_module(module, golden)),
    }


def golden_products(products: Sequence[EncodedProduct]) -> list[EncodedProduct]:
    """Some products as they are, one without each modality, and one with nothing at all."""
    step = max(1, len(products) // N_GOLDEN)
    chosen = list(products[::step][:N_GOLDEN])
    gaps = [chosen[0].without(modality) for modality in MODALITIES]
    return [*chosen, *gaps, chosen[0].without(*MODALITIES)]


def _metrics(
    answers: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    targets: Labels,
    *,
    thresholds: Sequence[float],
    members: Sequence[str],
) -> dict[str, Any]:
    """Scores on held-out folds of the train part, against the labels trained on."""
    halves = [0.5] * targets.shape[1]
    return {
        "against": "held-out training labels",
        "ensemble": score(answers, targets, thresholds).summary(),
        "members": {
            name: score(probabilities[:, index], targets, halves).summary() for index, name in enumerate(members)
        },
    }


def _provenance(
    part: Part, targets: Labels, committee: Committee, options: TrainingOptions, clock: _Clock
) -> dict[str, Any]:
    curves = {name: [round(epoch[name], 5) for epoch in committee.curves] for name in committee.curves[0]}
    libraries = ("torch", "lightgbm", "numpy", "scipy", "scikit-learn", "onnx", "pillow")
    return {
        "labels": options.labels,
        "seed": options.seed,
        "options": asdict(options),
        "n_products": len(part.products),
        "n_known_labels": int((targets >= 0).sum()),
        "n_positives": (targets == 1).sum(axis=0).tolist(),
        "cpu_seconds": clock.seconds,
        "curves": curves,
        "libraries": {name: library_version(name) for name in libraries},
    }


def _example(catalogue: Catalogue) -> dict[str, Any]:
    """The first product of the train part with the fewest gaps among its first fifty, without its image."""
    records = [record for record, _ in zip(catalogue.records("train"), range(50), strict=False)]
    fullest = max(records, key=lambda record: sum(cell not in (None, "") for cell in record.values()))
    return {name: cell for name, cell in fullest.items() if name != catalogue.fields.image and cell is not None}


def _version(name: str, now: datetime) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "catalogue"
    return f"{slug}-{now:%Y%m%d-%H%M%S}"


def _further(report: Callable[[int, int], None], fold: int, n_folds: int, step: int, n_steps: int) -> None:
    report(fold * n_steps + step, n_folds * n_steps)


def _stage(progress: Progress, name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total)
