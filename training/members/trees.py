"""Tree members: one gradient-boosted forest a class on category ids and numbers, and their form in the graph.

LightGBM grows them; here they become one flat forest that torch can run and that ONNX knows as `TreeEnsembleRegressor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from torch import Tensor, nn

from service.features.encoder import EncodedProduct
from training.members.image_rows import nothing

PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.2,
    "num_leaves": 15,
    "min_data_in_leaf": 10,
    "lambda_l2": 2.0,
    "feature_fraction": 0.7,
    "max_bin": 127,
    "verbosity": -1,
    "deterministic": True,
    "force_col_wise": True,
    "num_threads": 1,  # threads of one booster would wait for each other
    "boost_from_average": False,
}
N_TREES = 30  # a class; 60 at half the rate rank as well, and cost twice as much to grow and to run
MIN_ROWS = 40  # with fewer known targets no tree is grown: the class answers its base rate
MAX_DEPTH = 32


@dataclass
class Forest:
    """All trees of all classes as parallel arrays, one entry a node; children are positions in the same arrays.

    Parameters
    ----------
    thresholds : go to `yes` where the feature is at most this, rounded down to float32
    leaf_values : what a leaf adds to its class; 0 in inner nodes
    roots, classes : per tree
    """

    features: list[int] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    yes: list[int] = field(default_factory=list)
    no: list[int] = field(default_factory=list)
    leaf_values: list[float] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)

    def add_tree(self, root: dict[str, Any], class_index: int) -> None:
        """Append one tree of LightGBM's `dump_model`."""
        self.roots.append(len(self.features))
        self.classes.append(class_index)
        self._add_node(root)

    def _add_node(self, node: dict[str, Any]) -> int:
        position = len(self.features)
        is_leaf = "leaf_value" in node
        self.features.append(0 if is_leaf else int(node["split_feature"]))
        self.thresholds.append(0.0 if is_leaf else _round_down(float(node["threshold"])))
        self.leaf_values.append(float(node["leaf_value"]) if is_leaf else 0.0)
        self.yes.append(position)
        self.no.append(position)
        if not is_leaf:
            self.yes[position] = self._add_node(node["left_child"])
            self.no[position] = self._add_node(node["right_child"])
        return position


class TreeMember(nn.Module):
    """Logits of a forest; features are one flag per category id, then the numbers."""

    base: Tensor

    def __init__(self, forest: Forest, base: NDArray[np.float32], *, n_categories: int) -> None:
        super().__init__()
        self.forest = forest
        self.n_categories = n_categories
        self.register_buffer("base", torch.from_numpy(base))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits, (n, n_classes)."""
        ids = batch["category_ids"]
        flags = nothing(batch["present"], self.n_categories).scatter(1, ids, (ids >= 0).float())
        features = torch.cat([flags[:, 1:], batch["numbers"]], dim=1)  # id 0 is padding
        if not self.forest.roots:
            return self.base.expand(features.shape[0], -1)
        operation: Any = _forest_sum(self.forest, self.base.shape[0])
        sums: Tensor = operation.apply(features)
        return sums + self.base


def _forest_sum(forest: Forest, n_classes: int) -> type[torch.autograd.Function]:
    """An operation: the sum per class of the leaves that features fall into; in a graph one TreeEnsembleRegressor."""

    class ForestSum(torch.autograd.Function):
        @staticmethod
        def forward(_ctx: Any, features: Tensor) -> Tensor:
            if torch.onnx.is_in_onnx_export():  # only the shape is looked at, and constants cannot be traced here
                return features[:, :1].repeat(1, n_classes)
            return _sum_leaves(forest, features, n_classes)

        @staticmethod
        def symbolic(g: Any, features: Any) -> Any:
            result = g.op("ai.onnx.ml::TreeEnsembleRegressor", features, **tree_attributes(forest, n_classes))
            return result.setType(features.type().with_sizes([None, n_classes]))

    return ForestSum


def _sum_leaves(forest: Forest, features: Tensor, n_classes: int) -> Tensor:
    yes, no = torch.tensor(forest.yes), torch.tensor(forest.no)
    split, thresholds = torch.tensor(forest.features), torch.tensor(forest.thresholds)
    position = torch.tensor(forest.roots).expand(features.shape[0], -1)
    for _ in range(MAX_DEPTH):
        goes_yes = features.gather(1, split[position]) <= thresholds[position]
        position = torch.where(goes_yes, yes[position], no[position])
    leaves = torch.tensor(forest.leaf_values, dtype=torch.float32)[position]
    sums = torch.zeros(features.shape[0], n_classes)
    return sums.index_add(1, torch.tensor(forest.classes), leaves)


def tree_attributes(forest: Forest, n_classes: int) -> dict[str, Any]:
    """Attributes of the ONNX operator, with the type suffixes that torch's exporter expects."""
    ends = [*forest.roots[1:], len(forest.features)]
    tree_ids = [
        tree for tree, (start, end) in enumerate(zip(forest.roots, ends, strict=True)) for _ in range(start, end)
    ]
    node_ids = [position - forest.roots[tree] for position, tree in enumerate(tree_ids)]
    is_leaf = [forest.yes[position] == position for position in range(len(tree_ids))]
    leaves = [position for position, leaf in enumerate(is_leaf) if leaf]
    return {
        "n_targets_i": n_classes,
        "aggregate_function_s": "SUM",
        "post_transform_s": "NONE",
        "nodes_treeids_i": tree_ids,
        "nodes_nodeids_i": node_ids,
        "nodes_featureids_i": forest.features,
        "nodes_values_f": forest.thresholds,
        "nodes_modes_s": ["LEAF" if leaf else "BRANCH_LEQ" for leaf in is_leaf],
        "nodes_truenodeids_i": [node_ids[child] for child in forest.yes],
        "nodes_falsenodeids_i": [node_ids[child] for child in forest.no],
        "target_treeids_i": [tree_ids[leaf] for leaf in leaves],
        "target_nodeids_i": [node_ids[leaf] for leaf in leaves],
        "target_ids_i": [forest.classes[tree_ids[leaf]] for leaf in leaves],
        "target_weights_f": [forest.leaf_values[leaf] for leaf in leaves],
    }


