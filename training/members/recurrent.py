"""The recurrent member: a gated recurrent unit that reads a text word by word (Cho et al. 2014, arXiv:1406.1078)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from service.features.text import PADDING

MAX_STEPS = 20  # tokens read; steps run one after another, and titles are short


class TextRecurrence(nn.Module):
    """The largest value of each state over the words read; the padding comes after them and so changes nothing."""

    def __init__(self, *, width: int, n_states: int) -> None:
        super().__init__()
        self.unit = nn.GRU(width, n_states, batch_first=True)
        self.n_features = n_states

    def forward(self, words: Tensor, token_ids: Tensor) -> Tensor:
        """Word vectors (n, n_tokens, width) to (n, n_features), within [0, 1]."""
        states, _ = self.unit(words[:, :MAX_STEPS])
        real = (token_ids[:, :MAX_STEPS] > PADDING).unsqueeze(2)
        return torch.relu(states * real).amax(1)
