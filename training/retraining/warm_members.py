"""Trains the incumbent's members on: the linear ones and the network from their weights.

Trees are grown anew. Which products they are shown is left to `training.retraining.warm_plan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from service.bundles.bundle import Bundle
from service.contracts import Product
from service.errors import WinnowError
from service.features.encoder import Encoder
from training.catalogues.catalogue import Labels
from training.committee import Prepared, grow_trees, network_for
from training.encode import encode_products
from training.fit import TrainingOptions
from training.held_out import Report
from training.joint import PRETRAINED, JointNetwork
from training.joint_training import train_joint
from training.members.image_components import ImageComponents
from training.members.linear import LinearMember
from training.members.linear_fit import fit_linear
from training.members.trees import FittedTrees, tree_features
from training.pretrained import ImageEncoder
from training.retraining.training_state import Arrays, TrainingState
from training.retraining.warm_plan import WarmOptions
from training.weights import class_weights


class CannotGoOn(WinnowError):
    """The incumbent's training cannot be taken up where it ended; a cold one can."""

    status = 409
    title = "cannot go on"


@dataclass(frozen=True)
class Further:
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


def trees_anew(
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


def same_images(incumbent: Bundle, state: TrainingState, images: ImageEncoder | None) -> ImageEncoder | None:
    """The pretrained encoder, if it is what the incumbent sees images by.

    Raises
    ------
    CannotGoOn
        If the incumbent sees them by one that is not installed here.
    """
    if PRETRAINED not in state.members:
        return None
    if images is None or images.image_size != incumbent.encoding.image_size:
        raise CannotGoOn("the incumbent sees images by a pretrained encoder that is not installed here")
    return images


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
    """The incumbent's network, ready to be trained on."""
    torch.manual_seed(options.seed)
    rate = options.joint.learning_rate * warm.rate
    joint = replace(options.joint, epochs=warm.epochs, min_steps=1, learning_rate=rate)
    network = network_for(data, n_classes=targets.shape[1], options=joint)
    try:
        network.load_state_dict(_tensors(state.network))
    except RuntimeError as error:
        raise CannotGoOn("the incumbent's network is built in another way than this version builds them") from error
    with torch.no_grad():
        change = torch.from_numpy(class_weights(targets)).log() - network.log_class_weights
        for name in network.members:  # training takes the class weights of these targets
            network.heads[name].get_parameter("bias").add_(change)
    return network


def _tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values) for name, values in arrays.items()}
