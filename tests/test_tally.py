"""Numbers written together are the numbers written one by one."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.telemetry.registry import SECONDS
from service.telemetry.tally import Tally, observe_all


def samples(histogram: Histogram) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels.get("le", "")): sample.value
        for family in histogram.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@given(st.lists(st.sampled_from(SECONDS) | st.floats(0, 20), max_size=30))
def test_values_observed_together_are_as_if_observed_one_by_one(values: list[float]) -> None:
    """Fails when prometheus_client changes how it keeps a histogram, on which `observe_all` rests."""
    together, apart = (Histogram("seconds", "…", buckets=SECONDS, registry=CollectorRegistry()) for _ in range(2))

    observe_all(together, values)

    for value in values:
        apart.observe(value)
    totals = {key: value for key, value in samples(apart).items() if key[0] != "seconds_sum"}
    assert {key: value for key, value in samples(together).items() if key[0] != "seconds_sum"} == totals
    assert abs(samples(together)["seconds_sum", ""] - sum(values)) < 1e-9


def test_what_one_turn_of_the_loop_counts_is_written_at_its_end() -> None:
    registry = CollectorRegistry()
    counter, gauge = Counter("answers", "…", registry=registry), Gauge("in_flight", "…", registry=registry)
    histogram = Histogram("seconds", "…", buckets=SECONDS, registry=registry)
    tally = Tally()

    def numbers() -> list[float | None]:
        return [registry.get_sample_value(name) for name in ("answers_total", "in_flight", "seconds_count")]

    async def scenario() -> list[list[float | None]]:
        for seconds in (0.1, 0.2):
            tally.count(counter)
            tally.count(gauge, +1)
            tally.observe(histogram, seconds)
        tally.count(gauge, -1)
        before = numbers()
        await asyncio.sleep(0)
        return [before, numbers()]

    assert asyncio.run(scenario()) == [[0, 0, 0], [2, 1, 2]]


def test_without_an_event_loop_a_number_is_written_at_once() -> None:
    registry = CollectorRegistry()
    tally = Tally()

    tally.count(Counter("answers", "…", registry=registry), 3)

    assert registry.get_sample_value("answers_total") == 3
