"""How often annotators err, told from their contradictions alone: found for who errs, not invented for who does not."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.quality.annotator_error import Agreement, annotator_errors

NAMES = ("ann", "ben", "cai", "dee", "eve", "fay")


def simulated(errors: dict[str, float], *, n_questions: int, overlap: int, seed: int) -> list[Agreement]:
    """Questions that `overlap` annotators each answer, flipping the truth at their rates."""
    rng = np.random.default_rng(seed)
    names = sorted(errors)
    shared: dict[tuple[str, str], list[bool]] = {pair: [] for pair in combinations(names, 2)}
    for _ in range(n_questions):
        asked = sorted(rng.choice(names, overlap, replace=False).tolist())
        wrong = {name: rng.random() < errors[name] for name in asked}
        for pair in combinations(asked, 2):
            shared[pair].append(wrong[pair[0]] == wrong[pair[1]])
    return [Agreement(*pair, len(same), sum(same)) for pair, same in shared.items() if same]


@pytest.mark.parametrize("seed", range(5))
def test_who_flips_three_answers_in_ten_is_found(seed: int) -> None:
    errors = dict.fromkeys(NAMES, 0.03) | {"dee": 0.3}

    found = annotator_errors(simulated(errors, n_questions=600, overlap=2, seed=seed))

    assert found[0].name == "dee"
    assert found[0].error == pytest.approx(0.3, abs=0.08)
    assert max(one.error for one in found[1:]) < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_found_where_all_are_careful(seed: int) -> None:
    found = annotator_errors(simulated(dict.fromkeys(NAMES, 0.03), n_questions=600, overlap=2, seed=seed))

    assert max(one.error for one in found) < 0.1


def test_of_two_alone_each_bears_half() -> None:
    [first, second] = annotator_errors([Agreement("ann", "ben", 1000, 750)])

    assert first.error == pytest.approx(second.error)
    assert 2 * first.error * (1 - first.error) == pytest.approx(0.25, abs=0.01)


def test_without_shared_answers_nothing_is_said() -> None:
    assert annotator_errors([]) == []


@given(
    st.lists(
        st.tuples(st.sampled_from(list(combinations(NAMES, 2))), st.integers(1, 500), st.floats(0, 1)),
        min_size=1, max_size=15, unique_by=lambda entry: entry[0],
    )
)  # fmt: skip
def test_an_error_is_a_share_that_no_renaming_changes(entries: list[tuple[tuple[str, str], int, float]]) -> None:
    pairs = [Agreement(*names, n, round(share * n)) for names, n, share in entries]
    renamed = [Agreement(pair.second.upper(), pair.first.upper(), pair.n_shared, pair.n_same) for pair in pairs]

    found, again = annotator_errors(pairs), annotator_errors(renamed)

    assert all(0 <= one.error <= 0.5 for one in found)
    errors = {one.name.upper(): one.error for one in found}
    assert {one.name: pytest.approx(one.error, abs=1e-9) for one in again} == errors
