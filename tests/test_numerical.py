"""Numerical columns: scaled as the arrays would be, missing values flagged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.features.numerical import CLIP, NumericalEncoding, numbers, signed_log

anything = st.floats(allow_nan=True, allow_infinity=True)


@given(columns=st.lists(st.tuples(anything, st.floats(-10, 10), st.floats(0.01, 10)), max_size=6))
def test_numbers_are_those_of_the_array_formula(columns: list[tuple[float, float, float]]) -> None:
    values, means, deviations = (np.array([column[i] for column in columns]) for i in range(3))

    encoded = numbers(NumericalEncoding(means=tuple(means), deviations=tuple(deviations)), values.tolist())

    scaled = np.clip((signed_log(values) - means) / deviations, -CLIP, CLIP)
    expected = np.concatenate([np.where(np.isnan(values), 0.0, scaled), np.isnan(values)])
    np.testing.assert_allclose(encoded, expected, rtol=1e-6, atol=1e-6)
    assert encoded.dtype == np.float32


@given(value=st.floats(allow_nan=False), other=st.floats(allow_nan=False))
def test_scaling_keeps_order(value: float, other: float) -> None:
    encoding = NumericalEncoding(means=(2.0,), deviations=(3.0,))

    one, another = (numbers(encoding, [number])[0] for number in sorted((value, other)))

    assert -CLIP <= one <= another <= CLIP


def test_a_missing_number_is_zero_and_flagged() -> None:
    encoded = numbers(NumericalEncoding(means=(2.0, 1.0), deviations=(3.0, 1.0)), [float("nan"), 0.0])

    assert encoded.tolist() == [0.0, -1.0, 1.0, 0.0]


def test_a_number_times_its_factor_is_encoded_and_what_passes_all_numbers_is_clipped() -> None:
    plain, tiny = (NumericalEncoding(means=(2.0,), deviations=(3.0,), factors=one) for one in ((), (1e12,)))

    assert numbers(tiny, [4e-12]).tolist() == numbers(plain, [4e-12 * 1e12]).tolist()
    assert [numbers(tiny, [sign * 1e300])[0] for sign in (1, -1)] == [CLIP, -CLIP]


def test_an_encoding_without_factors_is_written_as_ever_and_one_with_them_is_read_back() -> None:
    plain, tiny = (NumericalEncoding(means=(2.0,), deviations=(3.0,), factors=one) for one in ((), (1e12,)))

    assert plain.model_dump_json() == '{"means":[2.0],"deviations":[3.0]}'
    assert [NumericalEncoding.model_validate_json(one.model_dump_json()) for one in (plain, tiny)] == [plain, tiny]


def test_another_number_of_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        numbers(NumericalEncoding(means=(2.0,), deviations=(3.0,)), [1.0, 2.0])
