"""Long work on the event loop, cut into slices: a search does not wait for a hundred documents of somebody else."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

T = TypeVar("T")

SLICE = 8
"""Documents whose vectors are lists of numbers take about 50 us each."""


async def in_slices(items: Sequence[T]) -> AsyncIterator[T]:
    """The items; after every few, whatever else is due gets its turn."""
    for number, item in enumerate(items, 1):
        yield item
        if number % SLICE == 0:
            await asyncio.sleep(0)
