"""Numbers written together are the numbers written one by one."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.telemetry.registry import SECONDS
from service.telemetry.tally import DELAY_SECONDS, Tally, observe_all


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


def test_what_is_counted_in_one_moment_is_written_together_before_long() -> None:
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
        async with asyncio.timeout(20):
            while numbers() == before:
                await asyncio.sleep(DELAY_SECONDS)
        return [before, numbers()]

    assert asyncio.run(scenario()) == [[0, 0, 0], [2, 1, 2]]


def test_without_an_event_loop_a_number_is_written_at_once() -> None:
    registry = CollectorRegistry()
    tally = Tally()

    tally.count(Counter("answers", "…", registry=registry), 3)

    assert registry.get_sample_value("answers_total") == 3


def test_what_waits_is_written_when_it_is_asked_for() -> None:
    registry = CollectorRegistry()
    counter = Counter("answers", "…", registry=registry)

    async def scenario() -> float | None:
        tally = Tally()
        tally.count(counter)
        tally.write()
        return registry.get_sample_value("answers_total")

    assert asyncio.run(scenario()) == 1


def test_nothing_is_lost_of_what_several_threads_count() -> None:
    registry = CollectorRegistry()
    counter = Counter("answers", "…", registry=registry)
    histogram = Histogram("seconds", "…", buckets=SECONDS, registry=registry)

    async def scenario() -> None:
        tally = Tally()

        def count() -> None:
            for _ in range(2_000):
                tally.count(counter)
                tally.observe(histogram, 0.1)

        await asyncio.gather(
            *(asyncio.to_thread(count) for _ in range(4)), *(asyncio.to_thread(tally.write) for _ in range(50))
        )
        tally.write()

    asyncio.run(scenario())

    assert [registry.get_sample_value(name) for name in ("answers_total", "seconds_count")] == [8_000, 8_000]
