"""The whole ensemble as one torch module, and that module as one ONNX graph."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.bundles.bundle import MemberCard
from service.contracts import MODALITIES
from service.ensemble import INPUTS, OUTPUTS
from service.features.encoder import EncodedProduct
from training.calibrate import Calibration
from training.joint import Batch, JointNetwork, as_batch
from training.members.image_rows import widened
from training.members.trees import TreeMember
from training.platt import EDGE, MAX_LOG_ODDS

OPSET = 17
INITIAL_STATE = 5  # the place among the inputs of ONNX's GRU
TREES_OPSETS = {"ai.onnx.ml": 3}
DYNAMIC_AXES = {
    "token_ids": {0: "n", 1: "n_tokens"},
    "bag_ids": {0: "n", 1: "n_bag"},
    "bag_values": {0: "n", 1: "n_bag"},
    "category_ids": {0: "n", 1: "n_values"},
    "numbers": {0: "n"},
    "images": {0: "n_images", 1: "height", 2: "width"},
    "image_rows": {0: "n_images"},
    "present": {0: "n"},
    "probabilities": {0: "n"},
    "member_probabilities": {0: "n"},
    "embedding": {0: "n"},
}


class EnsembleModule(nn.Module):
    """All members, calibrated and stacked: what the graph computes."""

    reads: Tensor
    slope: Tensor
    shift: Tensor
    ensemble_slope: Tensor
    ensemble_shift: Tensor
    log_stacking: Tensor
    log_gaps: Tensor
    priors: Tensor
    trainable: Tensor

    def __init__(
        self,
        apart: dict[str, nn.Module],
        network: JointNetwork,
        cards: Sequence[MemberCard],
        calibration: Calibration,
        image_encoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.apart = nn.ModuleDict(apart)
        self.network = network
        self.names = tuple(card.name for card in cards)
        self.shape = calibration.stacking.shape  # (n_members, n_classes)
        reads = [[modality in card.modalities for card in cards] for modality in MODALITIES]
        self.register_buffer("reads", torch.tensor(reads, dtype=torch.float32))
        gaps = np.ones((len(MODALITIES), *self.shape)) if calibration.gaps is None else calibration.gaps
        numbers = {
            "slope": calibration.members.slope,
            "shift": calibration.members.shift,
            "ensemble_slope": calibration.ensemble.slope,
            "ensemble_shift": calibration.ensemble.shift,
            "log_stacking": np.log(calibration.stacking + EDGE).ravel(),
            "log_gaps": np.log(gaps).reshape(len(MODALITIES), -1),
            "priors": calibration.priors,
        }
        for name, values in numbers.items():
            self.register_buffer(name, torch.from_numpy(np.asarray(values, dtype=np.float32)))
        self.register_buffer("trainable", torch.from_numpy(calibration.trainable.copy()))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From the graph's inputs, in the order of `INPUTS`, to its outputs, in the order of `OUTPUTS`."""
        batch: Batch = dict(zip(INPUTS, inputs, strict=True))
        if self.image_encoder is not None:
            batch["image_features"] = widened(self.image_encoder(batch["images"]), self.network.n_image_features)
            batch["feature_rows"] = batch["image_rows"]
        logits, embedding = self.network.calibrated(batch)
        logits |= {name: member(batch) for name, member in self.apart.items()}
        stacked = torch.cat([logits[name] for name in self.names], dim=1).view(-1, *self.shape)
        log_odds = (self.slope * stacked + self.shift).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)
        members = torch.where(self.trainable, torch.sigmoid(log_odds), self.priors)
        present = (torch.matmul(batch["present"], self.reads) > 0).float().unsqueeze(2)
        weights = present * (self._stacking(batch["present"]) + EDGE)  # several gaps can leave next to nothing of all
        total = weights.sum(1)
        pooled = (weights * log_odds).sum(1) / total.clamp(min=EDGE / 2)
        final = torch.sigmoid(self.ensemble_slope * pooled + self.ensemble_shift)
        known = (total > 0) & self.trainable
        return torch.where(known, final, self.priors), members, embedding

    def _stacking(self, have: Tensor) -> Tensor:
        """Stacking weights, (n, n_members, n_classes), times a factor for each modality that a product lacks.

        Parameters
        ----------
        have : (n, n_modalities), 1 where a product has it
        """
        return torch.exp(torch.addmm(self.log_stacking, 1 - have, self.log_gaps)).view(-1, *self.shape)


def run_module(module: EnsembleModule, products: Sequence[EncodedProduct]) -> dict[str, NDArray[np.float32]]:
    """Outputs of the torch module for a batch: what the graph must give too."""
    batch = as_batch(products)
    with torch.no_grad():
        outputs = module(*(batch[name] for name in INPUTS))
    return {name: values.numpy() for name, values in zip(OUTPUTS, outputs, strict=True)}


def export_graph(module: EnsembleModule, products: Sequence[EncodedProduct]) -> bytes:
    """The module as a serialised ONNX graph, traced on a batch of at least two products, one of them with an image."""
    batch = as_batch(products)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # torch warns of this exporter's age, and of the recurrent unit's initial state, which `_lean` takes out
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(batch[name] for name in INPUTS),
            buffer,  # type: ignore[arg-type]  # this exporter writes to buffers too
            dynamo=False,
            autograd_inlining=False,  # the trees stay one operator
            opset_version=OPSET,
            custom_opsets=TREES_OPSETS if _has_trees(module) else {},  # torch warns of those that no operator needs
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=DYNAMIC_AXES,
        )
    graph: bytes = _lean(onnx.load_from_string(buffer.getvalue())).SerializeToString()
    return graph


def _lean(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Without what a recurrent unit starts from, which is zero anyway and takes six operators to make."""
    for node in graph.graph.node:
        if node.op_type == "GRU":
            node.input[INITIAL_STATE] = ""
    nodes, used = [], {output.name for output in graph.graph.output}
    for node in reversed(graph.graph.node):
        if used.intersection(node.output):
            nodes.append(node)
            used.update(node.input)
    del graph.graph.node[:]
    graph.graph.node.extend(reversed(nodes))
    return graph


def _has_trees(module: nn.Module) -> bool:
    return any(isinstance(part, TreeMember) and part.forest.roots for part in module.modules())
