"""Trains the joint network, and asks it.

    L = L_fused + 0.3 Σ_m L_m

where L_m is the loss of a member's own head, and modalities are dropped at random before the fused head, so that a
missing one is a normal case and no fast modality starves the rest (Wang, Tran, Feiszli 2020, arXiv:1905.12681).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.contracts import MODALITIES
from service.features.encoder import EncodedProduct
from training.joint import Batch, JointNetwork, as_batch, member_modalities
from training.weights import class_weights, mask

PREDICTION_BATCH = 256  # products
MAX_GRADIENT = 5.0  # norm
TABLE_RATE = 3  # a row of a table is seen in few batches, and so learns faster when it is
MARGIN, FOCUS = 0.05, 4  # of the asymmetric loss
WARM_UP = 0.2  # share of the steps


def train_joint(
    network: JointNetwork,
    products: Sequence[EncodedProduct],
    targets: NDArray[np.int8],
    weights: NDArray[np.float32],
    *,
    seed: int,
    image_features: NDArray[np.float16] | None = None,
    on_epoch: Callable[[int, int], None] = lambda _epoch, _epochs: None,
) -> list[dict[str, float]]:
    """Train the network in place.

    Parameters
    ----------
    targets, weights : (n_products, n_classes); a target that is unknown counts nothing whatever its weight
    image_features : (n_products, n_features), of a pretrained encoder, if the network reads them
    on_epoch : called after each epoch with the number of epochs done, and of all

    Returns
    -------
    Per epoch the mean loss of each member.
    """
    options = network.options
    rng = np.random.default_rng(seed)
    if options.loss == "weighted":
        network.log_class_weights.copy_(torch.from_numpy(class_weights(targets)).log())
    epochs, batch_size = options.schedule(len(products))
    optimizer = _optimizer(network)
    schedule = _schedule(optimizer, epochs * -(-len(products) // batch_size))
    label_weights = torch.from_numpy(weights * mask(targets))
    positive = torch.from_numpy((targets == 1).astype(np.float32))
    curves = []
    network.train()
    for epoch in range(epochs):
        sums: dict[str, float] = dict.fromkeys(network.members, 0.0)
        for rows in _shuffled(len(products), batch_size, rng):
            batch = _augmented(_batch(products, image_features, rows), rng)
            keep = _keep(batch["present"], options.modality_dropout, rng)
            logits, _ = network(batch, keep)
            losses = _losses(logits, batch, positive[rows], label_weights[rows], network)
            _descend(network, losses, optimizer)
            schedule.step()
            for name, loss in losses.items():
                sums[name] += float(loss.detach()) * len(rows)
        curves.append({name: value / len(products) for name, value in sums.items()})
        on_epoch(epoch + 1, epochs)
    network.eval()
    return curves


def predict_joint(
    network: JointNetwork, products: Sequence[EncodedProduct], image_features: NDArray[np.float16] | None = None
) -> dict[str, NDArray[np.float32]]:
    """Logits of each member, (n_products, n_classes), class weights undone."""
    network.eval()
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in network.members}
    with torch.no_grad():
        for start in range(0, len(products), PREDICTION_BATCH):
            rows = np.arange(start, min(start + PREDICTION_BATCH, len(products)))
            logits, _ = network.calibrated(_batch(products, image_features, rows))
            for name, values in logits.items():
                parts[name].append(values.numpy())
    return {name: np.concatenate(blocks) for name, blocks in parts.items()}


def _batch(
    products: Sequence[EncodedProduct], image_features: NDArray[np.float16] | None, rows: NDArray[np.int64]
) -> Batch:
    return as_batch([products[row] for row in rows], None if image_features is None else image_features[rows])


def _optimizer(network: JointNetwork) -> torch.optim.AdamW:
    tables = [parameter for name, parameter in network.named_parameters() if "table" in name or name == "words.weight"]
    known = {id(parameter) for parameter in tables}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in known]
    options = network.options
    return torch.optim.AdamW(
        [
            {"params": tables, "lr": TABLE_RATE * options.learning_rate, "weight_decay": options.embedding_decay},
            {"params": rest, "lr": options.learning_rate, "weight_decay": options.weight_decay},
        ],
        fused=True,  # one pass over each table where there were seven
    )


def _schedule(optimizer: torch.optim.Optimizer, n_steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Warm up over a fifth of the steps, then cool down along a cosine (Smith, Topin 2018, arXiv:1708.07120)."""
    rates = [group["lr"] for group in optimizer.param_groups]
    # a warm-up of exactly one step has no length, by which torch divides
    warm_up = WARM_UP if abs(WARM_UP * n_steps - 1) > 1e-9 else 1.5 * WARM_UP
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rates, total_steps=n_steps, pct_start=warm_up)


def _descend(network: JointNetwork, losses: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """One step down L_fused + 0.3 Σ L_m."""
    auxiliary = network.options.auxiliary_weight
    total = torch.stack([loss if name == "fused" else auxiliary * loss for name, loss in losses.items()]).sum()
    optimizer.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT)
    optimizer.step()


def _losses(
    logits: dict[str, Tensor],
    batch: Batch,
    positive: Tensor,
    label_weights: Tensor,
    network: JointNetwork,
) -> dict[str, Tensor]:
    """Weighted binary cross-entropy of each member over the products on which it does not abstain, per known label."""
    losses = {}
    for name, values in logits.items():
        reads = [MODALITIES.index(modality) for modality in member_modalities(name, tuple(network.has))]
        counts = label_weights * (batch["present"][:, reads].amax(1, keepdim=True) > 0)
        loss = (counts * _label_loss(values, positive, network)).sum()
        losses[name] = loss / counts.sum().clamp(min=1.0) * 10.0  # a scale at which weight decay is mild
    return losses


def _label_loss(logits: Tensor, positive: Tensor, network: JointNetwork) -> Tensor:
    if network.options.loss == "asymmetric":
        return asymmetric_loss(logits, positive)
    weights = network.log_class_weights.exp()
    return nn.functional.binary_cross_entropy_with_logits(logits, positive, pos_weight=weights, reduction="none")


def asymmetric_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Cross-entropy in which a no counts the less the easier it is, and nothing below a margin.

    Source: Ridnik et al. 2021, arXiv:2009.14119, with their exponents 0 and 4 and their margin.
    """
    no = (1 - torch.sigmoid(logits) + MARGIN).clamp(max=1.0)
    of_no = -torch.log(no.clamp(min=1e-8)) * (1 - no) ** FOCUS
    return torch.where(positive > 0, nn.functional.softplus(-logits), of_no)


def _keep(present: Tensor, dropout: float, rng: np.random.Generator) -> Tensor:
    """1 where a modality is shown; a product of which nothing would be left is shown whole."""
    keep = torch.from_numpy((rng.random(present.shape) >= dropout).astype(np.float32))
    nothing_left = (keep * present).amax(1, keepdim=True) == 0
    return torch.where(nothing_left, torch.ones_like(keep), keep)


def _augmented(batch: Batch, rng: np.random.Generator) -> Batch:
    """Half of the batches with their images mirrored."""
    if rng.random() < 0.5:
        batch["images"] = batch["images"].flip(2)
    return batch


def _shuffled(n_products: int, batch_size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    order = rng.permutation(n_products)
    for start in range(0, n_products, batch_size):
        yield order[start : start + batch_size]
