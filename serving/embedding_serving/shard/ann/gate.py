"""A lock that searches share and folding in has alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Many may be inside shared, or one alone.

    `try_alone` gives up at once where searches are inside, so that a long batch never makes others wait; `alone` lets
    nobody else in until it had its turn, so that it can't starve either.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            while self._alone:
                self._changed.wait()
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if not self._inside and self._alone:
                    self._changed.notify_all()

    def try_alone(self) -> bool:
        """True: nobody is inside and nobody gets in until `release`."""
        with self._changed:
            if self._inside or self._alone:
                return False
            self._alone = True
            return True

    def alone(self) -> None:
        with self._changed:
            while self._alone:
                self._changed.wait()
            self._alone = True
            while self._inside:
                self._changed.wait()

    def release(self) -> None:
        with self._changed:
            self._alone = False
            self._changed.notify_all()
