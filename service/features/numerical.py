"""Numerical columns, brought to a common scale: a signed logarithm, then mean 0 and standard deviation 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.contracts import Frozen

CLIP = 6.0  # standard deviations


class NumericalEncoding(Frozen):
    """Mean and standard deviation of the signed logarithm of each numerical field."""

    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()  # positive


def signed_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """sign(x) log(1 + |x|): keeps order and zero, and makes prices comparable by ratio."""
    return np.sign(values) * np.log1p(np.abs(values))


def numbers(encoding: NumericalEncoding, values: Sequence[float]) -> NDArray[np.float32]:
    """Scaled values, 0 where missing, followed by one flag per field that is 1 where it is missing.

    Parameters
    ----------
    values : one per numerical field, NaN where missing

    Returns
    -------
    (2 n_fields,), float32, the scaled values within ±6 standard deviations
    """
    raw = np.asarray(values, dtype=np.float64)
    missing = np.isnan(raw)
    scaled = (signed_log(raw) - np.asarray(encoding.means)) / np.asarray(encoding.deviations)
    bounded = np.clip(np.where(missing, 0.0, scaled), -CLIP, CLIP)
    return np.concatenate([bounded, missing]).astype(np.float32)


def no_numbers(n_fields: int) -> NDArray[np.float32]:
    """What a product without any number is encoded as, (2 n_fields,)."""
    return np.concatenate([np.zeros(n_fields), np.ones(n_fields)]).astype(np.float32)
