"""Which rows a filter matches, remembered: rows never change, so that only those that came since need a look."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import orjson

from ..filters import Filter, parse
from .store.records import Rows

MAX_BYTES = 64 << 20
MAX_ENTRIES = 1_024
STALE_ROWS = 10_000
"""Appended rows beyond which a list is made anew: rows that have been replaced stay in it until then."""
_NONE: Rows = np.empty(0, dtype=np.int64)


class RowSource(Protocol):
    def rows_of(self, filter_: Filter, above: int = 0) -> tuple[Rows, int]: ...


@dataclass(slots=True)
class _Known:
    filter_: Filter
    rows: Rows = field(default_factory=lambda: _NONE)
    upto: int = 0
    whole: int = 0
    """How many rows there were when the list was made from nothing."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Matches:
    """Thread-safe. position: of the last commit."""

    def __init__(
        self,
        source: RowSource,
        position: Callable[[], int],
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._source = source
        self._position = position
        self._max_bytes = max_bytes
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def rows(self, value: Any) -> Rows:
        """int64, ascending: every live row that matches, and some that live no more. Blocking. Raises FilterError."""
        known = self._entry(value)
        with known.lock:
            grown = known.upto < self._position()
            if grown:
                self._extend(known)
            rows = known.rows
        if grown:
            self._shrink()
        return rows

    def filter_of(self, value: Any) -> Filter | None:
        """Raises FilterError."""
        return None if value is None else self._entry(value).filter_

    def _extend(self, known: _Known) -> None:
        if len(known.rows) - known.whole > max(STALE_ROWS, known.whole):
            known.rows, known.upto = _NONE, 0
        fresh, upto = self._source.rows_of(known.filter_, known.upto)
        known.whole = len(fresh) if known.upto == 0 else known.whole
        known.rows = np.concatenate([known.rows, fresh]) if len(known.rows) else fresh
        known.upto = upto

    def _entry(self, value: Any) -> _Known:
        key = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
        known = _Known(parse(value))
        with self._lock:
            return self._known.setdefault(key, known)

    def _shrink(self) -> None:
        """Lets the least recently used go, apart from the newest."""
        with self._lock:
            used = sum(known.rows.nbytes for known in self._known.values())
            while len(self._known) > 1 and (used > self._max_bytes or len(self._known) > MAX_ENTRIES):
                used -= self._known.popitem(last=False)[1].rows.nbytes
