"""How often what pods say is asked for, and numbers are written down: bounded, however many objects there are."""

import math
import time
from collections.abc import Callable

from .lanes import Key

POLLS_PER_SECOND = 5.0
"""Of all objects together: beyond, each is asked less often, in proportion."""


class Polls:
    """Remembers, for this process, how often each object wants to be polled and when its numbers were written."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rates: dict[Key, float] = {}
        self._rate = 0.0
        self._written: dict[Key, float] = {}

    def again(self, key: Key, after_seconds: float | None, poll_after_seconds: float | None) -> float | None:
        """When to look again: as the plan says, or for a poll when it is this object's turn."""
        if poll_after_seconds is None:
            return after_seconds
        self._note(key, 1 / poll_after_seconds)
        poll = poll_after_seconds * max(1.0, self._rate / POLLS_PER_SECOND)
        return poll if after_seconds is None else min(poll, after_seconds)

    def numbers_age(self, key: Key) -> float:
        """Seconds since a status was last written with its numbers."""
        return self._clock() - self._written.get(key, -math.inf)

    def numbers_written(self, key: Key) -> None:
        self._written[key] = self._clock()

    def forget(self, key: Key) -> None:
        self._note(key, 0.0)
        del self._rates[key]
        self._written.pop(key, None)

    def _note(self, key: Key, rate: float) -> None:
        self._rate += rate - self._rates.get(key, 0.0)
        self._rates[key] = rate
