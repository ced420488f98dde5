"""The tables that filters are compiled for, filled as a store fills them."""

import sqlite3
from collections.abc import Iterable

import numpy as np

from embedding_serving.filters import Declared, Filter, compile_filter, field_entries, metadata_text, row_numbers
from embedding_serving.shard.store.rows import sealed
from embedding_serving.shard.store.schema import DDL
from fixtures.filter_oracle import Document

NOW_MS = 1_000_000


def store() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(DDL)
    return connection


def put(
    connection: sqlite3.Connection,
    row: int,
    document: Document,
    declared: Declared,
    *,
    expires_at: int | None = None,
    text: str | None = None,
) -> None:
    members = (row, document.id, 1, row, 0, expires_at, None, None, metadata_text(document.metadata), text, b"")
    connection.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", sealed(*members))
    entries = [(field, value, row) for field, value in field_entries(document.metadata, declared)]
    connection.executemany("INSERT INTO field_values VALUES (?, ?, ?)", entries)


def found(connection: sqlite3.Connection, filter_: Filter, declared: Declared, above: int = 0) -> list[int]:
    rows = row_numbers(connection, compile_filter(filter_, declared, NOW_MS, above))
    counted = row_numbers(connection, compile_filter(filter_, declared, NOW_MS, above, connection))
    assert rows.dtype == np.int64
    assert rows.tolist() == counted.tolist()
    return [int(row) for row in rows]


def filled(documents: Iterable[Document], declared: Declared) -> sqlite3.Connection:
    connection = store()
    for row, document in enumerate(documents, 1):
        put(connection, row, document, declared)
    return connection
