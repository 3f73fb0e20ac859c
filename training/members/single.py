"""A network of one tower: each neural kind on each modality by itself, to be measured beside the ensemble's members.

It trains and answers as the joint network does, so that all are compared at the same effort.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from service.contracts import Modality
from service.features.encoder import Encoding
from training.joint import CATEGORICAL, IMAGE, NUMERICAL, TEXT, Batch, JointNetwork, JointOptions
from training.members.convolutional import ImageConvolution, TextConvolution
from training.members.image_rows import on_rows
from training.members.mlp import BagEmbedding, CategoryEmbedding, Perceptron, PretrainedFeatures, small_table
from training.members.recurrent import TextRecurrence

TowerKind = Literal["linear", "mlp", "convolutional", "recurrent"]
WORD_WIDTH, BAG_WIDTH, CATEGORY_WIDTH, HIDDEN = 48, 96, 48, (128,)
PIXELS = 12  # a side, where a dense layer sees pixels


class SingleTower(JointNetwork):
    """One tower and its head, under the name that the joint network gives its fused member.

    Parameters
    ----------
    modalities : what it reads
    n_image_features : of a pretrained encoder; pixels are read where it is 0
    """

    def __init__(
        self,
        kind: TowerKind,
        modalities: tuple[Modality, ...],
        encoding: Encoding,
        *,
        n_numbers: int,
        n_classes: int,
        options: JointOptions,
        n_image_features: int,
    ) -> None:
        nn.Module.__init__(self)
        self.has = frozenset(modalities)
        self.options = options
        self.kind = kind
        self.members = ("fused",)
        width = self._lay_out(encoding, n_numbers, n_image_features)
        if kind == "mlp":
            self.hidden = Perceptron(width, HIDDEN, dropout=options.dropout)
            width = HIDDEN[-1]
        self.heads = nn.ModuleDict({"fused": nn.Linear(width, n_classes)})
        self.register_buffer("log_class_weights", torch.zeros(n_classes))

    def forward(self, batch: Batch, keep: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Logits (n, n_classes) under the name "fused", and the features; `keep` as in the joint network."""
        present = batch["present"] if keep is None or len(self.has) == 1 else batch["present"] * keep
        features = torch.cat([part * present[:, [column]] for column, part in self._parts(batch)], dim=1)
        if self.kind == "mlp":
            features = self.hidden(features)
        return {"fused": self.heads["fused"](features)}, features

    def _lay_out(self, encoding: Encoding, n_numbers: int, n_image_features: int) -> int:
        """Build the layers and return how many features they give."""
        width = 0
        if "text" in self.has and self.kind == "mlp":
            self.bag = BagEmbedding(len(encoding.text.bag) + 1, BAG_WIDTH)
            width += BAG_WIDTH
        elif "text" in self.has:
            self.words = small_table(len(encoding.text.words) + 3, WORD_WIDTH, deviation=0.3)
            if self.kind == "recurrent":
                self.text_rnn = TextRecurrence(width=WORD_WIDTH, n_states=64)
                width += self.text_rnn.n_features
            else:
                self.text_cnn = TextConvolution(width=WORD_WIDTH, n_filters=48)
                width += self.text_cnn.n_features
        if "image" in self.has and self.kind == "convolutional":
            self.image_member = "image_cnn"
            self.image_cnn = ImageConvolution(encoding.image_size)
            width += self.image_cnn.n_features
        elif "image" in self.has:
            n_inputs = n_image_features or 3 * PIXELS**2
            self.image_pretrained = PretrainedFeatures(n_inputs, 256, dropout=self.options.dropout)
            width += n_inputs if self.kind == "linear" else 256
        if "categorical" in self.has:
            self.categories = CategoryEmbedding(encoding.categorical.n_ids, CATEGORY_WIDTH)
            width += CATEGORY_WIDTH
        return width + (n_numbers if "numerical" in self.has else 0)

    def _parts(self, batch: Batch) -> list[tuple[int, Tensor]]:
        """Features of each modality, with its column in `present`."""
        parts: list[tuple[int, Tensor]] = []
        if "text" in self.has and self.kind == "mlp":
            parts.append((TEXT, self.bag(batch["bag_ids"], batch["bag_values"])))
        elif "text" in self.has:
            tower = self.text_rnn if self.kind == "recurrent" else self.text_cnn
            parts.append((TEXT, tower(self.words(batch["token_ids"]), batch["token_ids"])))
        if "image" in self.has:
            parts.append((IMAGE, self._image(batch)))
        if "categorical" in self.has:
            parts.append((CATEGORICAL, self.categories(batch["category_ids"])))
        if "numerical" in self.has:
            parts.append((NUMERICAL, batch["numbers"]))
        return parts

    def _image(self, batch: Batch) -> Tensor:
        if self.kind == "convolutional":
            return on_rows(self.images(batch), batch["image_rows"], batch["present"])
        features = batch.get("image_features")
        if features is None:
            features = on_rows(pixels(batch["images"]), batch["image_rows"], batch["present"])
        if self.kind == "linear":
            scaled: Tensor = (features - self.image_pretrained.mean) / self.image_pretrained.deviation
            return scaled
        dense: Tensor = self.image_pretrained(features)
        return dense


def pixels(images: Tensor) -> Tensor:
    """Pixels (n_images, height, width, 3), uint8, as a few numbers in [0, 1], (n_images, 3 · 12 · 12)."""
    small = nn.functional.adaptive_avg_pool2d(images.permute(0, 3, 1, 2).float() / 255, PIXELS)
    return small.flatten(1)
