"""What was seen of an index just now: in the middle of a switch its children do not change, and reading them takes time."""

import time
from collections.abc import Callable

from ..lanes import Key
from ..plan.snapshot import IndexSnapshot

WHOLE_LOOK_SECONDS = 3.0
"""So often everything is read all the same: a switch that lasts may be held up by something else."""


class Familiar:
    """For one process; whoever begins anew reads everything."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[Key, tuple[float, IndexSnapshot]] = {}

    def note(self, key: Key, snapshot: IndexSnapshot) -> None:
        """A whole look at an index whose route is in the middle of a switch."""
        self._seen[key] = self._clock(), snapshot

    def recent(self, key: Key) -> IndexSnapshot | None:
        """The last whole look, while it is worth something."""
        at, snapshot = self._seen.get(key, (0.0, None))
        if snapshot is None or self._clock() - at < WHOLE_LOOK_SECONDS:
            return snapshot
        self.forget(key)
        return None

    def forget(self, key: Key) -> None:
        self._seen.pop(key, None)
