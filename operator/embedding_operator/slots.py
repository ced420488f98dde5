"""How many rebuilds run at the same time: those beyond wait their turn."""

from .lanes import Key


class RebuildSlots:
    """For one process: only the leader begins anything. `most`: 0 = no limit."""

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._taken: set[Key] = set()

    def note(self, key: Key, *, rebuilding: bool) -> None:
        """What a look at an index shows: a rebuild that runs has its slot, whoever began it."""
        if rebuilding:
            self._taken.add(key)
        else:
            self._taken.discard(key)

    def take(self, key: Key) -> bool:
        """A slot for a rebuild that is about to begin; it is given back by a later look that shows none."""
        if self._most and len(self._taken - {key}) >= self._most:
            return False
        self._taken.add(key)
        return True
