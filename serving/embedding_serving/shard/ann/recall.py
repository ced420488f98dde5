"""Recent queries, and how many of their true nearest are found."""

import itertools
import threading
from collections import deque

import numpy as np

from .arrays import Vectors

AT = 10


class RecentQueries:
    """The last real queries, one of a request. Kept by copying one vector: no lock, any thread."""

    def __init__(self, dimensions: int, size: int = 256) -> None:
        self._vectors = np.zeros((size, dimensions), dtype=np.float32)
        self._seen = itertools.count()
        self._last = -1

    def add(self, queries: Vectors) -> None:
        if len(queries):
            self._last = number = next(self._seen)
            self._vectors[number % len(self._vectors)] = queries[0]

    def all(self) -> Vectors:
        """float32 [n, dimensions]."""
        return self._vectors[: min(self._last + 1, len(self._vectors))].copy()

    def newest(self) -> tuple[int, Vectors] | None:
        """Its number since the start, and float32 [1, dimensions]."""
        number = self._last
        return None if number < 0 else (number, self._vectors[[number % len(self._vectors)]])


class RunningRecall:
    """Mean over the last samples since the index last changed."""

    def __init__(self, size: int = 256) -> None:
        self._samples: deque[float] = deque(maxlen=size)
        self._lock = threading.Lock()

    def add(self, share: float) -> None:
        with self._lock:
            self._samples.append(share)

    def clear(self) -> None:
        with self._lock:
            self._samples.clear()

    def mean(self) -> float | None:
        with self._lock:
            return sum(self._samples) / len(self._samples) if self._samples else None
