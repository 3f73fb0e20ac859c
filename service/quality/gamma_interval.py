"""Intervals for weighted counts of rare events, where a normal interval is wrong.

One distribution function's worth of arithmetic, so that serving needs no scipy; its use is left to
`service.quality.live_quality`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

_TOLERANCE = 1e-12
_MOST_STEPS = 10_000  # of a sum, whose terms are as many as the root of the shape, times a few
_LARGE_SHAPE = 1e6  # whose sums would be longer
_MOST_HALVINGS = 100
_CLOSE = 1e-10
_PLAIN_SHAPE = 1e8  # above it a gamma variable is its mean to four digits


def gamma_interval(
    count: float, *, variance: float, next_weight: float, next_variance: float, level: float = 0.95
) -> tuple[float, float]:
    """Interval for the expectation of a weighted sum of rare events, by the mid-p gamma method.

    Parameters
    ----------
    count : sum of the weights of the events seen, non-negative
    variance : its estimated variance
    next_weight, next_variance : what one more event, just not seen, would add to both

    Returns
    -------
    lower and upper limit; the lower is 0 when nothing was seen, the upper still positive then.

    Source: Fay & Feuer 1997, Confidence intervals for directly standardized rates, Statistics in Medicine 16, 791-801;
    mid-p after Fay & Kim 2017, Biometrical Journal 59, 377-387, because the former covers more than it says. Both take
    the largest weight there is as the next one.
    """
    tail = (1.0 - level) / 2.0

    def halfway(x: float) -> float:
        without = gamma_share(x, mean=count, variance=variance)
        return (without + gamma_share(x, mean=count + next_weight, variance=variance + next_variance)) / 2.0

    top = count + next_weight
    while top > 0.0 and halfway(top) < 1.0 - tail:
        top *= 2.0
    lower, upper = (_crossing(halfway, probability, top) for probability in (tail, 1.0 - tail))
    return min(lower, count), max(upper, count)


def _crossing(share: Callable[[float], float], probability: float, top: float) -> float:
    """Where a rising function on [0, top] reaches the probability.

    Source: Dowell & Jarratt 1971, the Illinois method: false position that halves the weight of an end that stays.
    """
    low, high = 0.0, top
    below, above = -probability, share(top) - probability
    for _ in range(_MOST_HALVINGS):
        if high - low <= _CLOSE * top:
            break
        x = high - (high - low) * above / (above - below)
        excess = share(x) - probability
        if excess < 0.0:
            low, below, above = x, excess, above / 2.0
        else:
            high, above, below = x, excess, below / 2.0
        if abs(excess) <= _CLOSE:
            return x
    return high


def gamma_share(x: float, *, mean: float, variance: float) -> float:
    """Chance that a gamma variable of this mean and variance is at most x.

    Without variance it is its mean; where the mean is nothing beside the deviation it is 0, as it is never negative.
    """
    if variance <= mean * mean / _PLAIN_SHAPE:
        return 1.0 if x >= mean else 0.0
    shape = mean * mean / variance
    if shape == 0.0:
        return 1.0 if x >= 0.0 else 0.0
    return regularised_gamma(shape, x * mean / variance)


def regularised_gamma(shape: float, x: float) -> float:
    """P(a, x): the chance that a gamma variable of this shape is at most x.

    Source: Abramowitz & Stegun 1964, 6.5.29 (series) and 6.5.31 (continued fraction, by Lentz's method), 26.4.14 (the
    cube root of a large shape's variable is normal).
    """
    if x <= 0.0:
        return 0.0
    if shape > _LARGE_SHAPE:
        return NormalDist().cdf(3.0 * math.sqrt(shape) * ((x / shape) ** (1.0 / 3.0) - 1.0 + 1.0 / (9.0 * shape)))
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
