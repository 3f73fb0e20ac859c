"""Every sensible kind of model on every modality, alone: what each is worth on a catalogue, and what it costs.

All see the same products, labels and splits: they are fitted on four fifths of the train part, calibrated and
thresholded on the last fifth, and scored on the test part. The neural ones get the same number of epochs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.decomposition import TruncatedSVD

from service.contracts import MODALITIES, Modality
from service.errors import CatalogueError
from service.features.encoder import Encoder
from training.catalogues.catalogue import Catalogue, Labels
from training.committee import Prepared, network_for, prepare
from training.encode import encode_products
from training.evaluate import score
from training.fit import prepare_part
from training.folds import make_folds
from training.joint import JointNetwork, JointOptions
from training.joint_training import predict_joint, train_joint
from training.members.linear import linear_logits
from training.members.linear_design import Design
from training.members.linear_fit import fit_linear
from training.members.single import SingleTower, TowerKind, pixels
from training.members.trees import FittedTrees, fit_trees
from training.platt import fit_platt
from training.pretrained import ImageEncoder
from training.progress import Progress
from training.thresholds import fit_thresholds
from training.weights import mask, priors

N_FOLDS = 5  # the last one calibrates
N_TEXT_FEATURES = 64  # that trees read, of the words' singular vectors
JOINT = "fused"

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Combination:
    """A kind of model and what it reads."""

    kind: str
    reads: tuple[Modality, ...]

    @property
    def name(self) -> str:
        """As it stands in the table."""
        return f"{self.kind} on {' + '.join(self.reads)}"


@dataclass(frozen=True)
class Baseline:
    """What one combination is worth with one seed, and what it costs.

    Parameters
    ----------
    cpu_seconds : of fitting, features apart
    megabytes : of its weights in single precision
    microseconds : of processor time a product, in batches, features apart
    """

    name: str
    seed: int
    macro_ap: float
    rare_quarter_ap: float
    macro_f1: float
    calibration_error: float
    cpu_seconds: float
    megabytes: float
    microseconds: float


@dataclass(frozen=True)
class Study:
    """A catalogue in the shapes that all kinds read.

    Parameters
    ----------
    targets : of the train part, (n_train, n_classes)
    truth : of the test part, (n_test, n_classes)
    """

    catalogue: Catalogue
    train: Prepared
    test: Prepared
    titles: NDArray[np.int64]  # fold of each product of the train part
    targets: Labels
    truth: Labels


@dataclass(frozen=True)
class Fitted:
    """A fitted model: what it says of products, and how large it is."""

    logits: Callable[[Prepared], Logits]
    megabytes: float


def read_study(
    catalogue: Catalogue, *, labels: str, images: ImageEncoder | None, n_products: int, progress: Progress
) -> Study:
    """Read and encode a catalogue.

    Parameters
    ----------
    labels : "merchant" or "truth", to learn from
    n_products : of the train part, a sample; 0 for all

    Raises
    ------
    CatalogueError
        If the train part lacks these labels, or the test part its truth.
    """
    part, test = catalogue.read_filled("train"), catalogue.read_filled("test")
    targets = part.merchant_labels if labels == "merchant" else part.truth
    if targets is None or test.truth is None:
        raise CatalogueError(f"{catalogue.name}: baselines need {labels} labels in [train] and truth in [test]")
    rows = np.arange(len(part.products))
    if n_products:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:n_products])
    products = [part.products[row] for row in rows.tolist()]
    data = prepare_part(catalogue, products, images=None, report=partial(progress, "encode train part"))
    encoded = encode_products(test.products, Encoder(data.encoding), progress=partial(progress, "encode test part"))
    tested = prepare(encoded, data.encoding, data.modalities)
    if images is not None and "image" in data.modalities:
        report = partial(progress, "image features")
        data = replace(data, image_features=images.features([p.image for p in products], progress=report)[0])
        tested = replace(tested, image_features=images.features([p.image for p in test.products], progress=report)[0])
    folds = make_folds(products, n_folds=N_FOLDS, seed=0)
    return Study(catalogue, data, tested, folds, targets[rows], test.truth)


def combinations(modalities: Sequence[Modality]) -> list[Combination]:
    """Every sensible one for a catalogue that has these modalities."""
    table: tuple[Modality, ...] = tuple(name for name in ("categorical", "numerical") if name in modalities)
    text: tuple[Modality, ...] = ("text",) if "text" in modalities else ()
    image: tuple[Modality, ...] = ("image",) if "image" in modalities else ()
    tabular = dict.fromkeys(reads for reads in (text, table, text + table) if reads)
    everything = tuple(name for name in MODALITIES if name in modalities)
    wanted = [("linear", reads) for reads in (*tabular, image)]
    wanted += [("trees", reads) for reads in tabular]
    wanted += [("mlp", reads) for reads in dict.fromkeys((*tabular, image, everything))]
    wanted += [("convolutional", reads) for reads in (text, image)]
    wanted += [("recurrent", text), (JOINT, everything)]
    return [Combination(kind, reads) for kind, reads in wanted if reads]


def measure(study: Study, wanted: Combination, *, seed: int, options: JointOptions) -> Baseline:
    """Fit, calibrate, threshold and score one combination."""
    last = (seed + 1) % N_FOLDS
    fitted_on, held_out = np.flatnonzero(study.titles != last), np.flatnonzero(study.titles == last)
    data, targets = study.train.take(fitted_on), study.targets[fitted_on]
    start = time.process_time()
    fitted = fit(wanted, data, targets, seed=seed, options=options)
    cpu_seconds = time.process_time() - start
    held = study.targets[held_out]
    line = fit_platt(said := fitted.logits(study.train.take(held_out)), held == 1, mask(held))
    classes, settings = study.catalogue.taxonomy.classes, study.catalogue.thresholds
    thresholds = fit_thresholds(line(said), held, mask(held), classes=classes, settings=settings)
    start = time.process_time()
    tested = fitted.logits(study.test)
    microseconds = (time.process_time() - start) / len(tested) * 1e6
    scores = score(line(tested), study.truth, thresholds)
    return Baseline(
        name=wanted.name,
        seed=seed,
        macro_ap=scores.macro_ap,
        rare_quarter_ap=scores.rare_quarter_ap,
        macro_f1=scores.macro_f1,
        calibration_error=scores.mean_calibration_error,
        cpu_seconds=round(cpu_seconds, 2),
        megabytes=round(fitted.megabytes, 2),
        microseconds=round(microseconds, 1),
    )


def fit(wanted: Combination, data: Prepared, targets: Labels, *, seed: int, options: JointOptions) -> Fitted:
    """Fit one combination on these products; unknown targets are masked, known ones count alike."""
    weights = mask(targets)
    if wanted.kind == "linear" and "image" not in wanted.reads:
        return _linear(wanted, data, targets, weights)
    if wanted.kind == "trees":
        return _trees(wanted, data, targets, weights, seed=seed)
    torch.manual_seed(seed)
    network = _network(wanted, data, targets.shape[1], options)
    features = data.image_features if "image" in wanted.reads else None
    train_joint(network, data.products, targets, weights, seed=seed, image_features=features)
    size = sum(parameter.numel() for parameter in network.parameters()) * 4 / 1e6
    return Fitted(lambda other: predict_joint(network, other.products, other.image_features)["fused"], size)


def _linear(wanted: Combination, data: Prepared, targets: Labels, weights: NDArray[np.float32]) -> Fitted:
    member = fit_linear(_design(wanted, data), targets, weights)
    size = sum(int((parameter != 0).sum()) for parameter in member.parameters()) * 4 / 1e6
    return Fitted(lambda other: linear_logits(member, _design(wanted, other)), size)


def _design(wanted: Combination, data: Prepared) -> Design:
    if "text" not in wanted.reads:
        return data.designs["wide_linear"].without_text()
    return data.designs["text_linear" if wanted.reads == ("text",) else "wide_linear"]


def _trees(wanted: Combination, data: Prepared, targets: Labels, weights: NDArray[np.float32], *, seed: int) -> Fitted:
    decomposition = None
    if "text" in wanted.reads:
        rows = data.designs["text_linear"].rows
        decomposition = TruncatedSVD(min(N_TEXT_FEATURES, min(rows.shape) - 1), random_state=seed).fit(rows)

    def features(other: Prepared) -> csr_matrix:
        blocks = [other.table] if wanted.reads != ("text",) else []
        if decomposition is not None:
            blocks.append(csr_matrix(decomposition.transform(other.designs["text_linear"].rows).astype(np.float32)))
        return csr_matrix(hstack(blocks, format="csr", dtype=np.float32))

    rate = priors(targets)
    base = np.log(rate / (1 - rate)).astype(np.float32)
    trees: FittedTrees = fit_trees(features(data), targets, weights, base=base, seed=seed, n_threads=2)
    return Fitted(lambda other: trees.logits(features(other)), trees.megabytes)


def _network(wanted: Combination, data: Prepared, n_classes: int, options: JointOptions) -> JointNetwork:
    if wanted.kind == JOINT:
        return network_for(data, n_classes=n_classes, options=options)
    kinds: dict[str, TowerKind] = {"linear": "linear", "mlp": "mlp"}
    kind: TowerKind = kinds.get(wanted.kind) or ("recurrent" if wanted.kind == "recurrent" else "convolutional")
    features = data.image_features
    network = SingleTower(
        kind,
        wanted.reads,
        data.encoding,
        n_numbers=len(data.products[0].numbers),
        n_classes=n_classes,
        options=options,
        n_image_features=0 if features is None else features.shape[1],
    )
    if "image" in wanted.reads and kind != "convolutional":
        network.image_pretrained.scale_to(_image_inputs(data))
    return network


def _image_inputs(data: Prepared) -> torch.Tensor:
    if data.image_features is not None:
        return torch.from_numpy(data.image_features.astype(np.float32))
    images = [product.image for product in data.products if product.image is not None]
    blocks = [pixels(torch.from_numpy(np.stack(images[start : start + 256]))) for start in range(0, len(images), 256)]
    return torch.cat(blocks) if blocks else torch.zeros(1, 1)
