"""Rebuilds have their turn, and an operator that is told to go ends the switches that it is in the middle of."""

import asyncio
import time

from embedding_operator.lanes import Key
from embedding_operator.slots import RebuildSlots


def key(name: str) -> Key:
    return Key("VectorIndex", "t", name)


def test_as_many_as_are_allowed() -> None:
    slots = RebuildSlots(2)
    assert slots.take(key("a"))
    assert slots.take(key("b"))
    assert not slots.take(key("c"))
    assert slots.take(key("a")), "it has one"
    slots.note(key("b"), rebuilding=False)
    assert slots.take(key("c"))


def test_without_a_limit_nobody_waits() -> None:
    slots = RebuildSlots()
    assert all(slots.take(key(str(number))) for number in range(100))


async def test_leaving_waits_for_a_switch() -> None:
    slots = RebuildSlots()
    slots.note(key("a"), rebuilding=True, switching=True)
    leaving = asyncio.create_task(slots.leave(30))
    await asyncio.sleep(0.01)
    assert slots.leaving
    assert not leaving.done()
    slots.note(key("a"), rebuilding=True)
    await asyncio.wait_for(leaving, 10)


async def test_leaving_does_not_wait_for_ever() -> None:
    slots = RebuildSlots()
    slots.note(key("a"), rebuilding=True, switching=True)
    begun = time.monotonic()
    await asyncio.wait_for(slots.leave(0.1), 10)
    assert time.monotonic() - begun >= 0.1
