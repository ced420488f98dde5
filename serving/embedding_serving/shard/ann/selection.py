"""The rows that a filter allows, as the slots that they are in: what engines and scans can look up at once."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arrays import Mask, Rows, Slots
from .slots import SlotsView

MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Selection:
    """mask: bool [count of a view], dead slots included. rows, numbers: what it was made of."""

    rows: Rows
    numbers: Rows
    mask: Mask

    def among(self, slots: Slots) -> Slots:
        """Those of the slots that are allowed."""
        return slots[self.mask[slots]]

    def slots(self) -> Slots:
        """Ascending."""
        return np.flatnonzero(self.mask)

    def bits(self, first: int, count: int) -> NDArray[np.uint8]:
        """Of the slots [first, first + count), eight a byte, the lowest bit first."""
        return np.packbits(self.mask[first : first + count], bitorder="little")

    def is_of(self, rows: Rows, view: SlotsView) -> bool:
        return self.rows is rows and self.numbers is view.rows and len(self.mask) == view.count


class Selections:
    """Thread-safe. The rows of a filter are one array until they change: what was made of the last ones is kept."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._known: OrderedDict[int, Selection] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = 0
        self._max_bytes = max_bytes

    def of(self, rows: Rows, view: SlotsView) -> Selection:
        """rows: ascending, never changed afterwards."""
        key = id(rows)  # of an array that the entry keeps alive
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
        if known is not None and known.is_of(rows, view):
            return known
        made = Selection(rows, view.rows, np.isin(view.rows[: view.count], rows, assume_unique=True))
        with self._lock:
            self._bytes += _size(made) - _size(self._known.pop(key, None))
            self._known[key] = made
            while self._bytes > self._max_bytes and len(self._known) > 1:
                self._bytes -= _size(self._known.popitem(last=False)[1])
        return made


def _size(selection: Selection | None) -> int:
    return 0 if selection is None else selection.rows.nbytes + selection.mask.nbytes
