"""A training that begins where the incumbent's ended: the new answers and some replayed products, in a few epochs.

What members say of products that they have not seen, which calibration is fitted on, is kept from the incumbent's
training for the products it knew. For those that are new it comes from two small trainings, each without one half of
them. The vocabulary stays as it is: a word that nobody knew at the last cold start is read by its parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.bundles.bundle import Bundle, Manifest
from service.contracts import Product
from service.errors import WinnowError
from service.features.encoder import Encoder
from training.calibrate import fit_calibration, logit
from training.catalogues.catalogue import Catalogue, Labels
from training.committee import Committee, Prepared, QuickMembers, grow_trees, network_for
from training.encode import encode_products
from training.fit import TrainingOptions, arranged, encoder_of, lessons_of
from training.fitted import Clock, Fitted, write_fitted
from training.held_out import HeldOut, Report, make_folds
from training.joint import PRETRAINED, JointNetwork
from training.joint_training import predict_joint, train_joint
from training.members.image_components import ImageComponents
from training.members.linear import LinearMember
from training.members.linear_fit import fit_linear
from training.members.trees import FittedTrees, tree_features
from training.noise import label_confidence
from training.predict import Progress, predict
from training.pretrained import ImageEncoder
from training.retraining.human_labels import HumanLabels
from training.retraining.lessons import Lessons
from training.retraining.training_state import Arrays, TrainingState, product_key
from training.weights import class_weights, mask

N_FOLDS = 2
N_FOLD_SHARE = 4  # of the replayed products, one in so many is shown to a training that only cross-fits
WARM = "warm_start"  # of the provenance
LEAST_SLOPE = 1e-3  # a member whose line is flatter says nothing, and its logits cannot be read back
MAX_LOGIT = 15.0


class CannotGoOn(WinnowError):
    """The incumbent's training cannot be taken up where it ended; a cold one can."""

    status = 409
    title = "cannot go on"


@dataclass(frozen=True)
class WarmOptions:
    """How a training begins where another ended.

    Parameters
    ----------
    epochs : over the new products and the replayed ones
    n_replayed : products of earlier trainings that are shown again; of those that people labelled, half at most
    rate : of learning, as a share of a cold training's
    shrink : factor of the network's weights before they are perturbed
    """

    epochs: int = 4
    n_replayed: int = 2_000
    rate: float = 0.5
    shrink: float = 0.9


def train_warm(
    catalogue: Catalogue,
    *,
    directory: Path,
    incumbent: Bundle,
    state: TrainingState,
    options: TrainingOptions,
    warm: WarmOptions,
    progress: Progress,
    people: HumanLabels,
    images: ImageEncoder | None = None,
    remarks: Mapping[str, Any],
) -> Manifest:
    """Train on from the incumbent, and write a bundle; the directory appears last and whole.

    Parameters
    ----------
    incumbent, state : a bundle of this catalogue, and where its training ended
    images : the pretrained encoder, where the incumbent's members read its features

    Raises
    ------
    CannotGoOn
        If it was trained by another version, whose network has another shape.
    """
    torch.set_num_threads(options.n_threads)
    clock = Clock()
    images = _same_images(incumbent, state, images)
    lessons = lessons_of(catalogue, people, options)
    known = np.array([state.row_of.get(product_key(product.product_id), -1) for product in lessons.products])
    with clock.stage("encode"):
        plan = _plan(lessons, is_new=known < 0, warm=warm, seed=options.seed)
        some = [lessons.products[row] for row in plan.shown.tolist()]
        report = partial(progress, "encode products")
        data = arranged(catalogue, some, incumbent.encoding, images=images, report=report)
    further = _Further(data, state, options, warm)
    targets, standing = lessons.targets, lessons.calibration_weights(mask(lessons.targets))
    with clock.stage("ask the incumbent"):
        held = _held_out(incumbent, state, lessons.products, known, progress=progress)
    with clock.stage("cross-fit members"):
        weights = _weights(lessons, held, state)
        report = partial(progress, "cross-fit members")
        held = _cross_fitted(further, held, plan, targets, weights, report=report)
    with clock.stage("calibrate"):
        calibration = fit_calibration(held.logits, held.present, targets, standing, people=lessons.human > 0)
        calibration = replace(calibration, gaps=state.gaps)
        weights = lessons.loss_weights(label_confidence(targets, calibration(held.logits, held.present)))
    with clock.stage("train on from the incumbent"):
        report = partial(progress, "train on from the incumbent")
        everything = np.arange(len(plan.shown))
        linear, network, curves = further.fit(everything, targets[plan.shown], weights[plan.shown], report=report)
    with clock.stage("grow trees"):
        trees = _trees(lessons.products, incumbent, data, targets, weights, options=options)
    committee = Committee(QuickMembers(linear, trees), network, curves)
    fitted = Fitted(lessons.products, targets, standing, data, held, committee, calibration, encoder_of(data, images))
    notes = {WARM: {"from": incumbent.manifest.version, **asdict(warm)}, **remarks}
    manifest = write_fitted(directory, catalogue, fitted, options=asdict(options), clock=clock, remarks=notes)
    progress("export", 1, 1)
    return manifest


