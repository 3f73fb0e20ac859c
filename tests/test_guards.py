"""Guards: bodies within size, time and memory before a slot is taken; then a bounded line, or a quick refusal."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.bodies import LISTENED_BODIES, BodyReader, TimeLimit
from service.api.guards import REASON_OF, REASONS, Admission, Guards
from service.errors import TurnedAway
from tests.asgi import Exchange, answer_ok, body, scope
from tests.guarded import Harness, settle

BRIEF = 0.01  # seconds: how long a test that is about a deadline waits for it


def test_a_body_in_pieces_reaches_the_application_whole() -> None:
    async def scenario() -> Exchange:
        harness = Harness()
        harness.released.set()
        return await harness.post(body([b"ab", b"", b"cd"]))

    exchange = asyncio.run(scenario())

    assert (exchange.status, exchange.sent[1]["body"]) == (200, b"abcd")


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_a_body_passes_unchanged_or_is_too_large(chunks: list[bytes]) -> None:
    async def scenario() -> Exchange:
        harness = Harness()
        harness.released.set()
        exchange = await harness.post(body(chunks))
        assert harness.bodies.n_held_bytes == 0
        return exchange

    exchange = asyncio.run(scenario())

    whole = b"".join(chunks)
    expected = (200, whole) if len(whole) <= 100 else (413, exchange.sent[1]["body"])
    assert (exchange.status, exchange.sent[1]["body"]) == expected


@pytest.mark.parametrize("declared", ["101", "100000000", "9" * 5000, "-1", "1e3", "０"])
def test_a_body_declared_too_large_is_refused_before_it_is_read(declared: str) -> None:
    async def scenario() -> tuple[Exchange, list[str]]:
        harness = Harness()
        exchange = await harness.post(body([bytes(50)] * 4), content_length=declared)
        return exchange, harness.reasons

    exchange, reasons = asyncio.run(scenario())

    assert (exchange.status, reasons) == (413, ["body_too_large"])
    assert exchange.problem["detail"] == "a request may have at most 100 bytes; send fewer products at a time"
    assert exchange.headers["connection"] == "close"  # or the server would read the rest


def test_a_refused_sender_is_answered_whole_then_listened_to_and_its_body_is_kept_nowhere() -> None:
    async def scenario() -> tuple[Exchange, int, list[int]]:
        harness = Harness()
        exchange = Exchange(body([bytes(50)] * 20))
        seen: list[int] = []

        async def receive() -> Any:
            seen.append(sum(len(message.get("body", b"")) for message in exchange.sent))
            return await exchange.receive()

        request = scope("POST", "/classify", headers={"content-length": "1000"})
        await harness.guards(request, receive, exchange.send)
        return exchange, harness.bodies.n_held_bytes, seen

    exchange, n_held_bytes, seen = asyncio.run(scenario())

    assert set(seen) == {int(exchange.headers["content-length"])}  # all of the answer, before any of the body
    assert exchange.messages == []  # to the end of the body
    assert n_held_bytes == 0
    assert [message.get("more_body", False) for message in exchange.sent[1:]] == [True, False]


def test_a_refused_sender_is_cut_off_after_sixteen_bodies_or_the_time_of_one() -> None:
    async def scenario() -> tuple[Exchange, Exchange]:
        endless = await Harness().post(body([bytes(50)] * 100), content_length="1000")
        stalled = await Harness(read_seconds=BRIEF).post([], content_length="1000")
        return endless, stalled

    endless, stalled = asyncio.run(scenario())

    assert len(endless.messages) == 101 - LISTENED_BODIES * 100 // 50
    assert (stalled.status, len(stalled.sent)) == (413, 3)


def test_a_body_that_stalls_is_refused_and_has_held_no_slot() -> None:
    async def scenario() -> tuple[list[Exchange], list[int | None], list[str]]:
        harness = Harness(n_running=1, n_waiting=0, read_seconds=BRIEF)
        stalled = [asyncio.create_task(harness.post(body([b"{"], complete=False))) for _ in range(50)]
        await settle()
        harness.released.set()
        good = [await harness.post(body([b"{}"])) for _ in range(20)]
        return await asyncio.gather(*stalled), [exchange.status for exchange in good], harness.reasons

    stalled, good, reasons = asyncio.run(scenario())

    assert good == [200] * 20
    assert {exchange.status for exchange in stalled} == {408}
    assert reasons == ["body_timed_out"] * 50


def test_a_client_that_hangs_up_is_counted_and_not_answered() -> None:
    async def scenario() -> tuple[Exchange, list[str], int]:
        harness = Harness()
        exchange = await harness.post([*body([b"{"], complete=False), {"type": "http.disconnect"}])
        return exchange, harness.reasons, harness.bodies.n_held_bytes

    exchange, reasons, n_held_bytes = asyncio.run(scenario())

    assert (exchange.sent, reasons, n_held_bytes) == ([], ["hung_up"], 0)


def test_bodies_of_all_requests_together_have_a_cap() -> None:
    async def scenario() -> tuple[Exchange, Exchange, int]:
        harness = Harness(max_total_bytes=150)
        dawdler = asyncio.create_task(harness.post(body([b"x" * 100], complete=False)))
        await settle()
        refused = await harness.post(body([b"y" * 60]), path="/label-queue/labels")
        small = await harness.post(body([b"z" * 50]), path="/label-queue/labels")
        dawdler.cancel()
        await settle()
        return refused, small, harness.bodies.n_held_bytes

    refused, small, n_held_bytes = asyncio.run(scenario())

    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert (small.status, n_held_bytes) == (200, 0)


def test_a_full_line_is_refused_at_once_and_those_in_it_are_served() -> None:
    async def scenario() -> tuple[list[int | None], Exchange, list[str], tuple[int, int]]:
        harness = Harness(n_running=2, n_waiting=3)
        admitted = harness.start(5)
        await settle()
        standing = (harness.admission.n_running, harness.admission.n_waiting)
        refused = await harness.post([])  # its body never comes, and nobody waits for it
        harness.released.set()
        answers = await asyncio.gather(*admitted)
        return [answer.status for answer in answers], refused, harness.reasons, standing

    answers, refused, reasons, standing = asyncio.run(scenario())

    assert standing == (2, 3)
    assert (refused.status, refused.headers["retry-after"], reasons) == (429, "1", ["line_full"])
    assert answers == [200] * 5


def test_who_waits_too_long_gets_a_503_and_its_place_is_free_again() -> None:
    async def scenario() -> tuple[Exchange, int, int]:
        harness = Harness(n_running=1, n_waiting=1, wait_seconds=BRIEF)
        [running] = harness.start(1)
        await settle()
        late = await harness.post(body([b"{}"]))
        n_waiting = harness.admission.n_waiting
        harness.released.set()
        await running
        return late, n_waiting, harness.admission.n_running

    late, n_waiting, n_running = asyncio.run(scenario())

    assert (late.status, late.headers["retry-after"]) == (503, "1")
    assert (n_waiting, n_running) == (0, 0)


def test_a_slot_that_comes_in_the_moment_of_giving_up_goes_to_the_next_in_line() -> None:
    async def scenario() -> tuple[bool, int, int]:
        admission = Admission(n_running=1, n_waiting=2, wait_seconds=60)
        await admission.enter()
        first, second = (asyncio.create_task(admission.enter()) for _ in range(2))
        await asyncio.sleep(0)
        admission.leave()  # the slot is the first one's, who goes before it has heard of it
        first.cancel()
        await asyncio.wait([first, second])
        return first.cancelled(), admission.n_running, admission.n_waiting

    assert asyncio.run(scenario()) == (True, 1, 0)


def test_a_time_limit_ends_what_takes_too_long_and_leaves_a_cancellation_what_it_is() -> None:
    async def stall(seconds: float) -> None:
        with TimeLimit(seconds):
            await asyncio.Event().wait()

    async def cancelled() -> bool:
        task = asyncio.create_task(stall(60))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    async def goes_on_afterwards() -> int:
        with pytest.raises(TimeoutError):
            await stall(BRIEF)
        await asyncio.sleep(0)
        task = asyncio.current_task()
        return task.cancelling() if task else -1

    assert asyncio.run(cancelled())
    assert asyncio.run(goes_on_afterwards()) == 0


def test_probes_and_metrics_answer_while_every_slot_is_taken() -> None:
    async def scenario() -> int | None:
        harness = Harness(n_running=1, n_waiting=0)
        harness.start(1)
        await settle()
        exchange = Exchange([{"type": "http.request", "body": b""}])
        await harness.guards(scope("GET", "/readyz"), exchange.receive, exchange.send)
        harness.released.set()
        await settle()
        return exchange.status

    assert asyncio.run(scenario()) == 200


def test_a_failing_application_gives_its_slot_and_its_bytes_back() -> None:
    async def scenario() -> tuple[int, int]:
        async def fail(*_: Any) -> None:
            raise LookupError

        bodies = BodyReader(max_body_bytes=100, max_total_bytes=1000, read_seconds=60)
        admission = Admission(n_running=1, n_waiting=0, wait_seconds=60)
        guards = Guards(fail, bodies=bodies, admission=admission, needs_slot=lambda *_: True, on_refusal=print)
        for _ in range(3):
            exchange = Exchange(body([b"{}"]))
            with pytest.raises(LookupError):
                await guards(scope("POST", "/classify"), exchange.receive, exchange.send)
        return bodies.n_held_bytes, admission.n_running

    assert asyncio.run(scenario()) == (0, 0)


def test_a_body_without_room_is_read_to_its_end_and_told_to_come_again() -> None:
    async def scenario() -> tuple[Exchange, int, list[Any], list[str]]:
        harness = Harness(max_total_bytes=50)
        first = harness.start(1)
        [held] = [asyncio.create_task(harness.post(body([bytes(40)])))]
        await settle()
        late = body([bytes(30), bytes(30), bytes(30)])
        exchange = await harness.post(late)
        n_held = harness.bodies.n_held_bytes
        harness.released.set()
        await asyncio.gather(*first, held)
        return exchange, n_held, late, harness.reasons

    exchange, n_held, late, reasons = asyncio.run(scenario())

    assert (exchange.status, exchange.headers["retry-after"]) == (503, "1")
    assert (n_held, late, reasons) == (42, [], ["no_room"])


def n_rounds_for_400_answers(n_clients: int) -> int:
    """How often the event loop goes round until that many clients, who come again at once, have had 400 answers."""

    async def scenario() -> int:
        harness = Harness(n_running=4, n_waiting=4)
        n_answered = n_rounds = 0

        async def work(request: Any, receive: Any, send: Any) -> None:
            await settle()
            await answer_ok(request, receive, send)

        async def client() -> None:
            nonlocal n_answered
            while n_answered < 400:
                exchange = await harness.post(body([b"{}"]))
                n_answered += exchange.status == 200
                await asyncio.sleep(0)

        harness.guards._app = work
        clients = asyncio.gather(*(client() for _ in range(n_clients)))
        while not clients.done():
            n_rounds += 1
            await asyncio.sleep(0)
        return n_rounds

    return asyncio.run(scenario())


def test_four_times_the_load_gets_as_many_answers_as_capacity() -> None:
    at_capacity, overloaded = n_rounds_for_400_answers(8), n_rounds_for_400_answers(32)

    assert overloaded <= at_capacity / 0.9


def test_every_refusal_has_a_reason_of_its_own() -> None:
    assert set(REASONS) == {*REASON_OF.values(), "hung_up"}
    assert all(issubclass(kind, TurnedAway) and kind.status >= 400 for kind in REASON_OF)
