"""Disks: a volume is a database in memory that outlives the process which has it open. A commit is atomic."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from embedding_serving.filters import keywords
from embedding_serving.shard.store import schema


class Held(sqlite3.Connection):
    """Closing it is what the death of its process is: nothing but what was committed is left."""

    def close(self) -> None:
        if self.in_transaction:
            self.rollback()

    def destroy(self) -> None:
        super().close()


class Disks:
    """Volumes by the path that a store is opened at."""

    def __init__(self) -> None:
        self.volumes: dict[str, Held] = {}

    def connect(self, path: Path) -> sqlite3.Connection:
        key = str(path.parent)
        if key not in self.volumes:
            self.volumes[key] = _blank()
        return self.volumes[key]

    def lose(self, key: str) -> None:
        volume = self.volumes.pop(key, None)
        if volume is not None:
            volume.destroy()

    def copy(self, key: str) -> bytes:
        return self.volumes[key].serialize()

    def restore(self, key: str, content: bytes) -> None:
        self.lose(key)
        volume = _blank()
        volume.deserialize(content)
        self.volumes[key] = volume

    def close(self) -> None:
        for key in list(self.volumes):
            self.lose(key)


def _blank() -> Held:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, cached_statements=256, factory=Held)


def _template() -> bytes:
    with_tables = sqlite3.connect(":memory:", isolation_level=None)
    with_tables.executescript(f"{schema.DDL} {keywords.DDL} PRAGMA user_version = {schema.FORMAT};")
    content = with_tables.serialize()
    with_tables.close()
    return content


TEMPLATE = _template()


def create_or_check(connection: sqlite3.Connection, size_bytes: int, initialise: Callable[[sqlite3.Connection], None]) -> None:
    """As the store's own, without reading every page."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == 0:
        connection.deserialize(TEMPLATE)
        connection.execute("BEGIN")
        initialise(connection)
        connection.execute("COMMIT")
