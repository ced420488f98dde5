"""The one SQLite file: its tables, how it is opened, what counts as damage.

A row number is the position in the feed. A change of a document writes a row with the next number and takes the earlier
row away, so a row never changes, numbers rise with commits, and none is used twice.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from ...filters import keywords
from .records import StoreCorrupt, StoreError

FORMAT = 4
FILE = "store.sqlite"
CHECKED_AT_OPEN_BYTES = 256 << 20
"""A larger file is checked beside the serving, not before it."""

DDL = """
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (
  row INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  expires_at INTEGER,
  vector_checksum INTEGER,
  failure TEXT,
  metadata TEXT NOT NULL,
  text TEXT,
  content_hash BLOB NOT NULL,
  checksum INTEGER NOT NULL
);
CREATE INDEX rows_deleted ON rows (deleted);
CREATE INDEX rows_expiring ON rows (expires_at) WHERE expires_at IS NOT NULL AND deleted = 0;
CREATE INDEX rows_without_vector ON rows (row) WHERE vector_checksum IS NULL AND deleted = 0;
CREATE TABLE vectors (row INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE fields (field INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL, pending INTEGER NOT NULL);
CREATE TABLE field_values (
  field INTEGER NOT NULL, value NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (field, value, row)
) WITHOUT ROWID;
CREATE TABLE requests (row INTEGER PRIMARY KEY, request_id TEXT NOT NULL, issued_at INTEGER NOT NULL, results TEXT NOT NULL);
CREATE INDEX requests_by_id ON requests (request_id);
CREATE TABLE leases (consumer TEXT PRIMARY KEY, nonce TEXT NOT NULL, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE sources (
  shard INTEGER PRIMARY KEY, history TEXT NOT NULL, host TEXT NOT NULL, lower TEXT NOT NULL, upper TEXT NOT NULL,
  with_vectors INTEGER NOT NULL, nonce TEXT NOT NULL, cursor INTEGER NOT NULL, resync_from INTEGER,
  complete INTEGER NOT NULL, encoder TEXT, consumer TEXT, given TEXT, donors TEXT NOT NULL
);
"""

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
RESTORE = (
    "delete the pod's PersistentVolumeClaim and the pod: with another copy left, it is filled from there; "
    "else restore the volume from a backup first"
)

READ_ONLY = "the volume cannot be written: look at the node and the volume, then delete the pod"


def connect(path: Path, *, writer: bool) -> sqlite3.Connection:
    """A connection for one thread at a time. Raises StoreCorrupt, StoreError."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=256)
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        if writer:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 2048")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.execute("PRAGMA cache_size = -32768")
        else:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA cache_size = -8192")
    except sqlite3.DatabaseError as error:
        raise store_error(error) from error
    return connection


def create_or_check(connection: sqlite3.Connection, size_bytes: int, initialise: Callable[[sqlite3.Connection], None]) -> None:
    """On an empty file makes the tables and their first rows, all or nothing; else checks format and pages.

    Raises StoreCorrupt, StoreError.
    """
    try:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found == 0 and not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            connection.executescript(f"BEGIN IMMEDIATE; {DDL} {keywords.DDL} PRAGMA user_version = {FORMAT};")
            initialise(connection)
            connection.execute("COMMIT")
            return
        if found != FORMAT:
            raise StoreError(f"the store has format {found} and this version reads {FORMAT}: run the version that wrote it")
        if size_bytes <= CHECKED_AT_OPEN_BYTES:
            check(connection)
    except sqlite3.DatabaseError as error:
        raise store_error(error) from error


def check(connection: sqlite3.Connection) -> None:
    """Reads every page. Raises StoreCorrupt."""
    try:
        (first, *_) = [text for (text,) in connection.execute("PRAGMA quick_check(1)")]
    except sqlite3.DatabaseError as error:
        raise store_error(error) from error
    if first != "ok":
        raise StoreCorrupt(f"the database is damaged ({first}): {RESTORE}")


def store_error(error: sqlite3.Error) -> StoreError:
    """The typed error of what SQLite says."""
    if is_damage(error):
        return StoreCorrupt(f"the database is damaged ({error}): {RESTORE}")
    if is_read_only(error):
        return StoreError(f"{READ_ONLY} ({error})")
    return StoreError(f"the database cannot be used: {error}")


def is_full(error: sqlite3.Error) -> bool:
    return _primary(error) == sqlite3.SQLITE_FULL


def is_read_only(error: sqlite3.Error) -> bool:
    return _primary(error) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)


def is_damage(error: sqlite3.Error) -> bool:
    """A text that is no UTF-8 is found by Python's module, which has no code for it."""
    return _primary(error) in _DAMAGE or str(error).startswith("Could not decode to UTF-8")


def _primary(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