def tree_features(products: Sequence[EncodedProduct], n_categories: int) -> csr_matrix:
    """One flag per category id (without padding), then the numbers: (n_products, n_categories - 1 + n_numbers).

    Sparse, as a shop may have thousands of brands: 200,000 products by 5,000 of them would be 4 GB otherwise.
    """
    starts = np.concatenate([[0], np.cumsum([len(product.category_ids) for product in products])])
    ids = np.fromiter((i - 1 for product in products for i in product.category_ids), dtype=np.int64, count=starts[-1])
    flags = csr_matrix((np.ones(len(ids), dtype=np.float32), ids, starts), shape=(len(products), n_categories - 1))
    numbers = csr_matrix(np.stack([product.numbers for product in products]))
    return csr_matrix(hstack([flags, numbers], format="csr", dtype=np.float32))


@dataclass(frozen=True)
class FittedTrees:
    """LightGBM's boosters, one a class or None, and the logit each class starts from."""

    boosters: tuple[lightgbm.Booster | None, ...]
    base: NDArray[np.float32]

    def logits(self, features: csr_matrix) -> NDArray[np.float32]:
        """What LightGBM itself answers, (n_products, n_classes)."""
        logits = np.tile(self.base, (features.shape[0], 1))
        for class_index, booster in enumerate(self.boosters):
            if booster is not None:
                logits[:, class_index] += booster.predict(features, raw_score=True, num_threads=1)
        return logits

    @property
    def megabytes(self) -> float:
        """Size of the trees as LightGBM writes them."""
        return sum(len(booster.model_to_string()) for booster in self.boosters if booster is not None) / 1e6

    def member(self, n_categories: int) -> TreeMember:
        """The same trees as part of the graph."""
        forest = Forest()
        for class_index, booster in enumerate(self.boosters):
            if booster is not None:
                for tree in booster.dump_model()["tree_info"]:
                    forest.add_tree(tree["tree_structure"], class_index)
        return TreeMember(forest, self.base, n_categories=n_categories).eval()


def fit_trees(
    features: csr_matrix,
    targets: NDArray[np.int8],
    weights: NDArray[np.float32],
    *,
    base: NDArray[np.float32],
    seed: int,
    n_threads: int,
) -> FittedTrees:
    """Boost one forest a class on the products whose target is known; classes are shared among the threads.

    Parameters
    ----------
    base : (n_classes,), logit of the positive rate, from which boosting starts
    """

    def fit_class(class_index: int) -> lightgbm.Booster | None:
        known = targets[:, class_index] >= 0
        positive = targets[known, class_index] == 1
        if known.sum() < MIN_ROWS or positive.all() or not positive.any() or not features.shape[1]:
            return None
        data = lightgbm.Dataset(
            features[known],
            label=positive.astype(np.float32),
            weight=weights[known, class_index],
            init_score=np.full(int(known.sum()), base[class_index], dtype=np.float64),
        )
        return lightgbm.train({**PARAMETERS, "seed": seed}, data, num_boost_round=N_TREES)

    with ThreadPoolExecutor(n_threads) as pool:
        return FittedTrees(tuple(pool.map(fit_class, range(targets.shape[1]))), base)


def _round_down(threshold: float) -> float:
    """The largest float32 that is not above: a float32 feature compares with it as with the double."""
    rounded = np.float32(threshold)
    return float(np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded)
