"""Numerical columns on a common scale: a factor where they are tiny, a signed logarithm, mean 0 and deviation 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import SerializerFunctionWrapHandler, model_serializer

from service.contracts import Frozen

CLIP = 6.0  # standard deviations


class NumericalEncoding(Frozen):
    """Mean and standard deviation of the signed logarithm of each numerical field, times its factor."""

    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()  # positive
    factors: tuple[float, ...] = ()  # positive; none at all where each is 1

    @model_serializer(mode="wrap")
    def _without_ones(self, complete: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave factors out where there are none: most catalogues, and all that an earlier version can read."""
        fields: dict[str, Any] = complete(self)
        return {name: values for name, values in fields.items() if name != "factors" or values}


def signed_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """sign(x) log(1 + |x|): keeps order and zero, and makes prices comparable by ratio."""
    return np.sign(values) * np.log1p(np.abs(values))


def magnified(values: NDArray[np.float64], factors: Sequence[float]) -> NDArray[np.float64]:
    """Values, (n_products, n_fields), times the factors of their fields, if there are any."""
    if not factors:
        return values
    with np.errstate(over="ignore"):  # what passes all numbers is infinite, and clipped
        return values * np.asarray(factors, dtype=np.float64)


def numbers(encoding: NumericalEncoding, values: Sequence[float]) -> NDArray[np.float32]:
    """Scaled values, 0 where missing, followed by one flag per field that is 1 where it is missing.

    Parameters
    ----------
    values : one per numerical field, NaN where missing

    Returns
    -------
    (2 n_fields,), float32, the scaled values within ±6 standard deviations
    """
    factors = encoding.factors or (1.0,) * len(encoding.means)
    scaled = [
        _scaled(value * factor, mean, deviation)
        for value, mean, deviation, factor in zip(values, encoding.means, encoding.deviations, factors, strict=True)
    ]
    return np.array([*scaled, *map(math.isnan, values)], dtype=np.float32)


def _scaled(value: float, mean: float, deviation: float) -> float:
    if math.isnan(value):
        return 0.0
    # The same as `signed_log`, for one number: an array of a few costs five times as much.
    logarithm = math.copysign(math.log1p(abs(value)), value)
    return min(max((logarithm - mean) / deviation, -CLIP), CLIP)


def no_numbers(n_fields: int) -> NDArray[np.float32]:
    """What a product without any number is encoded as, (2 n_fields,)."""
    return np.array([0.0] * n_fields + [1.0] * n_fields, dtype=np.float32)
