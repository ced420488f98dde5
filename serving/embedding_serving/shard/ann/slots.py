"""The vectors file: an append-only float32 matrix whose slots are numbered by the order of arrival, and who is alive in it.

Vectors are written with `pwrite` and read through a mapping: a full disk is an OSError here and not a SIGBUS in a
search. The file is sparse up to its capacity and reserved in steps, so that it is mapped anew only when it doubles;
searches at work keep the mapping they have. Where the disk can't be written the slots go on in memory.
"""

import logging
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .arrays import Mask, Rows, Slots, Vectors
from .limits import Limits

NEVER = np.iinfo(np.int64).max
_FLOAT_BYTES = 4
_ROW_BYTES = 8

logger = logging.getLogger(__name__)


def vectors_name(number: int) -> str:
    return f"vectors-{number:08d}.f32"


def rows_name(number: int) -> str:
    return f"rows-{number:08d}.i64"


@dataclass(frozen=True, slots=True)
class SlotsView:
    """The slots as of one version: later appends lie beyond `count`, later deaths have a later version.

    vectors float32 [capacity, dimensions]; rows int64 [capacity], ascending up to count; died_at int64 [capacity], the
    version from which a slot is dead. Only what lies below `count` may be read.
    """

    vectors: Vectors
    rows: Rows
    died_at: Slots
    count: int
    version: int
    live: int

    @property
    def dead(self) -> int:
        return self.count - self.live

    @property
    def covered(self) -> int:
        """The highest row number that was ever taken; 0 = none."""
        return int(self.rows[self.count - 1]) if self.count else 0

    def find(self, rows: Rows) -> Slots:
        """Slots of those of the ascending row numbers that are here and alive."""
        known = self.rows[: self.count]
        places = np.searchsorted(known, rows)
        inside = places < self.count
        slots = places[inside]
        return self.alive(slots[known[slots] == rows[inside]])

    def alive(self, slots: Slots) -> Slots:
        """Those of the slots that are alive."""
        return slots[self.died_at[slots] > self.version]

    def alive_between(self, start: int, end: int) -> Mask:
        """bool [end - start]."""
        return self.died_at[start:end] > self.version


