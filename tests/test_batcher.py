"""The batcher: order, size, isolation of failures, and callers that go away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batcher import Batcher
from service.errors import Overloaded

T = TypeVar("T")


@dataclass
class Doubled:
    values: list[int]

    def rows(self, start: int, stop: int) -> Doubled:
        return Doubled(self.values[start:stop])


class Machine:
    """Doubles numbers; the first batch waits until `go`, so that a test decides what queues up behind it."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.batches: list[list[int]] = []

    async def run(self, items: Sequence[int]) -> Doubled:
        await self.go.wait()
        self.batches.append(list(items))
        if any(item < 0 for item in items):
            raise ValueError(f"negative: {min(items)}")
        return Doubled([2 * item for item in items])


def run_with(use: Callable[[Machine, Batcher[int, Doubled]], Awaitable[T]], *, max_batch_size: int = 4) -> T:
    machine = Machine()

    async def main() -> T:
        try:
            return await use(machine, Batcher(machine.run, max_batch_size=max_batch_size))
        finally:
            machine.go.set()

    return asyncio.run(main())


async def queued(batcher: Batcher[int, Doubled], *requests: list[int]) -> list[asyncio.Task[list[Doubled]]]:
    tasks = [asyncio.create_task(batcher.submit(items)) for items in requests]
    await asyncio.sleep(0)  # one turn of the loop, in which every task submits
    return tasks


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=11), min_size=1, max_size=12),
    max_batch_size=st.integers(1, 6),
)
def test_every_request_gets_its_own_answers_in_order_whatever_the_batching(
    requests: list[list[int]], max_batch_size: int
) -> None:
    async def use(machine: Machine, batcher: Batcher[int, Doubled]) -> tuple[list[list[Doubled]], list[list[int]]]:
        tasks = await queued(batcher, *requests)
        machine.go.set()
        return await asyncio.gather(*tasks), machine.batches

    answers, batches = run_with(use, max_batch_size=max_batch_size)

    assert [[v for part in parts for v in part.values] for parts in answers] == [[2 * i for i in r] for r in requests]
    assert all(len(batch) <= max_batch_size for batch in batches)
    assert [item for batch in batches for item in batch] == [item for request in requests for item in request]


def test_what_queues_up_while_a_batch_runs_goes_together_up_to_the_cap() -> None:
    async def use(machine: Machine, batcher: Batcher[int, Doubled]) -> list[list[int]]:
        tasks = await queued(batcher, [1], [2], [3, 4], [5], [6])
        machine.go.set()
        await asyncio.gather(*tasks)
        return machine.batches

    assert run_with(use) == [[1], [2, 3, 4, 5], [6]]


def test_a_failing_request_fails_alone() -> None:
    async def use(machine: Machine, batcher: Batcher[int, Doubled]) -> list[list[Doubled] | BaseException]:
        tasks = await queued(batcher, [1], [2], [-3], [4])
        machine.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = run_with(use)

    assert answers[0] == [Doubled([2])]
    assert answers[1] == [Doubled([4])]
    assert isinstance(answers[2], ValueError)
    assert str(answers[2]) == "negative: -3"
    assert answers[3] == [Doubled([8])]


def test_requests_that_come_after_a_failure_are_answered() -> None:
    async def use(machine: Machine, batcher: Batcher[int, Doubled]) -> list[Doubled]:
        machine.go.set()
        with pytest.raises(ValueError, match="negative"):
            await batcher.submit([-1])
        return await batcher.submit([5])

    assert run_with(use) == [Doubled([10])]


def test_a_caller_that_goes_away_takes_no_room_in_a_batch() -> None:
    async def use(machine: Machine, batcher: Batcher[int, Doubled]) -> tuple[list[list[int]], list[Doubled]]:
        tasks = await queued(batcher, [1], [2, 3, 4], [5, 6])
        tasks[1].cancel()
        await asyncio.sleep(0)
        machine.go.set()
        answer = await tasks[2]
        return machine.batches, answer

    batches, answer = run_with(use)

    assert batches == [[1], [5, 6]]
    assert answer == [Doubled([10, 12])]


