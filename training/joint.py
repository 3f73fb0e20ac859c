"""Joint training: one network whose towers are the neural members, with a fused head over all of them.

    L = L_fused + 0.3 Σ_m L_m

where L_m is the loss of a member's own head, and modalities are dropped at random before the fused head, so that a
missing one is a normal case and no fast modality starves the rest (Wang, Tran, Feiszli 2020, arXiv:1905.12681).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.contracts import MODALITIES, Modality
from service.features.encoder import EncodedProduct, Encoding, collate
from training.members.convolutional import ImageConvolution, TextConvolution
from training.members.mlp import BagEmbedding, CategoryEmbedding, Perceptron, small_table
from training.members.recurrent import TextRecurrence
from training.weights import class_weights, mask

Batch = dict[str, Tensor]
TEXT, IMAGE, CATEGORICAL, NUMERICAL = range(len(MODALITIES))
PREDICTION_BATCH = 256  # products
MAX_EPOCHS = 20
MAX_GRADIENT = 5.0  # norm
TABLE_RATE = 3  # a row of a table is seen in few batches, and so learns faster when it is
WORD_WIDTH, BAG_WIDTH, CATEGORY_WIDTH = 48, 96, 48
EMBEDDING_WIDTH = 128


@dataclass(frozen=True)
class JointOptions:
    """How the network is trained."""

    epochs: int = 6
    batch_size: int = 192
    min_steps: int = 260  # a small catalogue is shown more often, in smaller batches
    learning_rate: float = 4e-3
    embedding_decay: float = 1e-2
    weight_decay: float = 3e-2
    auxiliary_weight: float = 0.3
    modality_dropout: float = 0.2
    dropout: float = 0.3

    def schedule(self, n_products: int) -> tuple[int, int]:
        """Epochs and batch size for so many products."""
        if n_products * self.epochs >= self.min_steps * self.batch_size:
            return self.epochs, self.batch_size
        batch_size = max(8, min(self.batch_size, n_products // 32))
        n_batches = -(-n_products // batch_size)
        return max(self.epochs, min(MAX_EPOCHS, -(-self.min_steps // n_batches))), batch_size


class JointNetwork(nn.Module):
    """Towers, a head for each, and the fused head; towers of modalities that the catalogue lacks are left out."""

    log_class_weights: Tensor

    def __init__(
        self,
        encoding: Encoding,
        modalities: Sequence[Modality],
        *,
        n_numbers: int,
        n_classes: int,
        options: JointOptions,
    ) -> None:
        super().__init__()
        self.has = frozenset(modalities)
        self.options = options
        towers: dict[str, int] = {}
        fused_width = len(MODALITIES)
        if "text" in self.has:
            self.words = small_table(len(encoding.text.words) + 3, WORD_WIDTH, deviation=0.3)
            self.bag = BagEmbedding(len(encoding.text.bag) + 1, BAG_WIDTH)
            self.text_cnn = TextConvolution(width=WORD_WIDTH, n_filters=48)
            self.text_rnn = TextRecurrence(width=WORD_WIDTH, n_states=64)
            towers |= {"text_cnn": self.text_cnn.n_features, "text_rnn": self.text_rnn.n_features}
            fused_width += BAG_WIDTH + self.text_cnn.n_features + self.text_rnn.n_features
        if "image" in self.has:
            self.image_cnn = ImageConvolution()
            towers["image_cnn"] = self.image_cnn.n_features
            fused_width += self.image_cnn.n_features
        self.tabular_width = (CATEGORY_WIDTH if "categorical" in self.has else 0) + n_numbers
        if self.tabular_width:
            self.categories = CategoryEmbedding(encoding.categorical.n_ids, CATEGORY_WIDTH)
            self.tabular_mlp = Perceptron(self.tabular_width, (128, 64), dropout=options.dropout)
            towers["tabular_mlp"] = 64
            fused_width += self.tabular_width
        self.fused = Perceptron(fused_width, (256, EMBEDDING_WIDTH), dropout=options.dropout)
        towers["fused"] = EMBEDDING_WIDTH
        self.members = tuple(towers)
        self.heads = nn.ModuleDict({name: nn.Linear(width, n_classes) for name, width in towers.items()})
        self.register_buffer("log_class_weights", torch.zeros(n_classes))

    def forward(self, batch: Batch, keep: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Logits (n, n_classes) of each member, and the embedding (n, 128).

        Parameters
        ----------
        keep : (n, 4), 0 where a modality is hidden from the fused head and the tabular member; nothing by default
        """
        present = batch["present"] if keep is None else batch["present"] * keep
        features = self._towers(batch, present)
        seen = [features[name] * present[:, [modality]] for name, modality in self._fused_inputs()]
        embedding = self.fused(torch.cat([*seen, present], dim=1))
        features["fused"] = embedding
        return {name: self.heads[name](features[name]) for name in self.members}, embedding

    def _fused_inputs(self) -> list[tuple[str, int]]:
        inputs = []
        if "text" in self.has:
            inputs += [("bag", TEXT), ("text_cnn", TEXT), ("text_rnn", TEXT)]
        if "image" in self.has:
            inputs.append(("image_cnn", IMAGE))
        if "categorical" in self.has:
            inputs.append(("categories", CATEGORICAL))
        if "numerical" in self.has:
            inputs.append(("numbers", NUMERICAL))
        return inputs

    def _towers(self, batch: Batch, present: Tensor) -> dict[str, Tensor]:
        features: dict[str, Tensor] = {}
        if "text" in self.has:
            words = self.words(batch["token_ids"])
            features["bag"] = self.bag(batch["bag_ids"], batch["bag_values"])
            features["text_cnn"] = self.text_cnn(words, batch["token_ids"])
            features["text_rnn"] = self.text_rnn(words, batch["token_ids"])
        if "image" in self.has:
            features["image_cnn"] = self._image_features(batch)
        tabular = []
        if "categorical" in self.has:
            features["categories"] = self.categories(batch["category_ids"])
            tabular.append(features["categories"] * present[:, [CATEGORICAL]])
        if "numerical" in self.has:
            features["numbers"] = batch["numbers"]
            tabular.append(features["numbers"] * present[:, [NUMERICAL]])
        if tabular:
            features["tabular_mlp"] = self.tabular_mlp(torch.cat(tabular, dim=1))
        return features

    def _image_features(self, batch: Batch) -> Tensor:
        if self.training and batch["images"].shape[0] < 2:  # one image has no variance to normalise by
            return torch.zeros(batch["present"].shape[0], self.image_cnn.n_features)
        return on_rows(self.image_cnn(batch["images"]), batch)

    def calibrated(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Logits with the class weights undone, and the embedding."""
        logits, embedding = self(batch)
        return {name: values - self.log_class_weights for name, values in logits.items()}, embedding


def on_rows(image_features: Tensor, batch: Batch) -> Tensor:
    """Features of the images on the rows of their products, (n, n_features); 0 where a product has none."""
    n_products, width = batch["present"].shape[0], image_features.shape[1]
    rows = batch["image_rows"].unsqueeze(1).expand(-1, width)
    return torch.zeros(n_products + 1, width).scatter(0, rows, image_features)[:n_products]


def member_modalities(name: str, has: Sequence[Modality]) -> tuple[Modality, ...]:
    """Modalities that a neural member reads, of those the catalogue has."""
    reads: dict[str, tuple[Modality, ...]] = {
        "text_cnn": ("text",),
        "text_rnn": ("text",),
        "image_cnn": ("image",),
        "tabular_mlp": ("categorical", "numerical"),
        "fused": MODALITIES,
    }
    return tuple(modality for modality in reads[name] if modality in has)


def as_batch(products: Sequence[EncodedProduct]) -> Batch:
    """Collated products as tensors."""
    return {name: torch.from_numpy(values) for name, values in collate(products).items()}


def train_joint(
    network: JointNetwork,
    products: Sequence[EncodedProduct],
    targets: NDArray[np.int8],
    weights: NDArray[np.float32],
    *,
    seed: int,
    on_epoch: Callable[[int, int], None] = lambda _epoch, _epochs: None,
) -> list[dict[str, float]]:
    """Train the network in place.

    Parameters
    ----------
    targets, weights : (n_products, n_classes); a target that is unknown counts nothing whatever its weight
    on_epoch : called after each epoch with the number of epochs done, and of all

    Returns
    -------
    Per epoch the mean loss of each member.
    """
    options = network.options
    rng = np.random.default_rng(seed)
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
            batch = _augmented(as_batch([products[row] for row in rows]), rng)
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


def predict_joint(network: JointNetwork, products: Sequence[EncodedProduct]) -> dict[str, NDArray[np.float32]]:
    """Logits of each member, (n_products, n_classes), class weights undone."""
    network.eval()
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in network.members}
    with torch.no_grad():
        for start in range(0, len(products), PREDICTION_BATCH):
            logits, _ = network.calibrated(as_batch(products[start : start + PREDICTION_BATCH]))
            for name, values in logits.items():
                parts[name].append(values.numpy())
    return {name: np.concatenate(blocks) for name, blocks in parts.items()}


def _optimizer(network: JointNetwork) -> torch.optim.AdamW:
    tables = [parameter for name, parameter in network.named_parameters() if "table" in name or name == "words.weight"]
    known = {id(parameter) for parameter in tables}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in known]
    options = network.options
    return torch.optim.AdamW(
        [
            {"params": tables, "lr": TABLE_RATE * options.learning_rate, "weight_decay": options.embedding_decay},
            {"params": rest, "lr": options.learning_rate, "weight_decay": options.weight_decay},
        ]
    )


def _schedule(optimizer: torch.optim.Optimizer, n_steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Warm up over a fifth of the steps, then cool down along a cosine (Smith, Topin 2018, arXiv:1708.07120)."""
    rates = [group["lr"] for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rates, total_steps=n_steps, pct_start=0.2)


def _descend(network: JointNetwork, losses: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """One step down L_fused + 0.3 Σ L_m."""
    auxiliary = [loss for name, loss in losses.items() if name != "fused"]
    total = losses["fused"] + network.options.auxiliary_weight * torch.stack([torch.zeros(()), *auxiliary]).sum()
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
        loss = nn.functional.binary_cross_entropy_with_logits(
            values, positive, weight=counts, pos_weight=network.log_class_weights.exp(), reduction="sum"
        )
        losses[name] = loss / counts.sum().clamp(min=1.0) * 10.0  # a scale at which weight decay is mild
    return losses


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
