"""What goes on beside answering goes on whatever happens."""

from __future__ import annotations

import asyncio
import logging

import pytest

from service.following import follow


def test_a_step_that_fails_is_logged_and_the_next_one_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    n_steps = 0

    async def step() -> None:
        nonlocal n_steps
        n_steps += 1
        if n_steps == 3:
            raise asyncio.CancelledError
        raise ZeroDivisionError("a product's text")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(follow(step, every_seconds=0.0, complaint="nothing was done"))

    said = [(record.levelno, record.message, record.exc_info and record.exc_info[0]) for record in caplog.records]
    assert said == [(logging.WARNING, "nothing was done", ZeroDivisionError)] * 2
