"""What a worker does beside answering, again and again: a step that fails is logged, and the next one is taken.

What a step does is left to whoever follows something.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


async def follow(step: Callable[[], Awaitable[object]], *, every_seconds: float, complaint: str) -> None:
    """Take a step now, and another after each pause, until cancelled.

    Parameters
    ----------
    complaint : what is logged of a step that failed
    """
    while True:
        try:
            await step()
        except Exception:  # one failure may pass, and nobody would notice that a task had ended
            logger.warning(complaint, exc_info=True)
        await asyncio.sleep(every_seconds)
