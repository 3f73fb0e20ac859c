"""All members of an ensemble, fitted on the same products: linear and trees apart, the neural ones as one network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import nn

from service.contracts import MODALITIES, MemberKind, Modality
from service.features.encoder import EncodedProduct, Encoding
from training.joint import JointNetwork, JointOptions, member_modalities
from training.joint_training import predict_joint, train_joint
from training.members.linear import LinearMember, linear_logits
from training.members.linear_design import Design, design
from training.members.linear_fit import fit_linear
from training.members.trees import FittedTrees, fit_trees, tree_features
from training.weights import priors

Logits = dict[str, NDArray[np.float32]]  # member -> (n_products, n_classes)
KINDS: dict[str, MemberKind] = {
    "text_linear": "linear",
    "wide_linear": "linear",
    "full_linear": "linear",
    "trees": "trees",
    "tabular_mlp": "mlp",
    "text_cnn": "convolutional",
    "text_rnn": "recurrent",
    "image_cnn": "convolutional",
    "image_pretrained": "convolutional",
    "fused": "fused",
}


@dataclass(frozen=True)
class Prepared:
    """The products of a catalogue in the shapes that the members read; `take` selects rows of all of them.

    Parameters
    ----------
    image_features : (n_products, n_features), of a pretrained encoder; the products then hold no pixels
    """

    encoding: Encoding
    modalities: tuple[Modality, ...]
    products: Sequence[EncodedProduct]
    designs: dict[str, Design]
    table: csr_matrix
    image_features: NDArray[np.float16] | None = None

    def take(self, rows: NDArray[np.int64]) -> Prepared:
        """These rows alone."""
        designs = {name: data.take(rows) for name, data in self.designs.items()}
        products = [self.products[row] for row in rows]
        features = None if self.image_features is None else self.image_features[rows]
        return Prepared(self.encoding, self.modalities, products, designs, self.table[rows], features)

    def without(self, modality: Modality) -> Prepared:
        """The same products as if they had come without a modality."""
        products = [product.without(modality) for product in self.products]
        features = self.image_features
        if features is not None and modality == "image":
            features = np.zeros_like(features)
        return prepare(products, self.encoding, self.modalities, features)

    @property
    def have(self) -> NDArray[np.bool_]:
        """Which modalities a product has, (n_products, n_modalities)."""
        return np.asarray([product.present for product in self.products], dtype=bool).reshape(-1, len(MODALITIES))

    @property
    def has_table(self) -> bool:
        """Whether any column is categorical or numerical."""
        return "categorical" in self.modalities or "numerical" in self.modalities

    def reads(self, member: str) -> tuple[Modality, ...]:
        """Modalities that a member reads here."""
        wanted: dict[str, tuple[Modality, ...]] = {
            "text_linear": ("text",),
            "wide_linear": ("text", "categorical", "numerical"),
            "full_linear": MODALITIES,
            "trees": ("categorical", "numerical"),
        }
        if member in wanted:
            return tuple(
                modality for modality in MODALITIES if modality in wanted[member] and modality in self.modalities
            )
        return member_modalities(member, self.modalities)

    def present(self, members: Sequence[str]) -> NDArray[np.bool_]:
        """Which members do not abstain, (n_products, n_members)."""
        have = self.have
        columns = [[MODALITIES.index(modality) for modality in self.reads(member)] for member in members]
        return np.stack([have[:, column].any(axis=1) for column in columns], axis=1)


@dataclass(frozen=True)
class QuickMembers:
    """The members that take seconds to fit."""

    linear: dict[str, LinearMember]
    trees: FittedTrees | None

    def logits(self, data: Prepared) -> Logits:
        """What each of them says."""
        by_member: Logits = {name: linear_logits(member, data.designs[name]) for name, member in self.linear.items()}
        return by_member | ({"trees": self.trees.logits(data.table)} if self.trees else {})

    def modules(self, encoding: Encoding) -> dict[str, nn.Module]:
        """The members beside the network, as modules for the graph."""
        modules: dict[str, nn.Module] = dict(self.linear)
        return modules | ({"trees": self.trees.member(encoding.categorical.n_ids)} if self.trees else {})


@dataclass(frozen=True)
class Committee:
    """All members, and per epoch the mean loss of each neural one."""

    quick: QuickMembers
    network: JointNetwork
    curves: list[dict[str, float]]

    @property
    def members(self) -> tuple[str, ...]:
        """Names in the order of the graph's output."""
        have = {*self.quick.linear, *(("trees",) if self.quick.trees else ()), *self.network.members}
        return tuple(name for name in KINDS if name in have)

    def logits(self, data: Prepared) -> NDArray[np.float32]:
        """What every member says, (n_products, n_members, n_classes)."""
        by_member = self.quick.logits(data) | predict_joint(self.network, data.products, data.image_features)
        return np.stack([by_member[name] for name in self.members], axis=1)


def prepare(
    products: Sequence[EncodedProduct],
    encoding: Encoding,
    modalities: tuple[Modality, ...],
    image_features: NDArray[np.float16] | None = None,
) -> Prepared:
    """Arrange encoded products for every member."""
    tabular = "categorical" in modalities or "numerical" in modalities
    designs = {}
    if "text" in modalities:
        designs["text_linear"] = design(products, encoding, wide=False)
    if tabular:
        designs["wide_linear"] = design(products, encoding, wide=True)
    if image_features is not None:
        designs["full_linear"] = design(products, encoding, wide=True, image_features=image_features)
    table = tree_features(products, encoding.categorical.n_ids)
    return Prepared(encoding, modalities, products, designs, table, image_features)


def fit_quick(
    data: Prepared, targets: NDArray[np.int8], weights: NDArray[np.float32], *, seed: int, n_threads: int
) -> QuickMembers:
    """Fit the members that take seconds: linear and trees; with images alone there is none."""
    linear = {name: fit_linear(rows, targets, weights) for name, rows in data.designs.items()}
    trees = grow_trees(data.table, targets, weights, seed=seed, n_threads=n_threads) if data.has_table else None
    return QuickMembers(linear, trees)


def grow_trees(
    table: csr_matrix,
    targets: NDArray[np.int8],
    weights: NDArray[np.float32],
    *,
    seed: int,
    n_threads: int,
) -> FittedTrees:
    """Fit the tree member, which starts from the base rates."""
    rate = priors(targets)
    base = np.log(rate / (1 - rate)).astype(np.float32)
    return fit_trees(table, targets, weights, base=base, seed=seed, n_threads=n_threads)


def fit_network(
    data: Prepared,
    targets: NDArray[np.int8],
    weights: NDArray[np.float32],
    *,
    seed: int,
    options: JointOptions,
    on_epoch: Callable[[int, int], None],
) -> tuple[JointNetwork, list[dict[str, float]]]:
    """Train the neural members jointly."""
    torch.manual_seed(seed)
    network = network_for(data, n_classes=targets.shape[1], options=options)
    curves = train_joint(
        network, data.products, targets, weights, seed=seed, image_features=data.image_features, on_epoch=on_epoch
    )
    return network, curves


def network_for(data: Prepared, *, n_classes: int, options: JointOptions) -> JointNetwork:
    """An untrained network of the shape that these products ask for."""
    features = data.image_features
    network = JointNetwork(
        data.encoding,
        data.modalities,
        n_numbers=len(data.products[0].numbers),
        n_classes=n_classes,
        options=options,
        n_image_features=0 if features is None else features.shape[1],
    )
    if features is not None:
        network.image_pretrained.scale_to(torch.from_numpy(features.astype(np.float32)))
    return network
