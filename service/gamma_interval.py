"""Intervals for weighted counts of rare events, where a normal interval is wrong.

Two distributions' worth of arithmetic, so that serving needs no scipy; its use is left to `service.live_quality`.
"""

from __future__ import annotations

import math
from statistics import NormalDist

_TOLERANCE = 1e-13
_MOST_STEPS = 10_000
_PLAIN_SHAPE = 1e8  # above it a gamma variable is its mean to four digits
_LEAST_SHAPE = 0.05  # no weighted count comes near it: its shape is at least 1


def gamma_interval(
    count: float, *, variance: float, next_weight: float, next_variance: float, level: float = 0.95
) -> tuple[float, float]:
    """Interval for the expectation of a weighted sum of rare events.

    Parameters
    ----------
    count : sum of the weights of the events seen, non-negative
    variance : its estimated variance
    next_weight, next_variance : what one more event, just not seen, would add to both

    Returns
    -------
    lower and upper limit; the lower is 0 when nothing was seen, the upper still positive then.

    Source: Fay & Feuer 1997, Confidence intervals for directly standardized rates, Statistics in Medicine 16, 791-801;
    there the next weight is the largest there is and its variance that weight squared.
    """
    tail = (1.0 - level) / 2.0
    lower = _scaled_quantile(tail, mean=count, variance=variance)
    upper = _scaled_quantile(1.0 - tail, mean=count + next_weight, variance=variance + next_variance)
    return lower, upper


def _scaled_quantile(probability: float, *, mean: float, variance: float) -> float:
    """Quantile of the gamma distribution with this mean and variance."""
    if mean <= 0.0 or variance <= mean * mean / _PLAIN_SHAPE:
        return max(mean, 0.0)
    shape = max(mean * mean / variance, _LEAST_SHAPE)
    return gamma_quantile(probability, shape=shape) * mean / shape


def gamma_quantile(probability: float, *, shape: float) -> float:
    """Quantile of the gamma distribution of scale 1, by Newton's method, kept inside a shrinking bracket.

    Parameters
    ----------
    probability : in (0, 1)
    shape : positive

    Source: Wilson & Hilferty 1931 for the first guess.
    """
    low, high = 0.0, math.inf
    x = _first_guess(probability, shape)
    for _ in range(_MOST_STEPS):
        excess = regularised_gamma(shape, x) - probability
        low, high = (low, x) if excess > 0.0 else (x, high)
        density = math.exp((shape - 1.0) * math.log(x) - x - math.lgamma(shape))
        new = x - excess / density if density > 0.0 else -1.0
        if not low < new < high:
            new = (low + high) / 2.0 if math.isfinite(high) else 2.0 * x
        if abs(new - x) <= _TOLERANCE * x or new == 0.0:
            return new
        x = new
    return x


def _first_guess(probability: float, shape: float) -> float:
    small = (math.log(probability) + math.lgamma(shape + 1.0)) / shape  # P(a, x) is about x**a / gamma(a + 1)
    if shape < 1.0 or small < math.log(0.1 * shape):
        return max(math.exp(min(small, math.log(shape + 1.0))), 1e-300)
    z = NormalDist().inv_cdf(probability)
    return max(shape * (1.0 - 1.0 / (9.0 * shape) + z / (3.0 * math.sqrt(shape))) ** 3, 1e-300)


def regularised_gamma(shape: float, x: float) -> float:
    """P(a, x): the chance that a gamma variable of this shape is at most x.

    Source: Abramowitz & Stegun 1964, 6.5.29 (series) and 6.5.31 (continued fraction, by Lentz's method).
    """
    if x <= 0.0:
        return 0.0
    scale = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    return scale * _series(shape, x) if x < shape + 1.0 else 1.0 - scale * _fraction(shape, x)


def _series(shape: float, x: float) -> float:
    term = total = 1.0 / shape
    for n in range(1, _MOST_STEPS):
        term *= x / (shape + n)
        total += term
        if term < total * _TOLERANCE:
            break
    return total


def _fraction(shape: float, x: float) -> float:
    b = x + 1.0 - shape
    c, d = 1e300, 1.0 / b
    value = d
    for n in range(1, _MOST_STEPS):
        factor = -n * (n - shape)
        b += 2.0
        d = 1.0 / (factor * d + b)
        c = b + factor / c
        value *= c * d
        if abs(c * d - 1.0) < _TOLERANCE:
            break
    return value
