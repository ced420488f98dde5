"""The index in memory: one view that searches read, and the ways in which the next one comes about.

Writers take turns under one lock. A search takes the view by one reference and needs no lock, but for the gate of the
tail's codes while it scans them.
"""

import threading
from collections.abc import Callable

import numpy as np

from .arrays import Rows, Slots, Vectors
from .limits import Limits
from .slots import SlotFile, SlotsView
from .view import Main, Tail, View

CHASE_ROWS = 4_096


class Cache:
    def __init__(self, slots: SlotFile, limits: Limits) -> None:
        self._limits = limits
        self._writing = threading.Lock()
        self._slots = slots
        self._main: Main | None = None
        self._tail: Tail | None = None
        self._folded = 0
        self._covered = slots.view().covered
        self._publish()

    @property
    def view(self) -> View:
        return self._view

    @property
    def slots(self) -> SlotFile:
        return self._slots

    @property
    def covered(self) -> int:
        """The highest row number that was applied, deletions included."""
        return self._covered

    def apply(self, added_rows: Rows, added: Vectors, removed_rows: Rows) -> None:
        """One commit: its rows and its deaths are seen together, from the return on. Rows already here are left alone."""
        with self._writing:
            slots = self._slots
            known = slots.view().covered
            if len(added_rows) and added_rows[0] <= known:
                added, added_rows = added[added_rows > known], added_rows[added_rows > known]
            slots.append(added_rows, added)
            if len(removed_rows):
                slots.kill(slots.view().find(np.unique(removed_rows)))
            slots.next_version()
            self._covered = max(self._covered, *(int(rows.max()) for rows in (added_rows, removed_rows) if len(rows)), 0)
            self._publish()
            self._fold()

    def install(self, main: Main, tail: Tail) -> None:
        """Puts a built engine in front of the slots it was made of; what came since is encoded first, writers going on."""
        folded = self._encode(lambda: self._view.slots, tail)
        with self._writing:
            self._take(main, tail, folded)
            self._publish()

    def replace(self, slots: SlotFile, built_of: int, main: Main | None, tail: Tail | None) -> None:
        """Goes over to a vectors file with the living of the first `built_of` slots, and copies what came since."""
        old, new = self._slots, slots.view()
        kept = [np.searchsorted(self._view.slots.rows[:built_of], new.rows[: new.count])]
        copied = built_of
        while self._view.slots.count - copied > CHASE_ROWS:
            copied = self._copy(slots, copied, copied + CHASE_ROWS, kept)
        folded = self._encode(slots.view, tail) if tail else 0
        with self._writing:
            before = self._view.slots
            self._copy(slots, copied, before.count, kept)
            slots.set_dead(np.flatnonzero(before.died_at[np.concatenate(kept)] <= before.version))
            self._slots = slots
            self._take(main, tail, folded)
            self._publish()
        old.close()

    def close(self) -> None:
        with self._writing:
            self._slots.close()

    def _fold(self) -> None:
        tail, waiting = self._tail, self._slots.view().count - self._folded
        if tail is None or waiting < self._limits.fold_rows:
            return
        chunk = tail.chunk
        if not chunk.count:
            chunk.add(self._view.slots.vectors[self._folded : self._folded + waiting])
        if waiting > self._limits.insist_rows:
            tail.gate.alone()
        elif not tail.gate.try_alone():
            return
        try:
            encoded = chunk.count
            tail.engine.take(chunk)
        finally:
            tail.gate.release()
        self._folded += encoded
        self._publish()

    def _encode(self, slots: Callable[[], SlotsView], tail: Tail) -> int:
        """Appends to a tail that no search knows yet; the slot up to which it did."""
        folded = tail.first
        while (view := slots()).count - folded >= self._limits.fold_rows:
            end = min(view.count, folded + CHASE_ROWS)
            tail.engine.add(view.vectors[folded:end])
            folded = end
        return folded

    def _copy(self, slots: SlotFile, start: int, end: int, kept: list[Slots]) -> int:
        view = self._view.slots
        living = np.flatnonzero(view.alive_between(start, end)) + start
        slots.append(view.rows[living], view.vectors[living])
        kept.append(living)
        return end

    def _take(self, main: Main | None, tail: Tail | None, folded: int) -> None:
        self._main, self._tail, self._folded = main, tail, folded

    def _publish(self) -> None:
        self._view = View(self._slots.view(), self._main, self._tail, self._folded)
