"""How often what pods measure is asked for, and written down: bounded, however many objects there are."""

import time
from collections.abc import Callable

from .lanes import Key

POLLS_PER_SECOND = 5.0
"""Of all objects together: beyond, each is asked less often."""
NUMBERS_SECONDS = 30.0
"""A status is written for its numbers alone at most this often."""


class Polls:
    """Remembers, for this process, which objects are polled and when the numbers of each were written."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._polled: set[Key] = set()
        self._written: dict[Key, float] = {}

    def again(self, key: Key, after_seconds: float | None, poll_after_seconds: float | None) -> float | None:
        """When to look again: as the plan says, or for a poll when it is this object's turn."""
        if poll_after_seconds is None:
            return after_seconds
        self._polled.add(key)
        poll = max(poll_after_seconds, len(self._polled) / POLLS_PER_SECOND)
        return poll if after_seconds is None else min(poll, after_seconds)

    def numbers_due(self, key: Key) -> bool:
        written = self._written.get(key)
        return written is None or self._clock() - written >= NUMBERS_SECONDS

    def numbers_written(self, key: Key) -> None:
        self._written[key] = self._clock()

    def forget(self, key: Key) -> None:
        self._polled.discard(key)
        self._written.pop(key, None)
