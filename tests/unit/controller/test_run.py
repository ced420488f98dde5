"""How the process ends: what leads ends first, and gives its Lease back, before anything is torn down."""

import asyncio

import pytest

from embedding_operator.run import _until_first_ends


class Ending:
    """What watches and what leads, each with a beginning and an end that are noted."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.stopping = asyncio.Event()
        self.signal = asyncio.Event()
        self.released = asyncio.Event()

    async def watch(self) -> None:
        try:
            await self.signal.wait()
            self.stopping.set()
            await self.released.wait()
        except asyncio.CancelledError:
            self.told.append("watch cancelled")
            raise
        self.told.append("watch ended")

    async def lead(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)  # a second cancellation would be felt here
            self.told.append("released")
            self.released.set()

    async def leave(self) -> None:
        self.told.append("left")

    async def lose(self) -> None:
        self.told.append("lost")


async def test_asked_to_stop_it_ends_its_switches_and_gives_the_lease_back_before_the_watches_end() -> None:
    ending = Ending()
    asyncio.get_running_loop().call_later(0.05, ending.signal.set)
    code = await asyncio.wait_for(_until_first_ends(ending.watch(), ending.lead(), ending.stopping, ending.leave), 10)
    assert code == 0
    assert ending.told == ["left", "released", "watch ended"]


async def test_a_lost_lease_ends_the_watches() -> None:
    ending = Ending()
    code = await asyncio.wait_for(_until_first_ends(ending.watch(), ending.lose(), ending.stopping, ending.leave), 10)
    assert code == 1
    assert ending.told == ["lost", "watch cancelled"]


async def test_watches_that_fail_end_the_leadership_and_say_why() -> None:
    ending = Ending()

    async def fail() -> None:
        await asyncio.sleep(0.05)
        raise RuntimeError("no watch")

    with pytest.raises(RuntimeError, match="no watch"):
        await asyncio.wait_for(_until_first_ends(fail(), ending.lead(), ending.stopping, ending.leave), 10)
    assert ending.told == ["released"]