def _same_images(incumbent: Bundle, state: TrainingState, images: ImageEncoder | None) -> ImageEncoder | None:
    """The pretrained encoder, if it is what the incumbent sees images by."""
    if PRETRAINED not in state.members:
        return None
    if images is None or images.image_size != incumbent.encoding.image_size:
        raise CannotGoOn("the incumbent sees images by a pretrained encoder that is not installed here")
    return images


@dataclass(frozen=True)
class _Plan:
    """Which products are looked at again.

    Parameters
    ----------
    shown : their numbers, rising
    fold : (n_shown,), of a new product the half that is trained without it; -1 for a replayed one
    """

    shown: NDArray[np.int64]
    fold: NDArray[np.int64]


def _plan(lessons: Lessons, *, is_new: NDArray[np.bool_], warm: WarmOptions, seed: int) -> _Plan:
    """All new products, and a replay of those that are not."""
    rng = np.random.default_rng(seed)
    answered = (lessons.human > 0).any(axis=1)
    from_people = _some(np.flatnonzero(answered & ~is_new), warm.n_replayed // 2, rng)
    others = _some(np.flatnonzero(~answered & ~is_new), warm.n_replayed - len(from_people), rng)
    shown = np.sort(np.concatenate([np.flatnonzero(is_new), from_people, others]))
    fold = np.full(len(shown), -1)
    new = np.flatnonzero(is_new[shown])
    if len(new):
        fold[new] = make_folds([lessons.products[row] for row in shown[new].tolist()], n_folds=N_FOLDS, seed=seed)
    return _Plan(shown, fold)


def _some(rows: NDArray[np.int64], at_most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.permutation(rows)[:at_most]


def _weights(lessons: Lessons, held: HeldOut, state: TrainingState) -> NDArray[np.float32]:
    """Weights by what the members' plain mean believes: good enough for trainings that only cross-fit."""
    votes = held.present[:, :, None].astype(np.float64)
    believed = (state.platt(held.logits) * votes).sum(axis=1) / np.maximum(votes.sum(axis=1), 1.0)
    return lessons.loss_weights(label_confidence(lessons.targets, believed))


@dataclass(frozen=True)
class _Further:
    """Trains the linear members and the network on, from where the incumbent's are."""

    data: Prepared
    state: TrainingState
    options: TrainingOptions
    warm: WarmOptions

    def fit(
        self, rows: NDArray[np.int64], targets: Labels, weights: NDArray[np.float32], *, report: Report
    ) -> tuple[dict[str, LinearMember], JointNetwork, list[dict[str, float]]]:
        """On some of the products shown; targets and weights are theirs."""
        data = self.data.take(rows)
        linear = {
            name: fit_linear(design, targets, weights, start=_linear_member(self.state.linear[name]))
            for name, design in data.designs.items()
        }
        network = _network(data, targets, self.state, options=self.options, warm=self.warm)
        curves = train_joint(
            network, data.products, targets, weights, seed=self.options.seed, image_features=data.image_features,
            on_epoch=report,
        )  # fmt: skip
        return linear, network, curves


def _cross_fitted(
    further: _Further,
    held: HeldOut,
    plan: _Plan,
    targets: Labels,
    weights: NDArray[np.float32],
    *,
    report: Report,
) -> HeldOut:
    """What members say of the new products after they have learned from the other half of them.

    The trees keep what the incumbent's said: they are grown once, on everything.
    """
    logits, members = held.logits.copy(), further.state.members
    replayed = np.flatnonzero(plan.fold < 0)
    rng = np.random.default_rng(further.options.seed)
    for fold in range(N_FOLDS):
        unseen = np.flatnonzero(plan.fold == fold)
        others = np.flatnonzero((plan.fold >= 0) & (plan.fold != fold))
        seen = np.sort(np.concatenate([others, _some(replayed, len(replayed) // N_FOLD_SHARE, rng)]))
        if not len(unseen) or not len(others):
            continue
        rows = plan.shown[seen]
        linear, network, _ = further.fit(seen, targets[rows], weights[rows], report=_part(report, fold))
        data = further.data.take(unseen)
        said = QuickMembers(linear, None).logits(data) | predict_joint(network, data.products, data.image_features)
        for name, values in said.items():
            logits[plan.shown[unseen], members.index(name)] = values
    return HeldOut(logits, held.present)


def _part(report: Report, fold: int) -> Report:
    return lambda done, total: report(fold * total + done, N_FOLDS * total)


def _trees(
    products: Sequence[Product],
    incumbent: Bundle,
    data: Prepared,
    targets: Labels,
    weights: NDArray[np.float32],
    *,
    options: TrainingOptions,
) -> FittedTrees | None:
    """Grow them anew on all products, of which they read neither text nor image."""
    if not data.has_table:
        return None
    bare = [replace(product, texts=("",) * len(product.texts), image=None) for product in products]
    encoded = encode_products(bare, Encoder(incumbent.encoding))
    table = tree_features(encoded, incumbent.encoding.categorical.n_ids)
    return grow_trees(table, targets, weights, seed=options.seed, n_threads=options.n_threads)


def _held_out(
    incumbent: Bundle,
    state: TrainingState,
    products: Sequence[Product],
    known: NDArray[np.int64],
    *,
    progress: Progress,
) -> HeldOut:
    """What members said of each product before they had seen it: from the state, and for new ones the incumbent's word.

    Parameters
    ----------
    known : (n_products,), rows of the state, -1 for a product that it does not know
    """
    logits = state.held.logits[np.maximum(known, 0)]
    present = state.held.present[np.maximum(known, 0)]
    unknown = np.flatnonzero(known < 0)
    if len(unknown):
        said = predict(incumbent, [products[row] for row in unknown.tolist()], progress=progress)
        logits[unknown] = _raw_logits(said.member_probabilities, state)
        present[unknown] = said.present
    return HeldOut(logits, present)


def _raw_logits(probabilities: NDArray[np.float32], state: TrainingState) -> NDArray[np.float32]:
    """The members' logits before the line that made them probabilities."""
    slope, shift = state.platt.slope, state.platt.shift
    steep = slope > LEAST_SLOPE
    lines = (logit(probabilities) - shift) / np.where(steep, slope, 1.0)
    return np.clip(np.where(steep, lines, 0.0), -MAX_LOGIT, MAX_LOGIT).astype(np.float32)


def _linear_member(arrays: Arrays) -> LinearMember:
    categories, numbers = arrays.get("categories.weight"), arrays.get("numbers.weight")
    components = arrays.get("image.components")
    member = LinearMember(
        n_bag=len(arrays["bag.weight"]),
        n_categories=0 if categories is None else len(categories),
        n_numbers=0 if numbers is None else numbers.shape[1],
        n_classes=len(arrays["bias"]),
        image=None if components is None else ImageComponents(*components.shape),
    )
    member.load_state_dict(_tensors(arrays))
    return member


def _network(
    data: Prepared, targets: Labels, state: TrainingState, *, options: TrainingOptions, warm: WarmOptions
) -> JointNetwork:
    """The incumbent's network, its weights shrunk and perturbed: trained on, they learn as well as fresh ones.

    Source: Ash, Adams 2020, arXiv:1910.08475.
    """
    torch.manual_seed(options.seed)
    rate = options.joint.learning_rate * warm.rate
    joint = replace(options.joint, epochs=warm.epochs, min_steps=1, learning_rate=rate)
    network = network_for(data, n_classes=targets.shape[1], options=joint)
    fresh = {name: values.clone() for name, values in network.named_parameters()}
    try:
        network.load_state_dict(_tensors(state.network))
    except RuntimeError as error:
        raise CannotGoOn("the incumbent's network is built in another way than this version builds them") from error
    with torch.no_grad():
        for name, values in network.named_parameters():
            if values.dim() > 1:  # biases and the gains of normalising layers are no weights
                values.mul_(warm.shrink).add_(fresh[name], alpha=1.0 - warm.shrink)
        change = torch.from_numpy(class_weights(targets)).log() - network.log_class_weights
        for name in network.members:  # training takes the class weights of these targets
            network.heads[name].get_parameter("bias").add_(change)
    return network


def _tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values) for name, values in arrays.items()}
