"""How long searches took just now: what a rebuild's brake looks at."""

import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 15.0
MOST_SAMPLES = 2_048
FEWEST_SAMPLES = 5


class RecentLatency:
    """Durations of the last searches. Adding one costs less than a microsecond."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, float]] = deque(maxlen=MOST_SAMPLES)

    def add(self, seconds: float) -> None:
        self._samples.append((self._clock(), seconds))

    def p99_milliseconds(self) -> float | None:
        """99th percentile of the last 15 s; None where there were too few searches to tell."""
        since = self._clock() - WINDOW_SECONDS
        found = sorted(seconds for at, seconds in self._samples if at >= since)
        if len(found) < FEWEST_SAMPLES:
            return None
        return 1_000 * found[min(len(found) - 1, int(0.99 * len(found)))]
