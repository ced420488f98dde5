"""Commits on their way into the approximate index: in order, and none is passed over where it fails on one."""

import logging
import threading
from collections import deque
from typing import Protocol

from .store.records import Committed, Rows, Vectors

BEHIND = "the index of this shard did not take what was written last (its log says why): delete the pod, and it is made again"
log = logging.getLogger(__name__)


class TakesCommits(Protocol):
    def apply(self, added_rows: Rows, added: Vectors, removed_rows: Rows) -> None: ...


class IndexFeed:
    """Called by the writer thread before a write is acknowledged. Thread-safe.

    A commit that the index does not take waits here, and so do those behind it; meanwhile the shard takes no writes and
    answers no strong search.
    """

    def __init__(self) -> None:
        self._index: TakesCommits | None = None
        self._missed: deque[Committed] = deque()
        self._behind = False
        self._lock = threading.Lock()

    @property
    def is_behind(self) -> bool:
        """Whether a commit was not taken: one that is just being taken was not acknowledged to anybody yet."""
        return self._behind

    def attach(self, index: TakesCommits) -> None:
        """The index has all that the store had when its writer was not started yet."""
        self._index = index

    def __call__(self, committed: Committed) -> None:
        with self._lock:
            if not len(committed.added) and not len(committed.removed):
                return
            self._missed.append(committed)
            self._go_on()

    def retry(self) -> None:
        with self._lock:
            self._go_on()

    def _go_on(self) -> None:
        while self._missed:
            if self._index is None or not _takes(self._index, self._missed[0]):
                self._behind = True
                return
            self._missed.popleft()
        self._behind = False


def _takes(index: TakesCommits, commit: Committed) -> bool:
    try:
        index.apply(commit.added, commit.vectors, commit.removed)
    except Exception:
        log.exception("the index did not take a commit", extra={"position": commit.position})
        return False
    return True