class SlotFile:
    """Owner of one vectors file, its rows file and its deaths. One thread writes at a time."""

    def __init__(self, directory: Path, number: int, dimensions: int, limits: Limits, *, count: int = 0) -> None:
        """Opens the files, made where they are not there; `count` slots of them count. All are alive until told otherwise."""
        self.number = number
        self.fault: str | None = None
        self._directory = directory
        self._dimensions = dimensions
        self._limits = limits
        self._vectors_file = -1
        self._rows_file = -1
        self._reserved = 0
        capacity = max(limits.first_capacity, 2 * count)
        self._died_at = np.full(capacity, NEVER, dtype=np.int64)
        self._rows = np.zeros(capacity, dtype=np.int64)
        self._count = count
        self._live = count
        self._version = 0
        self._open(capacity)
        if count:
            with (directory / rows_name(number)).open("rb") as file:
                self._rows[:count] = np.fromfile(file, dtype="<i8", count=count)

    @property
    def in_memory(self) -> bool:
        """The disk could not be written: no snapshot and no build can be made of these slots."""
        return self._vectors_file < 0

    @property
    def paths(self) -> tuple[Path, Path]:
        return self._directory / vectors_name(self.number), self._directory / rows_name(self.number)

    def view(self) -> SlotsView:
        return SlotsView(self._matrix, self._rows, self._died_at, self._count, self._version, self._live)

    def append(self, rows: Rows, vectors: Vectors) -> None:
        """Rows ascending and beyond all before. Seen in views taken from here on."""
        if not len(rows):
            return
        end = self._count + len(rows)
        if end > len(self._rows):
            self._double(end)
        self._write(rows, vectors, end)
        self._rows[self._count : end] = rows
        self._count = end
        self._live += len(rows)

    def kill(self, slots: Slots) -> None:
        """Dead in views of the next version on. Slots are distinct and alive."""
        self._died_at[slots] = self._version + 1
        self._live -= len(slots)

    def next_version(self) -> None:
        """Every append and death so far is in views taken from here on."""
        self._version += 1

    def set_dead(self, dead: Slots) -> None:
        """Exactly these slots are dead, and were in every version."""
        died_at = np.full(len(self._died_at), NEVER, dtype=np.int64)
        died_at[dead] = np.iinfo(np.int64).min
        self._died_at = died_at
        self._live = self._count - len(dead)

    def sync(self) -> None:
        """Returns when what was appended is on the disk. Raises OSError."""
        for file in (self._vectors_file, self._rows_file):
            os.fdatasync(file)

    def close(self) -> None:
        """Views that are still held stay readable."""
        for file in (self._vectors_file, self._rows_file):
            if file >= 0:
                os.close(file)
        self._vectors_file = self._rows_file = -1

    def _open(self, capacity: int) -> None:
        vectors_path, rows_path = self.paths
        try:
            self._vectors_file = os.open(vectors_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._rows_file = os.open(rows_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._matrix = self._map(capacity)
        except OSError as error:
            self._give_up_disk(error, capacity)

    def _map(self, capacity: int) -> Vectors:
        size = capacity * self._dimensions * _FLOAT_BYTES
        if os.fstat(self._vectors_file).st_size < size:
            os.ftruncate(self._vectors_file, size)
        mapping = mmap.mmap(self._vectors_file, size, mmap.MAP_SHARED, mmap.PROT_READ)
        return np.frombuffer(mapping, dtype=np.float32).reshape(capacity, self._dimensions)

    def _write(self, rows: Rows, vectors: Vectors, end: int) -> None:
        if not self.in_memory:
            try:
                self._reserve(end)
                _write_at(self._vectors_file, vectors, self._count * self._dimensions * _FLOAT_BYTES)
                _write_at(self._rows_file, rows, self._count * _ROW_BYTES)
                return
            except OSError as error:
                self._give_up_disk(error, len(self._rows))
        self._matrix[self._count : end] = vectors

    def _reserve(self, end: int) -> None:
        needed = end * self._dimensions * _FLOAT_BYTES
        if needed > self._reserved:
            start = self._count * self._dimensions * _FLOAT_BYTES
            full = len(self._rows) * self._dimensions * _FLOAT_BYTES
            upto = min(full, needed + self._limits.allocate_bytes)
            os.posix_fallocate(self._vectors_file, start, upto - start)
            self._reserved = upto

    def _double(self, end: int) -> None:
        capacity = max(2 * len(self._rows), end)
        rows, died_at = np.zeros(capacity, dtype=np.int64), np.full(capacity, NEVER, dtype=np.int64)
        rows[: self._count], died_at[: self._count] = self._rows[: self._count], self._died_at[: self._count]
        self._rows, self._died_at = rows, died_at
        if self.in_memory:
            self._to_memory(capacity)
            return
        try:
            self._matrix = self._map(capacity)
        except OSError as error:
            self._give_up_disk(error, capacity)

    def _give_up_disk(self, error: OSError, capacity: int) -> None:
        self.fault = f"the cache can't be written: {error}"
        logger.error("index cache goes on in memory", extra={"error": str(error), "rows": self._count})
        if not hasattr(self, "_matrix"):
            self._matrix = self._read_only()
        self.close()
        self._to_memory(capacity)

    def _read_only(self) -> Vectors:
        if not self._count:
            return np.empty((0, self._dimensions), dtype=np.float32)
        return np.fromfile(self.paths[0], dtype=np.float32, count=self._count * self._dimensions).reshape(-1, self._dimensions)

    def _to_memory(self, capacity: int) -> None:
        matrix = np.empty((capacity, self._dimensions), dtype=np.float32)
        matrix[: self._count] = self._matrix[: self._count]
        self._matrix = matrix


def _write_at(file: int, array: Rows | Vectors, offset: int) -> None:
    data = np.ascontiguousarray(array).data.cast("B")
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written
