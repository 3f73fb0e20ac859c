"""The gamma quantile against scipy's, and the interval against its closed cases and its promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from service.gamma_interval import gamma_interval, gamma_quantile, regularised_gamma

shapes = st.floats(-2.0, 5.0).map(lambda exponent: 10.0**exponent)


@given(st.floats(1e-4, 1 - 1e-4), shapes)
def test_the_quantile_is_scipys(probability: float, shape: float) -> None:
    assert gamma_quantile(probability, shape=shape) == pytest.approx(stats.gamma.ppf(probability, shape), rel=1e-8)


@given(shapes, st.floats(0.0, 3.0))
def test_the_distribution_function_is_scipys(shape: float, ratio: float) -> None:
    assert regularised_gamma(shape, ratio * shape) == pytest.approx(stats.gamma.cdf(ratio * shape, shape), abs=1e-9)


@pytest.mark.parametrize("count", [0, 1, 2, 10, 200])
def test_with_weights_of_one_it_is_the_exact_poisson_interval(count: int) -> None:
    lower, upper = gamma_interval(count, variance=count, next_weight=1.0, next_variance=1.0)

    assert lower == pytest.approx(stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0)
    assert upper == pytest.approx(stats.chi2.ppf(0.975, 2 * (count + 1)) / 2)


@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6), st.floats(1.0, 1e4))
def test_the_count_lies_inside_its_interval(count: float, spread: float, weight: float) -> None:
    lower, upper = gamma_interval(count, variance=spread, next_weight=weight, next_variance=weight**2)

    assert 0.0 <= lower <= count + 1e-9 * count
    assert upper >= count


def test_a_count_without_variance_is_known() -> None:
    assert gamma_interval(7.0, variance=0.0, next_weight=0.0, next_variance=0.0) == (7.0, 7.0)


def test_intervals_of_weighted_poisson_counts_cover_their_expectation() -> None:
    rng = np.random.default_rng(0)
    weights = np.array([1.0, 3.0, 10.0])
    rates = np.array([3.0, 2.0, 0.5])
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

    assert 0.92 <= hits / 500 <= 0.99
