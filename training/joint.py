"""Joint training: one network whose towers are the neural members, with a fused head over all of them.

How it is trained is left to `training.joint_training`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.contracts import MODALITIES, Modality
from service.features.encoder import EncodedProduct, Encoding, collate
from training.members.convolutional import ImageConvolution, TextConvolution
from training.members.image_rows import on_rows, widened
from training.members.mlp import BagEmbedding, CategoryEmbedding, Perceptron, PretrainedFeatures, small_table
from training.members.recurrent import TextRecurrence

Batch = dict[str, Tensor]
TEXT, IMAGE, CATEGORICAL, NUMERICAL = range(len(MODALITIES))
MAX_EPOCHS = 20
WORD_WIDTH, BAG_WIDTH, CATEGORY_WIDTH = 48, 96, 48
PRETRAINED = "image_pretrained"  # the member that reads features of a pretrained encoder
IMAGE_WIDTH = 256  # of what is made of pretrained features
EMBEDDING_WIDTH = 128


@dataclass(frozen=True)
class JointOptions:
    """How the network is trained.

    Parameters
    ----------
    loss : per label: cross-entropy with class weights, without, or the asymmetric loss
    """

    epochs: int = 6
    batch_size: int = 192
    min_steps: int = 260  # a small catalogue is shown more often, in smaller batches
    learning_rate: float = 4e-3
    embedding_decay: float = 1e-2
    weight_decay: float = 3e-2
    auxiliary_weight: float = 0.3
    modality_dropout: float = 0.2
    dropout: float = 0.3
    loss: Literal["weighted", "plain", "asymmetric"] = "weighted"

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
        n_image_features: int = 0,
    ) -> None:
        """Lay out the towers.

        Parameters
        ----------
        n_image_features : of a pretrained encoder, which then takes the place of convolutions learned here
        """
        super().__init__()
        self.has = frozenset(modalities)
        self.options = options
        self.n_image_features = n_image_features
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
            self.image_member, width = self._image_tower(encoding.image_size, n_image_features)
            towers[self.image_member] = width
            self.image_columns = slice(fused_width - len(MODALITIES), fused_width - len(MODALITIES) + width)
            fused_width += width
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
        seen = [features[name] * present[:, [column]] for name, column in self._fused_inputs()]
        hidden = self._but_images(torch.cat([*seen, present], dim=1))
        logits = {}
        if "image" in self.has:
            of_images, logits[self.image_member] = self._images_alone(batch)
            hidden = hidden + of_images * present[:, [IMAGE]]
        features["fused"] = self.fused.onwards(hidden)
        logits |= {name: self.heads[name](values) for name, values in features.items() if name in self.members}
        return {name: logits[name] for name in self.members}, features["fused"]

    def _but_images(self, seen: Tensor) -> Tensor:
        """The fused head's first linear map of all towers but the images', (n, 256)."""
        first = self.fused.layers[0]
        weight: Tensor = first.get_parameter("weight")
        if "image" in self.has:
            weight = torch.cat([weight[:, : self.image_columns.start], weight[:, self.image_columns.stop :]], dim=1)
        return nn.functional.linear(seen, weight, first.get_parameter("bias"))

    def _images_alone(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """That map of the images, (n, 256), and the logits of their own member, (n, n_classes).

        Images are mapped first and put on the rows of their products then, so that others cost next to nothing.
        """
        head, first = self.heads[self.image_member], self.fused.layers[0].get_parameter("weight")
        weight, bias = head.get_parameter("weight"), head.get_parameter("bias")
        seen = nn.functional.linear(self.images(batch), torch.cat([first[:, self.image_columns], weight]))
        placed = self.on_products(seen, batch)
        return placed[:, : len(first)], placed[:, len(first) :] + bias

    def _fused_inputs(self) -> list[tuple[str, int]]:
        """Towers beside the images', in the order of the fused head's columns, and the modality of each."""
        inputs = []
        if "text" in self.has:
            inputs += [("bag", TEXT), ("text_cnn", TEXT), ("text_rnn", TEXT)]
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

    def _image_tower(self, image_size: int, n_image_features: int) -> tuple[str, int]:
        """Name and width of the member that sees images."""
        if n_image_features:
            self.image_pretrained = PretrainedFeatures(n_image_features, IMAGE_WIDTH, dropout=self.options.dropout)
            return PRETRAINED, IMAGE_WIDTH
        self.image_cnn = ImageConvolution(image_size)
        return "image_cnn", self.image_cnn.n_features

    def images(self, batch: Batch) -> Tensor:
        """Features of the batch's images, (n_images, n_features)."""
        if self.image_member == PRETRAINED:
            known: Tensor = self.image_pretrained(batch["image_features"])
            return known
        n_images, n_features = batch["images"].shape[0], self.image_cnn.n_features
        if self.training and n_images < 2:  # one image has no variance to normalise by
            return torch.zeros(n_images, n_features)
        return widened(self.image_cnn(batch["images"]), n_features)

    def on_products(self, seen: Tensor, batch: Batch) -> Tensor:
        """What was made of images, (n_images, n), on the rows of their products, (n_products, n); 0 without one."""
        rows = batch["feature_rows" if self.image_member == PRETRAINED else "image_rows"]
        return on_rows(seen, rows, batch["present"])

    def calibrated(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Logits with the class weights undone, and the embedding."""
        logits, embedding = self(batch)
        return {name: values - self.log_class_weights for name, values in logits.items()}, embedding


def member_modalities(name: str, has: Sequence[Modality]) -> tuple[Modality, ...]:
    """Modalities that a neural member reads, of those the catalogue has."""
    reads: dict[str, tuple[Modality, ...]] = {
        "text_cnn": ("text",),
        "text_rnn": ("text",),
        "image_cnn": ("image",),
        "image_pretrained": ("image",),
        "tabular_mlp": ("categorical", "numerical"),
        "fused": MODALITIES,
    }
    return tuple(modality for modality in reads[name] if modality in has)


def as_batch(products: Sequence[EncodedProduct], image_features: NDArray[np.float16] | None = None) -> Batch:
    """Collated products as tensors.

    Parameters
    ----------
    image_features : (n_products, n_features), of a pretrained encoder
    """
    batch = {name: torch.from_numpy(values) for name, values in collate(products).items()}
    if image_features is not None:
        batch["image_features"] = torch.from_numpy(image_features.astype(np.float32))
        batch["feature_rows"] = torch.arange(len(products))
    return batch
