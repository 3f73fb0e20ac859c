"""A small committee on fixed features: quick enough to train hundreds of times, alike enough to the real one to study.

What it learns from, and how often, is left to `training.replay`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

N_HIDDEN = 96
BATCH_SIZE = 256
COLD_EPOCHS, WARM_EPOCHS = 8, 3
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.02
VIEW_DROPOUT = 0.2  # of a whole modality, in the head that reads them all


@dataclass(frozen=True)
class Lessons:
    """What a committee learns from, one row a product.

    Parameters
    ----------
    features : (n_products, n_features), float32
    answers : (n_products, n_classes), 1 yes, 0 no; anything where the weight is 0
    weights : (n_products, n_classes), what each answer counts for, 0 where there is none
    """

    features: NDArray[np.float32]
    answers: NDArray[np.float32]
    weights: NDArray[np.float32]


class Committee:
    """One head for each view of the features and one for all of them together, each with one hidden layer."""

    def __init__(self, views: Sequence[int], n_classes: int, *, seed: int) -> None:
        """Make an untrained committee.

        Parameters
        ----------
        views : widths of the modalities, in the order of the features' columns
        """
        self._views = tuple(views)
        self._generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        inputs = [*self._views, sum(self._views)] if len(self._views) > 1 else [*self._views, *self._views]
        self._heads = nn.ModuleList(_head(n_inputs, n_classes) for n_inputs in inputs)

    def train(self, lessons: Lessons, *, warm: bool = False) -> None:
        """Learn from all lessons; warm takes up where the last training ended and passes over them fewer times."""
        features, answers, weights = (
            torch.from_numpy(array) for array in (lessons.features, lessons.answers, lessons.weights)
        )
        epochs = WARM_EPOCHS if warm else COLD_EPOCHS
        n_steps = epochs * -(-len(features) // BATCH_SIZE)
        optimiser = torch.optim.AdamW(self._heads.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=n_steps, pct_start=0.2)
        self._heads.train()
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(features), generator=self._generator), BATCH_SIZE):
                optimiser.zero_grad(set_to_none=True)
                torch.autograd.backward(self._loss(features[rows], answers[rows], weights[rows]))
                optimiser.step()
                schedule.step()

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of each head, (n_products, n_heads, n_classes); the committee says their mean."""
        self._heads.eval()
        with torch.inference_mode():
            inputs = self._inputs(torch.from_numpy(features))
            logits = [head(view) for head, view in zip(self._heads, inputs, strict=True)]
            return np.ascontiguousarray(torch.sigmoid(torch.stack(logits, dim=1)).numpy())

    def copy(self) -> Committee:
        """An independent committee that knows the same and draws the same."""
        other = Committee.__new__(Committee)
        other._views = self._views
        other._generator = torch.Generator()
        other._generator.set_state(self._generator.get_state())
        n_classes = self._heads[0][-1].out_features  # type: ignore[index]  # a Sequential
        widths = [head[0].in_features for head in self._heads]  # type: ignore[index]  # a Sequential
        other._heads = nn.ModuleList(_head(width, int(n_classes)) for width in widths)
        other._heads.load_state_dict(self._heads.state_dict())
        return other

    def _loss(self, features: Tensor, answers: Tensor, weights: Tensor) -> Tensor:
        inputs = self._inputs(features)
        inputs[-1] = self._with_views_dropped(inputs[-1])
        loss = torch.zeros(())
        for head, view in zip(self._heads, inputs, strict=True):
            errors = nn.functional.binary_cross_entropy_with_logits(
                head(view), answers, weight=weights, reduction="sum"
            )
            loss = loss + errors / len(features)
        return loss

    def _inputs(self, features: Tensor) -> list[Tensor]:
        return [*torch.split(features, list(self._views), dim=1), features]

    def _with_views_dropped(self, features: Tensor) -> Tensor:
        keep = (torch.rand((len(features), len(self._views)), generator=self._generator) >= VIEW_DROPOUT).float()
        return features * keep.repeat_interleave(torch.tensor(self._views), dim=1)


def _head(n_inputs: int, n_classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_inputs, N_HIDDEN), nn.ReLU(), nn.Dropout(0.2), nn.Linear(N_HIDDEN, n_classes))
