"""Reads of the store: each thread its own connection, each call one consistent view."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ...contract.index import FieldType, hash_of
from ...filters import Filter, FilterError, compile_filter, row_numbers
from ...filters.keywords import keyword_rows
from . import schema
from .records import Document, FeedRequest, FeedRow, Page, Rows, StoreCorrupt, Vectors
from .requests import WHOLE_REQUEST
from .rows import COLUMNS, StoredRow, damaged, verified, verify_vector
from .state import Counters

FEED_BYTES = 8 << 20
"""A page of a feed ends at the row that passes this size."""

SCRUB_BYTES = 1 << 20
"""What a scrub reads at once ends at the row that passes this size."""

_LIVE = "r.deleted = 0 AND (r.expires_at IS NULL OR r.expires_at > ?)"
_ROWS = "FROM rows r WHERE r.row > ? ORDER BY r.row LIMIT ?"
_ROWS_AND_VECTORS = "FROM rows r LEFT JOIN vectors v ON v.row = r.row WHERE r.row > ? ORDER BY r.row LIMIT ?"
_WITH_VECTOR = """
FROM rows r INDEXED BY rows_deleted WHERE r.deleted = 0 AND r.row > ? AND NOT EXISTS (
  SELECT 1 FROM rows n INDEXED BY rows_without_vector WHERE n.row = r.row AND n.vector_checksum IS NULL AND n.deleted = 0
)
"""


class Reader:
    """Thread-safe. Raises StoreCorrupt and StoreError where the file cannot be read."""

    def __init__(
        self,
        path: Path,
        dimensions: int,
        declared: Callable[[], Mapping[str, tuple[int, FieldType]]],
        now_ms: Callable[[], int],
    ) -> None:
        self._dimensions = dimensions
        self._path = path
        self._declared = declared
        self._now_ms = now_ms
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()

    # --- documents ---

    def get(self, ids: Sequence[str]) -> list[Document | None]:
        """Live documents by id, in the order of `ids`."""
        return self._documents("id", ids)

    def fetch(self, rows: Sequence[int]) -> list[Document | None]:
        """Documents by row number, in that order; None where the row was replaced, deleted, or its time is over."""
        return self._documents("row", rows)

    def vectors_of(self, rows: Sequence[int]) -> dict[int, bytes]:
        """float32 [dimensions] as bytes, by row."""
        marks = ",".join("?" * len(rows))
        with self._view() as db:
            found = db.execute(
                "SELECT r.row, r.vector_checksum, v.vector FROM rows r LEFT JOIN vectors v ON v.row = r.row "
                f"WHERE r.row IN ({marks})",
                tuple(rows),
            ).fetchall()
        for row, checksum, vector in found:
            verify_vector(row, checksum, vector)
        return {row: vector for row, _, vector in found if vector is not None}

    def scroll(self, after: str | None, limit: int, filter_: Filter | None) -> list[Document]:
        """Live documents by id, bytewise, beyond `after`."""
        condition, parameters = self._allowed(filter_)
        text = f"SELECT {COLUMNS} FROM rows r WHERE r.id > ?{condition} ORDER BY r.id LIMIT ?"
        documents: list[Document] = []
        with self._view() as db:
            now, last = self._now_ms(), after or ""
            while len(documents) < limit:
                found = db.execute(text, (last, *parameters, limit)).fetchall()
                documents += [document for columns in found if (document := _document(columns, now)) is not None]
                if len(found) < limit:
                    break
                last = found[-1][1]
        return documents[:limit]

    def ids(self, filter_: Filter) -> list[str]:
        condition, parameters = self._allowed(filter_)
        text = f"SELECT r.id FROM rows r WHERE {_LIVE}{condition}"
        with self._view() as db:
            return [id_ for (id_,) in db.execute(text, (self._now_ms(), *parameters))]

    def count(self, filter_: Filter | None) -> int:
        condition, parameters = self._allowed(filter_)
        with self._view() as db:
            found = db.execute(f"SELECT count(*) FROM rows r WHERE {_LIVE}{condition}", (self._now_ms(), *parameters))
            return int(found.fetchone()[0])

    def facet(self, path: str, filter_: Filter | None, limit: int) -> list[tuple[Any, int]]:
        """The values of a metadata member with the number of documents that have them, most frequent first.

        path: as in a filter, dots lead into objects. Raises FilterError.
        """
        if '"' in path or not all(path.split(".")):
            raise FilterError("field", "is no path of names with dots between, or a name in it has a quotation mark")
        condition, parameters = self._allowed(filter_)
        json_path = "$" + "".join(f'."{part}"' for part in path.split("."))
        text = (
            "SELECT j.value, j.type, count(DISTINCT r.row) FROM rows r, json_each(r.metadata, ?) j "
            f"WHERE {_LIVE}{condition} AND j.atom IS NOT NULL AND typeof(j.key) <> 'text' "
            "GROUP BY j.value, j.type ORDER BY 3 DESC, 1 LIMIT ?"
        )
        with self._view() as db:
            found = db.execute(text, (json_path, self._now_ms(), *parameters, limit))
            return [(bool(value) if type_ in ("true", "false") else value, number) for value, type_, number in found]

    def rows_of(self, filter_: Filter, above: int = 0) -> tuple[Rows, int]:
        """Row numbers beyond `above` that match, ascending, and the position up to which they are complete."""
        with self._view() as db:
            position = _position(db)
            query = compile_filter(filter_, self._declared(), self._now_ms(), above, db)
            return row_numbers(db, query), position

    def keywords(self, text: str, k: int, filter_: Filter | None) -> tuple[Rows, NDArray[np.float32]]:
        """The best documents for the words of `text`: rows and BM25 scores, best first, at most k. Raises FilterError."""
        with self._view() as db:
            now = self._now_ms()
            allowed = None if filter_ is None else compile_filter(filter_, self._declared(), now, 0, db)
            return keyword_rows(db, text, k, now, allowed)

    # --- what is embedded here ---

    def embedded(self, ids: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        """Text and vector of those of the documents that have both."""
        marks = ",".join("?" * len(ids))
        with self._view() as db:
            found = db.execute(
                f"SELECT {COLUMNS}, v.vector FROM rows r JOIN vectors v ON v.row = r.row WHERE r.id IN ({marks})", tuple(ids)
            ).fetchall()
        known = {}
        for *columns, vector in found:
            row = verified(columns)
            verify_vector(row.row, row.vector_checksum, vector)
            if row.text is not None:
                known[row.id] = row.text, vector
        return known

    def failures(self, limit: int) -> list[tuple[str, str]]:
        """Ids of documents without a vector, and why."""
        with self._view() as db:
            found = db.execute(
                f"SELECT {COLUMNS} FROM rows r INDEXED BY rows_without_vector "
                "WHERE r.vector_checksum IS NULL AND r.deleted = 0 AND r.failure IS NOT NULL ORDER BY r.row LIMIT ?",
                (limit,),
            ).fetchall()
        return [(row.id, row.failure or "") for row in map(verified, found)]

    # --- vectors, for the approximate index ---

    def live_rows(self, above: int) -> Rows:
        """Row numbers of the stored vectors beyond `above`, ascending."""
        with self._view() as db:
            live = _numbers(db, "INDEXED BY rows_deleted WHERE deleted = 0 AND row > ?", above)
            without = _numbers(
                db, "INDEXED BY rows_without_vector WHERE vector_checksum IS NULL AND deleted = 0 AND row > ?", above
            )
            if above == 0 and len(live) != _counters(db).documents:
                raise StoreCorrupt(f"the database is damaged (it does not have the rows that it should): {schema.RESTORE}")
        return np.setdiff1d(live, without, assume_unique=True) if len(without) else live

    def vectors(self, above: int, limit: int) -> tuple[Rows, Vectors]:
        """Stored vectors in row order: rows int64 [n], float32 [n, dimensions]."""
        with self._view() as db:
            expected = [row for (row,) in db.execute(f"SELECT r.row {_WITH_VECTOR} ORDER BY r.row LIMIT ?", (above, limit))]
            found = db.execute(
                "SELECT v.row, r.vector_checksum, v.vector FROM vectors v LEFT JOIN rows r ON r.row = v.row "
                "WHERE v.row > ? ORDER BY v.row LIMIT ?",
                (above, limit),
            ).fetchall()
        for row, checksum, vector in found:
            verify_vector(row, checksum, vector)
        if [row for row, _, _ in found] != expected:
            raise StoreCorrupt(f"the database is damaged (it does not have the vectors that it should): {schema.RESTORE}")
        joined = np.frombuffer(b"".join(vector for _, _, vector in found), dtype="<f4")
        return np.asarray(expected, np.int64), joined.reshape(len(found), self._dimensions)

    # --- the feed ---

    def feed(self, history: str, cursor: int, lower: int, upper: int, *, with_vectors: bool, limit: int) -> Page:
        """What happened beyond `cursor` to documents of this part of the ring."""
        with self._view() as db:
            position = _position(db)
            rows, upto = _feed_rows(db, cursor, limit, position, with_vectors=with_vectors)
            remembered, upto = _feed_requests(db, cursor, upto, limit)
        rows = [row for row in rows if row.row <= upto]
        whole = lower == 0 and upper >= 1 << 64
        wanted = rows if whole else [row for row in rows if lower <= hash_of(row.id) < upper]
        if not whole:
            remembered = [request for request in (_part(one, lower, upper) for one in remembered) if request.results]
        return Page(history, cursor, upto, position, wanted, remembered)

    def check(self) -> None:
        """Reads every page. Raises StoreCorrupt."""
        with self._view() as db:
            schema.check(db)

    def scrub(self, above: int, limit: int) -> int | None:
        """Verifies the next rows, their vectors, and that their ids lead to them; the last row done, None at the end.

        Raises StoreCorrupt.
        """
        with self._view() as db:
            found = db.execute(f"SELECT {COLUMNS}, v.vector {_ROWS_AND_VECTORS}", (above, limit))
            done, size = 0, 0
            for *columns, vector in found:
                row = verified(columns)
                verify_vector(row.row, row.vector_checksum, vector)
                if db.execute("SELECT r.row, r.checksum FROM rows r WHERE r.id = ?", (row.id,)).fetchone() != (
                    row.row,
                    row.checksum,
                ):
                    raise damaged(row.row, "the id of ")
                above, done = row.row, done + 1
                size += len(row.text or "") + len(row.metadata) + len(vector or b"")
                if size > SCRUB_BYTES:
                    return above
        return above if done == limit else None

    # --- underneath ---

    @contextmanager
    def _view(self) -> Iterator[sqlite3.Connection]:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = schema.connect(self._path, writer=False)
            self._local.connection = connection
            with self._lock:
                self._all.append(connection)
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.DatabaseError as error:
            raise schema.store_error(error) from error
        finally:
            if connection.in_transaction:
                with suppress(sqlite3.Error):  # a damaged file fails here a second time
                    connection.execute("ROLLBACK")

    def _documents(self, key: str, wanted: Sequence[Any]) -> list[Document | None]:
        marks = ",".join("?" * len(wanted))
        with self._view() as db:
            now = self._now_ms()
            found = db.execute(f"SELECT {COLUMNS} FROM rows r WHERE r.{key} IN ({marks})", tuple(wanted)).fetchall()
        place = StoredRow._fields.index(key)
        by_key = {columns[place]: _document(columns, now) for columns in found}
        return [by_key.get(one) for one in wanted]

    def _allowed(self, filter_: Filter | None) -> tuple[str, tuple[Any, ...]]:
        if filter_ is None:
            return "", ()
        with self._view() as db:
            query = compile_filter(filter_, self._declared(), self._now_ms(), 0, db)
        return f" AND r.row IN ({query.sql})", tuple(query.parameters)


def _position(db: sqlite3.Connection) -> int:
    return _counters(db).position


def _counters(db: sqlite3.Connection) -> Counters:
    (text,) = db.execute("SELECT value FROM state WHERE key = 'counters'").fetchone()
    return Counters.model_validate_json(text)


def _numbers(db: sqlite3.Connection, where: str, above: int) -> Rows:
    found = db.execute(f"SELECT group_concat(row) FROM rows {where}", (above,)).fetchone()[0]
    return np.sort(np.fromstring(found, dtype=np.int64, sep=",")) if found else np.empty(0, np.int64)


def _document(columns: Sequence[Any], now_ms: int) -> Document | None:
    """None where it is gone. Whether it is, is told by the verified row: SQL would believe any flag. Raises StoreCorrupt."""
    row = verified(columns)
    if row.is_gone(now_ms):
        return None
    return Document(row.row, row.id, f"{row.epoch}.{row.seq}", row.text, row.metadata, row.expires_at)


def _feed_rows(
    db: sqlite3.Connection, cursor: int, limit: int, position: int, *, with_vectors: bool
) -> tuple[list[FeedRow], int]:
    found = db.execute(
        f"SELECT {COLUMNS}, v.vector {_ROWS_AND_VECTORS}" if with_vectors else f"SELECT {COLUMNS}, NULL {_ROWS}",
        (cursor, limit),
    )
    rows: list[FeedRow] = []
    size = 0
    for *columns, vector in found:
        row = verified(columns)
        if with_vectors:
            verify_vector(row.row, row.vector_checksum, vector)
        rows.append(_fed(row, vector))
        size += len(row.text or "") + len(row.metadata) + len(vector or b"") + 100
        if size > FEED_BYTES:
            return rows, row.row
    return rows, rows[-1].row if len(rows) == limit else position


def _fed(row: StoredRow, vector: bytes | None) -> FeedRow:
    return FeedRow(
        row.row,
        row.id,
        row.version,
        bool(row.deleted),
        row.expires_at,
        row.text,
        row.metadata,
        row.content_hash,
        row.failure,
        vector,
    )


def _feed_requests(db: sqlite3.Connection, cursor: int, upto: int, limit: int) -> tuple[list[FeedRequest], int]:
    """Requests outnumber rows where documents are rewritten: a page ends where they are too many."""
    found = db.execute(
        "SELECT row, request_id, issued_at, results FROM requests WHERE row > ? AND row <= ? ORDER BY row", (cursor, upto)
    )
    requests: list[FeedRequest] = []
    size = 0
    for number, request_id, issued_at, results in found:
        requests.append(FeedRequest(number, request_id, issued_at, orjson.loads(results)))
        size += len(results) + 100
        if size > FEED_BYTES or len(requests) == limit:
            return requests, number
    return requests, upto


def _part(request: FeedRequest, lower: int, upper: int) -> FeedRequest:
    results = {id_: result for id_, result in request.results.items() if id_ == WHOLE_REQUEST or lower <= hash_of(id_) < upper}
    return FeedRequest(request.row, request.request_id, request.issued_at, results)
