"""What joint training adds: the network's members trained as one, and each in a network of its own, at equal CPU time.

Run: python -m benchmarks.joint_training CATALOGUE [--labels merchant] [--own] [--seeds 0 1 2] [--products 0]

Members trained apart share nothing. They get the shipped epochs; the joint network gets the shipped epochs once, and
once as many as the others' CPU time buys. Labels are taken as they are. Judged on the test part, which decides nothing.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.committee import class_groups, macro, spread
from benchmarks.committee_runs import CACHE, sampled
from service.features.encoder import Encoding
from training.catalogues.catalogue import Labels, open_catalogue
from training.committee import Prepared, fit_quick, network_for
from training.fit import arranged, prepare_part
from training.joint import Batch, JointNetwork, JointOptions
from training.joint_training import predict_joint, train_joint
from training.platt import sigmoid
from training.pretrained import find_encoder
from training.weights import mask

Logits = dict[str, NDArray[np.float32]]
Told = tuple[Logits, float]  # of the test part, and CPU seconds
WAYS = ("joint", "joint, CPU time of apart", "apart")


class Alone(JointNetwork):
    """One member without the others' towers."""

    def __init__(self, name: str, encoding: Encoding, whole: JointNetwork, data: Prepared, n_classes: int) -> None:
        features = data.image_features
        super().__init__(
            encoding,
            data.modalities,
            n_numbers=len(data.products[0].numbers),
            n_classes=n_classes,
            options=whole.options,
            n_image_features=0 if features is None else features.shape[1],
        )
        self.members = (name,)
        if features is not None:
            self.image_pretrained.load_state_dict(whole.image_pretrained.state_dict())

    def forward(self, batch: Batch, keep: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Logits of the member; the fused one looks at all towers, which then are its own."""
        (name,) = self.members
        if name == "fused":
            logits, embedding = super().forward(batch, keep)
            return logits, embedding
        if name.startswith("text"):
            features = getattr(self, name)(self.words(batch["token_ids"]), batch["token_ids"])
        elif name.startswith("image"):
            features = self.on_products(self.images(batch), batch)
        else:
            present = batch["present"] if keep is None else batch["present"] * keep
            features = self._towers(batch, present)[name]
        return {name: self.heads[name](features)}, features


def main() -> None:
    """Train each way over the seeds and print what the test part says."""
    arguments = _arguments()
    torch.set_num_threads(1)  # the CPU time of waiting threads is nobody's
    catalogue = sampled(open_catalogue(arguments.catalogue), arguments.labels, arguments.products)
    images = None if arguments.own else find_encoder(CACHE.expanduser())
    part, test = catalogue.read("train"), catalogue.read("test")
    targets = part.truth if arguments.labels == "truth" else part.merchant_labels
    if targets is None or test.truth is None:
        raise SystemExit("the catalogue lacks labels to learn from, or to judge by")
    data = prepare_part(catalogue, part.products, images=images, report=_quiet)
    asked = arranged(catalogue, test.products, data.encoding, images=images, report=_quiet)
    quick = fit_quick(data, targets, mask(targets), seed=0, n_threads=2).logits(asked)
    told: dict[str, list[Told]] = defaultdict(list)
    for seed in arguments.seeds:
        for way, found in _trained(data, asked, targets, seed=seed).items():
            told[way].append(found)
        Console(stderr=True).print(f"seed {seed}: done")
    Console(width=150).print(_table(told, quick, test.truth))


def _trained(data: Prepared, asked: Prepared, targets: Labels, *, seed: int) -> dict[str, Told]:
    options = JointOptions()
    joint = trained_jointly(data, asked, targets, options, seed=seed)
    apart = trained_apart(data, asked, targets, options, seed=seed)
    longer = replace(options, epochs=max(1, round(options.epochs * apart[1] / joint[1])))
    return dict(zip(WAYS, (joint, trained_jointly(data, asked, targets, longer, seed=seed), apart), strict=True))


def trained_apart(data: Prepared, asked: Prepared, targets: Labels, options: JointOptions, *, seed: int) -> Told:
    """Each neural member in a network of its own."""
    whole = network_for(data, n_classes=targets.shape[1], options=options)
    logits: Logits = {}
    seconds = 0.0
    for name in whole.members:
        torch.manual_seed(seed)
        network = Alone(name, data.encoding, whole, data, targets.shape[1])
        said, taken = _fitted(network, data, asked, targets, seed=seed)
        logits |= said
        seconds += taken
    return logits, seconds


def trained_jointly(data: Prepared, asked: Prepared, targets: Labels, options: JointOptions, *, seed: int) -> Told:
    """All neural members as one network."""
    torch.manual_seed(seed)
    network = network_for(data, n_classes=targets.shape[1], options=options)
    return _fitted(network, data, asked, targets, seed=seed)


def _fitted(network: JointNetwork, data: Prepared, asked: Prepared, targets: Labels, *, seed: int) -> Told:
    start = time.process_time()
    train_joint(network, data.products, targets, mask(targets), seed=seed, image_features=data.image_features)
    seconds = time.process_time() - start
    return predict_joint(network, asked.products, asked.image_features), seconds


def _table(told: dict[str, list[Told]], quick: Logits, truth: Labels) -> Table:
    """Each member alone, the plain mean of the network's, and that of these with the linear ones and trees."""
    names = list(told[WAYS[0]][0][0])
    rare = list(class_groups(truth).values())[-1]
    table = Table(title="Macro average precision on test, mean ± sd over seeds")
    for column in ("way", *names, "their mean", "with linear and trees", "rarest of it", "CPU s"):
        table.add_column(column)
    for way, runs in told.items():
        alone = [spread([macro(logits[name], truth) for logits, _ in runs]) for name in names]
        network = spread([macro(_mean(list(logits.values())), truth) for logits, _ in runs])
        means = [_mean([*logits.values(), *quick.values()]) for logits, _ in runs]
        joined = (spread([macro(one, truth) for one in means]), spread([macro(one, truth, rare) for one in means]))
        table.add_row(way, *alone, network, *joined, f"{np.mean([seconds for _, seconds in runs]):.0f}")
    return table


def _mean(logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    return np.asarray(np.mean([sigmoid(one) for one in logits], axis=0))


def _quiet(_done: int, _total: int) -> None:
    return


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--labels", choices=["merchant", "truth"], default="merchant")
    parser.add_argument("--own", action="store_true", help="images seen by a network trained here")
    parser.add_argument("--products", type=int, default=0, help="train on a sample of so many")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    return parser.parse_args()


if __name__ == "__main__":
    main()
