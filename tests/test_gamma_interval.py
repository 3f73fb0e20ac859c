"""The distribution function against scipy's, and the interval against its closed cases and its promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import optimize, stats

from service.quality.gamma_interval import gamma_interval, gamma_share, regularised_gamma

shapes = st.floats(-2.0, 5.0).map(lambda exponent: 10.0**exponent)


@given(shapes, st.floats(0.0, 3.0))
def test_the_distribution_function_is_scipys(shape: float, ratio: float) -> None:
    assert regularised_gamma(shape, ratio * shape) == pytest.approx(stats.gamma.cdf(ratio * shape, shape), abs=1e-9)


@given(st.floats(5.0, 8.0).map(lambda exponent: 10.0**exponent), st.floats(-6.0, 6.0))
@example(shape=1e8, deviations=-4.5)  # where scipy's is 1.3e-6 too small
def test_the_distribution_function_of_a_large_shape_is_that_of_its_expansion(shape: float, deviations: float) -> None:
    x = shape + deviations * np.sqrt(shape)

    assert regularised_gamma(shape, x) == pytest.approx(_expanded(shape, deviations), abs=1e-8)


def _expanded(shape: float, z: float) -> float:
    """Edgeworth's series with the first two cumulants beyond the normal distribution's (McCullagh 1987, chapter 5)."""
    skewness, excess = 2 / np.sqrt(shape), 6 / shape
    third, fourth, sixth = z**2 - 1, z**3 - 3 * z, z**5 - 10 * z**3 + 15 * z
    correction = skewness * third / 6 + excess * fourth / 24 + skewness**2 * sixth / 72
    return float(stats.norm.cdf(z) - stats.norm.pdf(z) * correction)


@pytest.mark.parametrize("count", [0, 1, 2, 10, 200])
def test_with_weights_of_one_it_is_the_mid_p_poisson_interval(count: int) -> None:
    lower, upper = gamma_interval(count, variance=count, next_weight=1.0, next_variance=1.0)

    assert lower == pytest.approx(_mid_p_limit(count, 0.025) if count else 0.0, abs=1e-6)
    assert upper == pytest.approx(_mid_p_limit(count, 0.975), rel=1e-6)


def _mid_p_limit(count: int, probability: float) -> float:
    """Rate at which the chance of more events, plus half that of exactly as many, is the probability."""

    def excess(rate: float) -> float:
        chance: float = stats.poisson.sf(count, rate) + stats.poisson.pmf(count, rate) / 2
        return chance - probability

    return float(optimize.brentq(excess, 1e-9, 10 * count + 20, xtol=1e-10))


@given(st.lists(st.floats(1.0, 1e3), max_size=20), st.floats(1.0, 1e4))
def test_the_count_lies_inside_its_interval(weights: list[float], next_weight: float) -> None:
    count, variance = sum(weights), sum(weight * (weight - 1.0) for weight in weights)
    lower, upper = gamma_interval(
        count, variance=variance, next_weight=next_weight, next_variance=next_weight * (next_weight - 1.0)
    )

    assert 0.0 <= lower <= count <= upper


@given(st.lists(st.floats(1.0, 1e3), max_size=20), st.floats(0.01, 100.0))
def test_the_interval_scales_with_the_weights(weights: list[float], factor: float) -> None:
    count, variance = sum(weights), sum(weight**2 for weight in weights)
    plain = gamma_interval(count, variance=variance, next_weight=5.0, next_variance=25.0)
    scaled = gamma_interval(
        factor * count, variance=factor**2 * variance, next_weight=factor * 5.0, next_variance=factor**2 * 25.0
    )

    assert scaled == pytest.approx((factor * plain[0], factor * plain[1]), rel=1e-6, abs=1e-9)


def test_a_count_without_variance_is_known() -> None:
    assert gamma_interval(7.0, variance=0.0, next_weight=0.0, next_variance=0.0) == (7.0, 7.0)
    assert gamma_interval(0.0, variance=0.0, next_weight=0.0, next_variance=0.0) == (0.0, 0.0)


def test_a_variable_without_variance_is_its_mean() -> None:
    assert gamma_share(6.9, mean=7.0, variance=0.0) == 0.0
    assert gamma_share(7.0, mean=7.0, variance=0.0) == 1.0


def test_a_variable_without_mean_is_nought_whatever_its_variance() -> None:
    assert gamma_share(0.0, mean=0.0, variance=1.0) == 1.0
    assert gamma_share(1e-9, mean=1e-200, variance=1.0) == 1.0
    assert gamma_share(-1.0, mean=0.0, variance=1.0) == 0.0


def test_nothing_seen_has_an_interval_although_its_variance_is_estimated() -> None:
    lower, upper = gamma_interval(0.0, variance=1.0, next_weight=2.0, next_variance=4.0)

    assert lower == 0.0
    assert 2.0 < upper < 20.0


def test_intervals_of_weighted_poisson_counts_cover_their_expectation() -> None:
    rng = np.random.default_rng(0)
    weights = np.array([1.0, 2.0, 4.0])
    rates = np.array([4.0, 3.0, 2.0])
    expected = float(weights @ rates)
    next_weight = float((weights * rates).sum() / rates.sum())

    hits = 0
    for seen in rng.poisson(rates, size=(500, 3)):
        lower, upper = gamma_interval(
            float(weights @ seen),
            variance=float(weights**2 @ seen),
            next_weight=next_weight,
            next_variance=next_weight**2,
        )
        hits += lower <= expected <= upper

    assert 0.92 <= hits / 500 <= 0.98
