"""The VFS under SQLite, built and loaded into the process; what it recorded.

Python's sqlite3 must use the same libsqlite3 as the VFS: where it carries one of its own, recordings stay empty and
`load` fails rather than letting a test pass that saw nothing.
"""

import ctypes
import hashlib
import os
import shutil
import sqlite3
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("powerloss.c")
_HEAD = struct.Struct("<IIqQ")
_COMPILER = ("gcc", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC")


class Kind(IntEnum):
    OPENED = 1
    WRITTEN = 2
    TRUNCATED = 3
    SYNCED = 4
    REMOVED = 5
    DIRECTORY_SYNCED = 6


@dataclass(frozen=True, slots=True)
class Record:
    """file: number of an open file. value: OPENED whether it was made, WRITTEN offset, TRUNCATED size."""

    kind: Kind
    file: int
    value: int
    data: bytes

    @property
    def path(self) -> Path:
        return Path(self.data.decode())


class Recorder:
    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.powerloss_now.restype = ctypes.c_uint64

    def now(self) -> int:
        """Number of records so far: all of them happened before what the caller does next."""
        return int(self._library.powerloss_now())

    @contextmanager
    def recording(self, root: Path, log: Path) -> Iterator[None]:
        if self._library.powerloss_record(bytes(root), bytes(log)) != 0:
            raise OSError(f"{log} cannot be written")
        try:
            yield
        finally:
            self._library.powerloss_stop()


def read(log: Path) -> list[Record]:
    data = log.read_bytes()
    records = []
    at = 0
    while at < len(data):
        kind, file, value, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        records.append(Record(Kind(kind), file, value, data[at : at + size]))
        at += size
    return records


@cache
def load() -> Recorder:
    """The recorder of this process; its SQLite goes through it from now on."""
    library = ctypes.CDLL(str(_built()))
    assert library.powerloss_install() == 0, "the VFS cannot be installed"
    recorder = Recorder(library)
    with tempfile.TemporaryDirectory() as directory:
        with recorder.recording(Path(directory), Path(directory) / "log"):
            connection = sqlite3.connect(Path(directory) / "probe")
            connection.execute("CREATE TABLE probe (x)")
            connection.close()
        if not read(Path(directory) / "log"):
            pytest.fail("this Python carries a SQLite of its own: run with one that links the system's libsqlite3")
    return recorder


def _built() -> Path:
    if shutil.which("gcc") is None or not Path("/usr/include/sqlite3.h").exists():
        pytest.fail("no C compiler or no SQLite header: apt-get install gcc libc6-dev libsqlite3-dev")
    name = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    built = Path(tempfile.gettempdir()) / f"embedding-powerloss-{os.getuid()}-{name}.so"
    if not built.exists():
        partial = built.with_suffix(f".{os.getpid()}")
        subprocess.run([*_COMPILER, "-o", str(partial), str(SOURCE), "-lsqlite3"], check=True)
        partial.replace(built)
    return built
