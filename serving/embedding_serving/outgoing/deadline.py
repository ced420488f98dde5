"""Until when a request may take; handed down to everything that is done for it."""

import time
from typing import NamedTuple


class Deadline(NamedTuple):
    """at: in time.monotonic()."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds, 0 where it has passed."""
        return max(0.0, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self.at

    def share(self, fraction: float) -> "Deadline":
        """The part of what is left, for a first attempt."""
        now = time.monotonic()
        return Deadline(now + max(0.0, self.at - now) * fraction)
