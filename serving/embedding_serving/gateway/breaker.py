"""A circuit breaker: what fails again and again is left alone for a while, then tried with one call."""

import time
from collections.abc import Callable

FAILURES_TO_OPEN = 5
FIRST_OPEN_SECONDS = 0.5
LAST_OPEN_SECONDS = 15.0


class Breaker:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0
        self._open_seconds = FIRST_OPEN_SECONDS
        self._probing = False

    @property
    def state(self) -> str:
        if self._failures < FAILURES_TO_OPEN:
            return "closed"
        return "open" if self._clock() < self._open_until or self._probing else "half-open"

    def allows(self) -> bool:
        """Whether a call may be sent; changes nothing."""
        return self._failures < FAILURES_TO_OPEN or (not self._probing and self._clock() >= self._open_until)

    def begin(self) -> None:
        """A call is sent: where the breaker is half open, it is the probe."""
        if self._failures >= FAILURES_TO_OPEN:
            self._probing = True

    def succeeded(self) -> None:
        if self._failures:
            self._failures = 0
            self._open_seconds = FIRST_OPEN_SECONDS
        self._probing = False

    def failed(self) -> None:
        self._failures += 1
        if self._failures < FAILURES_TO_OPEN:
            return
        if self._probing:
            self._open_seconds = min(2 * self._open_seconds, LAST_OPEN_SECONDS)
        self._probing = False
        self._open_until = self._clock() + self._open_seconds

    def abandoned(self) -> None:
        """The call was given up before its end: nothing was learnt."""
        self._probing = False
