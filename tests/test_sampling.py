"""Promises of the keyed draws: repeatable, uniforms, and with exactly the probabilities they name."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.acquisition.sampling import draw_questions, fingerprint, inclusion_probabilities, uniforms

Float = NDArray[np.float64]

cells = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text())
records = st.dictionaries(st.text(), cells)
weight_rows = st.tuples(st.integers(1, 5), st.integers(1, 60)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(0.01, 1000.0))
)


def many_fingerprints(n: int) -> list[bytes]:
    return [fingerprint({"id": index}) for index in range(n)]


@given(records, st.randoms(use_true_random=False))
def test_a_fingerprint_ignores_key_order_and_empty_fields(record: dict[str, object], random: object) -> None:
    names = list(record)
    random.shuffle(names)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    shuffled = {name: record[name] for name in names} | {"never used before": None}

    assert fingerprint(shuffled) == fingerprint(record)


@given(records, records)
def test_records_that_say_different_things_have_different_fingerprints(
    first: dict[str, object], second: dict[str, object]
) -> None:
    said = [{name: repr(value) for name, value in one.items() if value is not None} for one in (first, second)]

    assert (fingerprint(first) == fingerprint(second)) == (said[0] == said[1])


def test_a_fingerprint_is_the_same_in_every_process_and_release() -> None:
    content = '{"id":"a","price":3.5,"title":"Schürze"}'.encode()
    expected = hashlib.blake2b(content, digest_size=16, person=b"winnow-product").digest()

    assert fingerprint({"title": "Schürze", "id": "a", "price": 3.5, "brand": None}) == expected


def test_keyed_numbers_are_uniform_in_0_to_1() -> None:
    u = uniforms(many_fingerprints(20_000), salt=b"salt")

    counts = np.histogram(u, bins=20, range=(0.0, 1.0))[0]
    chi_square = float(((counts - 1000.0) ** 2 / 1000.0).sum())
    assert u.min() > 0.0
    assert u.max() <= 1.0
    assert chi_square < 50.0  # 19 degrees of freedom: passed with a probability of .9999


def test_keyed_numbers_under_two_salts_are_unrelated() -> None:
    prints = many_fingerprints(5_000)
    pairs = np.array([uniforms(prints, salt=b"first"), uniforms(prints, salt=b"second")])

    assert abs(np.corrcoef(pairs)[0, 1]) * np.sqrt(len(prints)) < 4.0


@given(weight_rows, st.integers(1, 12))
def test_inclusion_probabilities_add_up_to_the_number_drawn(weights: Float, n_drawn: int) -> None:
    chances = inclusion_probabilities(weights, n_drawn)

    assert chances.sum(axis=1) == pytest.approx(np.full(len(weights), min(n_drawn, weights.shape[1])))
    assert np.all((chances > 0.0) & (chances <= 1.0))


@given(weight_rows, st.integers(1, 12))
def test_inclusion_probabilities_below_the_cap_are_proportional_to_the_weights(weights: Float, n_drawn: int) -> None:
    chances = inclusion_probabilities(weights, n_drawn)

    for row, weight in zip(chances, weights, strict=True):
        free = row < 1.0
        ratios = row[free] / weight[free]
        assert ratios == pytest.approx(np.full(free.sum(), ratios.mean() if free.any() else 0.0))
        assert not free.any() or np.all(weight[~free] * ratios.max() >= 1.0 - 1e-9)  # only what must be capped is


@given(weight_rows, st.integers(1, 12), st.binary(min_size=1, max_size=16))
def test_every_draw_has_exactly_the_number_asked_for(weights: Float, n_drawn: int, salt: bytes) -> None:
    chances = inclusion_probabilities(weights, n_drawn)
    drawn = draw_questions(chances, many_fingerprints(len(weights)), salt=salt)

    assert drawn.sum(axis=1).tolist() == [min(n_drawn, weights.shape[1])] * len(weights)
    assert np.all(drawn[chances == 1.0])


def test_questions_are_drawn_exactly_as_often_as_their_probabilities_say() -> None:
    rng = np.random.default_rng(0)
    weights = np.exp(rng.normal(0.0, 1.5, 49))
    n_draws = 40_000
    chances = inclusion_probabilities(weights[None], 5)

    drawn = draw_questions(np.repeat(chances, n_draws, axis=0), many_fingerprints(n_draws), salt=b"salt")

    free = chances[0] < 1.0
    spread = np.sqrt(chances[0, free] * (1.0 - chances[0, free]) / n_draws)
    z = (drawn[:, free].mean(axis=0) - chances[0, free]) / spread
    assert np.abs(z).max() < 4.0
    assert 0.6 < z.std() < 1.4
    assert drawn[:, ~free].all()


def test_a_draw_repeats_under_its_salt_and_changes_under_another() -> None:
    chances = inclusion_probabilities(np.ones((50, 49)), 5)
    prints = many_fingerprints(50)

    first, again, other = (draw_questions(chances, prints, salt=salt) for salt in (b"one", b"one", b"two"))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_product_has_the_same_draw_whoever_stands_beside_it() -> None:
    chances = inclusion_probabilities(np.random.default_rng(0).random((20, 9)), 3)
    prints = many_fingerprints(20)

    together = draw_questions(chances, prints, salt=b"salt")
    alone = np.concatenate([draw_questions(chances[[i]], [prints[i]], salt=b"salt") for i in range(20)])

    assert np.array_equal(together, alone)
