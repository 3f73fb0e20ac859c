"""Where a modality is missing, the members that go astray without it are not listened to; elsewhere nothing changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.contracts import MODALITIES, Modality
from tests.catalogues import everything
from tests.trainings import QUICKEST, silent
from training.calibrate import fit_calibration
from training.catalogues.catalogue import open_catalogue
from training.export import EnsembleModule, run_module
from training.fit import fit_ensemble
from training.fitted import Clock, Fitted
from training.gaps import MAX_FACTOR, N_SAMPLED, Gap, gap_factors, sampled_gaps
from training.manifest import member_cards

N_PRODUCTS, N_CLASSES = 800, 2
CATEGORICAL = MODALITIES.index("categorical")


def said(truth: NDArray[np.int8], strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Logits that tell the truth the better the greater the strength; a negative one tells the opposite."""
    return ((2 * truth - 1) * strength + rng.normal(size=truth.shape)).astype(np.float32)


def test_a_member_that_goes_astray_in_a_gap_is_not_listened_to_there() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (N_PRODUCTS, N_CLASSES)).astype(np.int8)
    ones, present = np.ones(truth.shape, dtype=np.float32), np.ones((N_PRODUCTS, 2), dtype=np.bool_)
    whole = np.stack([said(truth, 3.0, rng), said(truth, 1.0, rng)], axis=1)
    astray = np.stack([said(truth, -1.0, rng), said(truth, 1.0, rng)], axis=1)
    plain = fit_calibration(whole, present, truth, ones)

    rows = np.arange(N_PRODUCTS)
    factors = gap_factors([Gap("categorical", rows, astray, present)], plain, truth, ones)

    knowing = replace(plain, gaps=factors)
    missing = np.zeros((N_PRODUCTS, len(MODALITIES)), dtype=np.bool_)
    missing[:, CATEGORICAL] = True
    right = [((one(astray, present, missing) > 0.5) == truth).mean() for one in (plain, knowing)]
    assert right[0] < 0.5
    assert right[1] > 0.75
    np.testing.assert_allclose(knowing(whole, present, ~missing & False), plain(whole, present), atol=1e-5)
    assert np.all(np.delete(factors, CATEGORICAL, axis=0) == 1)


def test_gaps_are_made_only_where_something_else_is_left() -> None:
    have = np.zeros((6, len(MODALITIES)), dtype=np.bool_)
    have[:4, 0] = True
    have[2:, 1] = True
    asked = {}

    def ask(rows: NDArray[np.int64], modality: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        asked[modality] = sorted(rows.tolist())
        return np.zeros((len(rows), 1, 1), np.float32), np.ones((len(rows), 1), np.bool_)

    gaps = list(sampled_gaps(np.arange(10, 16), have, ask, seed=0))

    assert asked == {"text": [12, 13], "image": [12, 13]}
    assert [gap.modality for gap in gaps] == ["text", "image"]
    assert N_SAMPLED > 0


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    catalogue = open_catalogue(everything(tmp_path_factory.mktemp("shop") / "shop"))
    return fit_ensemble(catalogue, options=QUICKEST, clock=Clock(), progress=silent)


def both(fitted: Fitted, gap: tuple[Modality, ...]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """What the graph answers to products with a gap, and what the calibration makes of the committee's words."""
    cards = member_cards(fitted.data, fitted.committee, fitted.calibration)
    apart = fitted.committee.quick.modules(fitted.data.encoding)
    module = EnsembleModule(apart, fitted.committee.network, cards, fitted.calibration).eval()
    data = fitted.data
    for modality in gap:
        data = data.without(modality)
    expected = fitted.calibration(fitted.committee.logits(data), data.present(fitted.committee.members), ~data.have)
    return run_module(module, data.products)["probabilities"], expected


@pytest.mark.parametrize("gap", [(), ("text",), ("categorical",), ("text", "image")])
def test_the_graph_answers_with_a_gap_as_the_calibration_does(fitted: Fitted, gap: tuple[Modality, ...]) -> None:
    answers, expected = both(fitted, gap)

    assert fitted.calibration.gaps is not None
    assert np.ptp(fitted.calibration.gaps) > 0.1
    np.testing.assert_allclose(answers, expected, atol=1e-4)


@pytest.mark.parametrize("gap", [("text", "categorical"), ("text", "categorical", "numerical")])
def test_members_of_which_no_gap_thinks_much_are_still_heard_when_they_are_all_there_is(
    fitted: Fitted, gap: tuple[Modality, ...]
) -> None:
    factors = np.full((len(MODALITIES), *fitted.calibration.stacking.shape), 1 / MAX_FACTOR)
    forgotten = replace(fitted, calibration=replace(fitted.calibration, gaps=factors))

    answers, expected = both(forgotten, gap)

    np.testing.assert_allclose(answers, expected, atol=1e-4)
