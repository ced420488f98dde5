"""Waits for a condition with a deadline."""

import asyncio
import time
from collections.abc import Callable

DEADLINE_SECONDS = 20.0


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition never became true"
        await asyncio.sleep(0.001)
