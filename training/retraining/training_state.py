"""The training state: what a bundle carries so that the next training can begin where this one ended.

The network's weights, those of the linear members, and what the members said of each product before they had seen it.
Kept in half precision: a warm start moves the weights by far more than that rounds.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.bundles.bundle import unpack_arrays
from service.errors import BundleRefused
from training.calibrate import Calibration
from training.committee import Committee
from training.held_out import HeldOut
from training.platt import Platt

STATE = "training.npz"
HALF_MAX = float(np.finfo(np.float16).max)

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TrainingState:
    """Where a training ended.

    Parameters
    ----------
    members : names, in the order of the held-out logits
    network : parameters and buffers by name
    linear : the same of every linear member, by member
    platt : slope and shift, (n_members, n_classes), between a member's logits and the graph's member probabilities
    row_of : number of the product's row in `held`, by the key of its id
    held : what members said of products that they had not seen
    gaps : factors of the stacking weights where a modality is missing
    """

    members: tuple[str, ...]
    network: Arrays
    linear: dict[str, Arrays]
    platt: Platt
    row_of: Mapping[int, int]
    held: HeldOut
    gaps: NDArray[np.float64] | None


def product_key(product_id: str) -> int:
    """64 bits that stand for an id."""
    return int.from_bytes(hashlib.blake2b(product_id.encode(), digest_size=8).digest(), "big")


def pack_state(committee: Committee, calibration: Calibration, held: HeldOut, *, ids: Sequence[str]) -> bytes:
    """The state as an .npz file without pickles.

    Parameters
    ----------
    ids : of the products, in the order of `held`
    """
    arrays: Arrays = {f"network/{name}": _half(values) for name, values in committee.network.state_dict().items()}
    for member, module in committee.quick.linear.items():
        arrays |= {f"linear/{member}/{name}": _half(values) for name, values in module.state_dict().items()}
    arrays["members"] = np.array(committee.members)
    arrays["platt"] = np.stack([calibration.members.slope, calibration.members.shift])
    arrays["keys"] = np.array([product_key(one) for one in ids], dtype=np.uint64)
    arrays["logits"] = np.clip(held.logits, -HALF_MAX, HALF_MAX).astype(np.float16)
    arrays["present"] = held.present
    if calibration.gaps is not None:
        arrays["gaps"] = calibration.gaps
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack_state(content: bytes) -> TrainingState:
    """Read a state back.

    Raises
    ------
    BundleRefused
        If the file is none.
    """
    try:
        arrays = unpack_arrays(content)
        keys = arrays["keys"].tolist()
        return TrainingState(
            members=tuple(arrays["members"].tolist()),
            network=_under("network/", arrays),
            linear=_linear(arrays),
            platt=Platt(*arrays["platt"]),
            row_of={key: row for row, key in enumerate(keys)},
            held=HeldOut(arrays["logits"].astype(np.float32), arrays["present"]),
            gaps=arrays.get("gaps"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BundleRefused(f"{STATE} cannot be read: {type(error).__name__}; retrain with --cold") from error


def _half(values: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = values.detach().numpy()
    return np.clip(array, -HALF_MAX, HALF_MAX).astype(np.float16) if array.dtype == np.float32 else array


def _under(prefix: str, arrays: Arrays) -> Arrays:
    found = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
    return {name: values.astype(np.float32) if values.dtype == np.float16 else values for name, values in found.items()}


def _linear(arrays: Arrays) -> dict[str, Arrays]:
    members = {name.split("/")[1] for name in arrays if name.startswith("linear/")}
    return {member: _under(f"linear/{member}/", arrays) for member in sorted(members)}
