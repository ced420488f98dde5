"""How many rebuilds run at the same time, and which are in the middle of a switch."""

import asyncio
import contextlib

from .lanes import Key


class RebuildSlots:
    """For one process: only the leader begins anything. `most`: 0 = no limit.

    leaving: this process is about to end, so that no fence goes up any more.
    """

    def __init__(self, most: int = 0) -> None:
        self.leaving = False
        self._most = most
        self._taken: set[Key] = set()
        self._switching: set[Key] = set()
        self._calm = asyncio.Event()
        self._calm.set()

    def note(self, key: Key, *, rebuilding: bool, switching: bool = False) -> None:
        """What a look at an index shows: a rebuild that runs has its slot, whoever began it."""
        (self._taken.add if rebuilding else self._taken.discard)(key)
        (self._switching.add if switching else self._switching.discard)(key)
        (self._calm.clear if self._switching else self._calm.set)()

    def take(self, key: Key) -> bool:
        """A slot for a rebuild that is about to begin; it is given back by a later look that shows none."""
        if self._most and len(self._taken - {key}) >= self._most:
            return False
        self._taken.add(key)
        return True

    async def leave(self, timeout_seconds: float) -> None:
        """Waits for the switches under way: writes wait for them, and would for the next leader too."""
        self.leaving = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._calm.wait(), timeout_seconds)