def test_a_caller_that_goes_away_while_its_batch_runs_harms_nobody() -> None:
    async def use(machine: Machine, batcher: Batcher[int, Doubled]) -> list[Doubled]:
        tasks = await queued(batcher, [1], [2])
        tasks[0].cancel()
        machine.go.set()
        return await tasks[1]

    assert run_with(use) == [Doubled([4])]


def test_who_has_waited_for_too_long_is_refused_and_costs_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three that wait behind a slow batch, the last comes late enough to be still awaited when it ends."""

    async def main() -> tuple[list[object], list[list[int]]]:
        now = 0.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        machine = Machine()
        batcher = Batcher(machine.run, max_batch_size=4, patience_seconds=10.0)
        running, *late = await queued(batcher, [1], [2], [3, 4])
        now = 5.0
        (in_time,) = await queued(batcher, [5])
        now = 10.5
        machine.go.set()
        answers = await asyncio.gather(running, *late, in_time, return_exceptions=True)
        return [type(answer) if isinstance(answer, Exception) else answer for answer in answers], machine.batches

    answers, batches = asyncio.run(main())

    assert answers == [[Doubled([2])], Overloaded, Overloaded, [Doubled([10])]]
    assert batches == [[1], [5]]


def crowd(*, quiet_turns: int) -> list[list[int]]:
    """The batches of a crowd whose members come one a turn of the event loop."""

    async def main() -> list[list[int]]:
        machine = Machine()
        machine.go.set()
        batcher = Batcher(machine.run, max_batch_size=4, quiet_turns=quiet_turns)
        tasks = []
        for number in range(3):
            tasks.append(asyncio.create_task(batcher.submit([number])))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return machine.batches

    return asyncio.run(main())


def test_who_comes_while_others_still_come_goes_with_them() -> None:
    assert crowd(quiet_turns=2) == [[0, 1, 2]]
    assert crowd(quiet_turns=0)[0] == [0]


def test_a_full_batch_does_not_wait_for_quiet() -> None:
    async def main() -> list[list[int]]:
        machine = Machine()
        machine.go.set()
        batcher = Batcher(machine.run, max_batch_size=4, quiet_turns=1_000_000)
        await asyncio.wait_for(batcher.submit([1, 2, 3, 4]), timeout=10)
        return machine.batches

    assert asyncio.run(main()) == [[1, 2, 3, 4]]


def test_beside_a_batch_that_runs_only_full_ones_start_up_to_as_many_as_may_run() -> None:
    async def main() -> tuple[list[list[int]], list[list[int]]]:
        machine = Machine()
        started: list[list[int]] = []

        async def run(items: Sequence[int]) -> Doubled:
            started.append(list(items))
            return await machine.run(items)

        batcher = Batcher(run, max_batch_size=2, n_running=2)
        tasks = []
        for request in ([1], [2], [3, 4], [5, 6]):
            tasks += await queued(batcher, request)
            await asyncio.sleep(0)
        meanwhile = list(started)
        machine.go.set()
        await asyncio.gather(*tasks)
        return meanwhile, started

    meanwhile, started = asyncio.run(main())

    assert meanwhile == [[1], [2]]  # the third had to wait for room: 2 was taken because, with 3 and 4, it was enough
    assert started == [[1], [2], [3, 4], [5, 6]]


@settings(max_examples=30, deadline=None)
@given(requests=st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=11), min_size=1, max_size=12))
def test_waiting_for_quiet_loses_and_mixes_nothing(requests: list[list[int]]) -> None:
    async def main() -> list[list[Doubled]]:
        machine = Machine()
        machine.go.set()
        batcher = Batcher(machine.run, max_batch_size=4, quiet_turns=2)
        return await asyncio.gather(*(batcher.submit(items) for items in requests))

    answers = asyncio.run(main())

    assert [[v for part in parts for v in part.values] for parts in answers] == [[2 * i for i in r] for r in requests]


def test_a_batcher_is_idle_until_something_comes_and_after_it_was_answered() -> None:
    async def use(machine: Machine, batcher: Batcher[int, Doubled]) -> list[bool]:
        idle = [batcher.is_idle]
        (task,) = await queued(batcher, [1])
        idle.append(batcher.is_idle)
        machine.go.set()
        await task
        return [*idle, batcher.is_idle]

    assert run_with(use) == [True, False, True]
