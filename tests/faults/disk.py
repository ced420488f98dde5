"""What a disk may hold after a power cut.

Data that was synced is there. Of what was not, anything may be: none, all, the first few, or any of it in any order,
each write whole or torn between sectors. A file that was made or removed is there or not, until its directory is synced.
SQLite counts on one thing beyond that, which real disks give: a write does not harm the bytes beside it.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .recording import Kind, Record

SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Write:
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncation:
    size: int


@dataclass(slots=True)
class File:
    synced: bytearray = field(default_factory=bytearray)
    unsynced: list[Write | Truncation] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.unsynced:
            _apply(self.synced, change)
        self.unsynced.clear()


class Disk:
    """Begins with what `directory` holds, as if it were synced; `apply` takes the records one after the other."""

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self._synced = {path: File(bytearray(path.read_bytes())) for path in directory.rglob("*") if path.is_file()}
        self._names: dict[Path, File | None] = dict(self._synced)
        self._renamed: list[tuple[Path, File | None]] = []
        self._open: dict[int, File] = {}

    def apply(self, record: Record) -> None:
        match record.kind:
            case Kind.OPENED:
                self._opened(record)
            case Kind.WRITTEN:
                self._open[record.file].unsynced.append(Write(record.value, record.data))
            case Kind.TRUNCATED:
                self._open[record.file].unsynced.append(Truncation(record.value))
            case Kind.SYNCED:
                self._open[record.file].sync()
            case Kind.REMOVED:
                self._name(record.path, None)
            case Kind.DIRECTORY_SYNCED:
                self._sync_directory(record.path.parent)

    def survivor(self, draw: random.Random, into: Path) -> None:
        """Writes what is left to `into`: one of the many possible ends."""
        into.mkdir(parents=True)
        for directory in {path.parent for path in self._names}:
            (into / directory.relative_to(self._root)).mkdir(parents=True, exist_ok=True)
        keep = draw.choice(_WAYS)
        for path, file in self._left(draw).items():
            if file is not None:
                (into / path.relative_to(self._root)).write_bytes(_content(file, draw, keep))

    def _opened(self, record: Record) -> None:
        if record.value or self._names.get(record.path) is None:
            self._name(record.path, File())
        file = self._names[record.path]
        assert file is not None
        self._open[record.file] = file

    def _name(self, path: Path, file: File | None) -> None:
        self._names[path] = file
        self._renamed.append((path, file))

    def _sync_directory(self, directory: Path) -> None:
        for path, file in self._renamed:
            if path.parent == directory:
                if file is None:
                    self._synced.pop(path, None)
                else:
                    self._synced[path] = file
        self._renamed = [(path, file) for path, file in self._renamed if path.parent != directory]

    def _left(self, draw: random.Random) -> dict[Path, File | None]:
        """Files by name: a prefix of what happened to the directories, or each name for itself."""
        left: dict[Path, File | None] = dict(self._synced)
        if draw.random() < 0.5:
            left.update(self._renamed[: draw.randint(0, len(self._renamed))])
        else:
            left.update(change for change in self._renamed if draw.random() < 0.5)
        return left


Keep = Callable[[Sequence[Write | Truncation], random.Random], Iterator[Write | Truncation]]


def _content(file: File, draw: random.Random, keep: Keep) -> bytes:
    content = bytearray(file.synced)
    for change in keep(file.unsynced, draw):
        _apply(content, change)
    return bytes(content)


def _apply(content: bytearray, change: Write | Truncation) -> None:
    if isinstance(change, Truncation):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
    else:
        content.extend(bytes(max(0, change.offset - len(content))))
        content[change.offset : change.offset + len(change.data)] = change.data


def _none(changes: Sequence[Write | Truncation], draw: random.Random) -> Iterator[Write | Truncation]:
    return iter(())


def _all(changes: Sequence[Write | Truncation], draw: random.Random) -> Iterator[Write | Truncation]:
    return iter(changes)


def _first(changes: Sequence[Write | Truncation], draw: random.Random) -> Iterator[Write | Truncation]:
    number = draw.randint(0, len(changes))
    yield from changes[:number]
    if number < len(changes):
        yield from _torn(changes[number], draw)


def _any(changes: Sequence[Write | Truncation], draw: random.Random) -> Iterator[Write | Truncation]:
    share = draw.choice((0.1, 0.5, 0.9))
    for change in changes:
        if draw.random() < share:
            yield from _torn(change, draw) if draw.random() < 0.3 else (change,)


_WAYS: tuple[Keep, ...] = (_none, _all, _first, _any, _any)


def _torn(change: Write | Truncation, draw: random.Random) -> Iterator[Write | Truncation]:
    """Some of the sectors."""
    if isinstance(change, Truncation):
        return
    begin = change.offset
    end = change.offset + len(change.data)
    while begin < end:
        stop = min(end, (begin // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if draw.random() < 0.5:
            yield Write(begin, change.data[begin - change.offset : stop - change.offset])
        begin = stop
