"""Drift: the stability index as a formula, and what the watch makes of traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from service.bundles.bundle import Histogram, Manifest, Reference
from service.contracts import CategoricalField
from service.taxonomy import Taxonomy
from service.telemetry.drift import N_ENOUGH, N_REMEMBERED, DriftWatch, stability_index, stability_indices
from service.telemetry.metrics import Metrics
from service.telemetry.traffic import (
    BIT_BOUNDS,
    COUNTED_BATCHES,
    COUNTED_TOGETHER,
    PROBABILITY_BOUNDS,
    Seen,
    TrafficWatch,
    bounds,
)
from tests.tiny_bundle import CLASSES, FIELDS, MEMBERS, tiny_manifest
from training.catalogues.catalogue import Catalogue
from training.catalogues.catalogue_file import ThresholdSettings
from training.reference import learn_reference

EDGES = (0.1, 0.2, 0.5, 0.8)
REFERENCE = Reference(
    n_products=1000,
    classes={name: Histogram(edges=EDGES, counts=(600, 200, 100, 60, 40)) for name in CLASSES},
    numerical={"price": Histogram(edges=(10.0, 100.0), counts=(300, 600, 100))},
    categorical={"brand": {"Acme": 500, "Nord": 300}},
    missing={"title": 0.01, "image": 0.5},
)
SEVERAL = FIELDS.model_copy(update={"categorical": (CategoricalField(column="brand", separator=","),)})
counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=12)


@given(counts)
def test_a_histogram_has_no_distance_from_itself(histogram: list[int]) -> None:
    assert stability_index(histogram, histogram) == 0


@given(st.integers(2, 12).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 9999), min_size=n, max_size=n)] * 2)))
def test_the_index_is_symmetric_and_never_negative(pair: tuple[list[int], list[int]]) -> None:
    expected, actual = pair

    assert stability_index(expected, actual) == pytest.approx(stability_index(actual, expected))
    assert stability_index(expected, actual) >= 0


@given(st.lists(counts, min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_indices_found_together_are_those_found_one_by_one(histograms: list[list[int]], seed: int) -> None:
    others = [np.random.default_rng(seed).integers(0, 9999, len(histogram)) for histogram in histograms]
    starts = np.cumsum([0, *map(len, histograms)])[:-1].tolist()

    together = stability_indices(np.concatenate(histograms), np.concatenate(others), starts)

    one_by_one = [stability_index(expected, actual) for expected, actual in zip(histograms, others, strict=True)]
    assert together == pytest.approx(one_by_one)


def test_the_index_of_large_counts_is_the_textbooks_sum() -> None:
    expected, actual = np.asarray([5e8, 5e8]), np.asarray([8e8, 2e8])

    # by hand: (.8-.5) ln(.8/.5) + (.2-.5) ln(.2/.5) = .3 × .4700 + .3 × .9163
    assert stability_index(expected, actual) == pytest.approx(0.41589, abs=1e-4)


def drawn(rng: np.random.Generator, n_products: int, shares: list[float]) -> NDArray[np.float32]:
    middles = np.asarray([0.05, 0.15, 0.35, 0.65, 0.9], dtype=np.float32)
    return rng.choice(middles, size=(n_products, len(CLASSES)), p=shares).astype(np.float32)


def record(price: float, brand: str, *, title: str | None = "boots", image: str | None = None) -> dict[str, Any]:
    return {"product_id": "p", "price": price, "brand": brand, "title": title, "image": image}


def like_the_reference(n_products: int) -> list[dict[str, Any]]:
    prices = [5.0] * 3 + [50.0] * 6 + [500.0]
    brands = ["Acme"] * 5 + ["Nord"] * 3 + ["Else"] * 2
    return [
        record(
            prices[index % 10], brands[index % 10], image="x" if index % 2 else None, title="a" if index % 100 else None
        )
        for index in range(n_products)
    ]


def watch() -> DriftWatch:
    return DriftWatch(REFERENCE, fields=FIELDS, classes=CLASSES)


def test_traffic_like_the_reference_does_not_drift() -> None:
    drift = watch()

    drift.take(drawn(np.random.default_rng(1), 1000, [0.6, 0.2, 0.1, 0.06, 0.04]), like_the_reference(1000))

    indices = drift.indices()
    assert len(indices) == len(CLASSES) + 4
    assert max(indices.values()) < 0.05


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({"price": 500.0}, ("field", "price")),
        ({"brand": "Newcomer"}, ("field", "brand")),
        ({"title": None}, ("missing", "title")),
        ({"image": "x"}, ("missing", "image")),
    ],
)
def test_a_field_that_changes_is_the_one_that_drifts(changes: dict[str, Any], moved: tuple[str, str]) -> None:
    drift = watch()

    drift.take(
        drawn(np.random.default_rng(1), 1000, [0.6, 0.2, 0.1, 0.06, 0.04]),
        [posted | changes for posted in like_the_reference(1000)],
    )

    assert [key for key, index in drift.indices().items() if index > 0.25] == [moved]


def zeros_blanks_and_many_tags(n_products: int, *, seed: int) -> list[dict[str, Any]]:
    """Products half of which name no brand, with a few of two hundred tags each, most of them without images."""
    rng = np.random.default_rng(seed)
    often = np.where(np.arange(200) < 50, 4.0, 1.0)
    return [
        {
            "product_id": str(index),
            "title": "boots",
            "brand": ["Acme", "Nord", " ", None][rng.integers(4)],
            "merchant_category": ",".join(f"tag {tag}" for tag in rng.choice(200, 4, p=often / often.sum())),
            "price": 50.0,
            "n_images": float(rng.choice([0, 3], p=[0.9, 0.1])),
        }
        for index in range(n_products)
    ]


@pytest.mark.parametrize("knows_others", [True, False])
def test_what_a_reference_was_learned_from_does_not_drift_from_it(knows_others: bool) -> None:
    """A cell of blanks is missing, a price of 0 is not, and a product may have many values."""
    catalogue = Catalogue("shop", Path(), FIELDS, Taxonomy(classes=CLASSES), {}, ThresholdSettings())
    products = [FIELDS.product(posted) for posted in zeros_blanks_and_many_tags(4000, seed=1)]
    said = drawn(np.random.default_rng(1), 4000, [0.6, 0.2, 0.1, 0.06, 0.04])
    reference = learn_reference(catalogue, products, np.zeros(4000, dtype=np.bool_), said.astype(np.float64))
    if not knows_others:
        reference = reference.model_copy(update={"others": {}})
    drift = DriftWatch(reference, fields=FIELDS, classes=CLASSES)

    drift.take(said, zeros_blanks_and_many_tags(4000, seed=2))

    drifted = {name for (_, name), index in drift.indices().items() if index > 0.05}
    assert drifted <= (set() if knows_others else {"merchant_category"})  # of which an older bundle says too little


def test_values_of_one_cell_count_alike_as_a_list_and_as_a_text() -> None:
    as_lists, as_texts = (DriftWatch(REFERENCE, fields=SEVERAL, classes=CLASSES) for _ in range(2))
    none = np.zeros((N_ENOUGH, len(CLASSES)))

    as_lists.take(none, [{"brand": ["Acme", "Nord", "Else"]}] * N_ENOUGH)
    as_texts.take(none, [{"brand": "Acme, Nord,Else"}] * N_ENOUGH)

    found = as_lists.indices()["field", "brand"]
    assert found == as_texts.indices()["field", "brand"]
    assert found == pytest.approx(stability_index([500, 300, 200], [N_ENOUGH] * 3))


def test_classes_drift_when_their_probabilities_do() -> None:
    drift = watch()

    drift.take(drawn(np.random.default_rng(1), 1000, [0.04, 0.06, 0.1, 0.2, 0.6]), [])

    assert {key for key, index in drift.indices().items() if index > 0.25} == {("class", name) for name in CLASSES}


def test_too_little_traffic_says_nothing() -> None:
    drift = watch()

    drift.take(drawn(np.random.default_rng(1), N_ENOUGH - 1, [0.2] * 5), [])

    assert drift.indices() == {}


def test_the_past_fades() -> None:
    drift = watch()
    rng = np.random.default_rng(1)
    drift.take(drawn(rng, 2 * N_REMEMBERED, [0.04, 0.06, 0.1, 0.2, 0.6]), [])

    for _ in range(100):
        drift.take(drawn(rng, 2000, [0.6, 0.2, 0.1, 0.06, 0.04]), [])

    assert max(drift.indices().values()) < 0.1


def seen(probabilities: NDArray[np.float32]) -> Seen:
    n_products = len(probabilities)
    return Seen(
        probabilities=probabilities,
        positive=probabilities >= 0.5,
        uncertainty=np.full(n_products, 0.25),
        disagreement=np.full(n_products, 1.0),
        present=np.ones((n_products, len(MEMBERS)), dtype=np.bool_),
        records=[],
    )


def traffic() -> tuple[TrafficWatch, CollectorRegistry]:
    registry = CollectorRegistry()
    manifest = Manifest.model_validate({**tiny_manifest("tiny-1"), "files": {}})
    return TrafficWatch(manifest, Metrics(registry).traffic), registry


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50))
def test_bins_hold_what_lies_at_or_below_their_bound(values: list[float]) -> None:
    watch, registry = traffic()

    watch.take(seen(np.asarray([values] * len(CLASSES), dtype=np.float32).T))
    watch.publish()

    for bound, label in zip((*PROBABILITY_BOUNDS, np.inf), bounds(PROBABILITY_BOUNDS), strict=True):
        counted = registry.get_sample_value("winnow_probabilities_total", {"class": "black", "le": label})
        assert counted == sum(np.float32(value) <= np.float32(bound) for value in values)


def test_every_product_is_counted_once_however_often_it_is_published() -> None:
    watch, registry = traffic()

    for _ in range(3):
        watch.take(seen(np.full((7, len(CLASSES)), 0.75, dtype=np.float32)))
        watch.publish()
        watch.publish()

    assert registry.get_sample_value("winnow_positives_total", {"class": "sale"}) == 21
    assert registry.get_sample_value("winnow_uncertainty_total", {"le": "0.2"}) == 0
    assert registry.get_sample_value("winnow_uncertainty_total", {"le": "0.3"}) == 21
    assert registry.get_sample_value("winnow_disagreement_total", {"le": bounds(BIT_BOUNDS)[-1]}) == 21


@given(st.lists(st.integers(1, 2 * COUNTED_TOGETHER), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_products_are_counted_once_however_they_come(sizes: list[int], seed: int) -> None:
    watch, registry = traffic()
    rng = np.random.default_rng(seed)
    batches = [
        rng.choice(np.asarray([0.0, 0.05, 0.3, 0.31, 1.0], dtype=np.float32), size=(size, len(CLASSES)))
        for size in sizes
    ]

    for batch in batches:
        watch.take(seen(batch))
    watch.publish()

    for index, name in enumerate(CLASSES):
        column = np.concatenate([batch[:, index] for batch in batches])
        for upper, bound in zip(
            (*map(np.float32, PROBABILITY_BOUNDS), np.inf), bounds(PROBABILITY_BOUNDS), strict=True
        ):
            found = registry.get_sample_value("winnow_probabilities_total", {"class": name, "le": bound})
            assert found == np.count_nonzero(column <= upper)


@pytest.mark.parametrize(("n_products", "n_together"), [(1, COUNTED_BATCHES), (COUNTED_TOGETHER // 4, 4)])
def test_batches_are_let_go_of_once_they_are_many_or_many_products(n_products: int, n_together: int) -> None:
    watch, _ = traffic()
    taken = []

    for _ in range(n_together + 3):
        batch = np.full((n_products, len(CLASSES)), 0.75, dtype=np.float32)
        taken.append(ref(batch))
        watch.take(seen(batch))
    del batch

    assert [one() is None for one in taken] == [True] * n_together + [False] * 3


@pytest.mark.parametrize("is_served", [True, False])
def test_traffic_of_any_bundle_is_counted_and_only_of_the_one_that_is_served_told_as_drift(is_served: bool) -> None:
    registry = CollectorRegistry()
    manifest = Manifest.model_validate({**tiny_manifest("tiny-1"), "files": {}, "reference": REFERENCE})
    watch = TrafficWatch(manifest, Metrics(registry).traffic)

    watch.take(seen(np.full((N_ENOUGH, len(CLASSES)), 0.75, dtype=np.float32)))
    watch.publish(tells_drift=is_served)

    drift = registry.get_sample_value("winnow_drift_index", {"kind": "class", "name": "black"})
    assert registry.get_sample_value("winnow_positives_total", {"class": "black"}) == N_ENOUGH
    assert (drift is not None) == is_served


def traffic_of_classes(n_classes: int) -> tuple[TrafficWatch, CollectorRegistry]:
    """Traffic of a bundle that has seen as many products in each tenth of the probabilities."""
    registry = CollectorRegistry()
    names = [f"class-{index}" for index in range(n_classes)]
    per_class = {"thresholds": [0.5] * n_classes, "priors": [0.1] * n_classes, "trainable": [True] * n_classes}
    members = [{**member, "weights": [0.25] * n_classes} for member in MEMBERS]
    histogram = Histogram(edges=tuple(step / 10 for step in range(1, 10)), counts=(100,) * 10)
    reference = Reference(n_products=1000, classes=dict.fromkeys(names, histogram))
    manifest = Manifest.model_validate(
        {
            **tiny_manifest("tiny-1"),
            "files": {},
            "taxonomy": {"classes": names},
            "members": members,
            "reference": reference,
            **per_class,
        }
    )
    return TrafficWatch(manifest, Metrics(registry).traffic), registry


def names_of(registry: CollectorRegistry, metric: str, label: str) -> set[str]:
    return {sample.labels[label] for family in registry.collect() for sample in family.samples if sample.name == metric}


@pytest.mark.parametrize("n_classes", [100, 101])
def test_classes_share_their_series_from_the_hundred_and_first_on(n_classes: int) -> None:
    watch, registry = traffic_of_classes(n_classes)
    probabilities = np.tile(np.linspace(0.05, 0.95, 10, dtype=np.float32), 60)[:, np.newaxis].repeat(n_classes, axis=1)
    probabilities[:, 7] = 0.75  # the only class that drifts

    watch.take(seen(probabilities))
    watch.publish()

    names = {"all"} if n_classes > 100 else {f"class-{index}" for index in range(n_classes)}
    drifting = "all" if n_classes > 100 else "class-7"
    assert names_of(registry, "winnow_positives_total", "class") == names
    assert names_of(registry, "winnow_drift_index", "name") == names
    index = registry.get_sample_value("winnow_drift_index", {"kind": "class", "name": drifting})
    assert index is not None
    assert index > 1
    n_positive = sum(registry.get_sample_value("winnow_positives_total", {"class": name}) or 0 for name in names)
    assert n_positive == 300 * (n_classes - 1) + 600
