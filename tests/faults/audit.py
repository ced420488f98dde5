"""What a store says of itself, counted again from its tables."""

import sqlite3
from contextlib import closing
from pathlib import Path

import orjson

from embedding_serving.filters import field_entries
from embedding_serving.shard.store.records import Version
from embedding_serving.shard.store.state import DIGEST_MODULUS
from embedding_serving.shard.store.store import Store
from embedding_serving.shard.store.transaction import _digest, content_hash


def audit(store: Store) -> None:
    """Counters, digest, vectors, entries of fields and positions agree with the rows. Nothing may be written meanwhile."""
    path = store.path
    counters = store.state.counters
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        _check_numbers(db, counters.next_row)
        rows = db.execute("SELECT row, id, epoch, seq, deleted, text, metadata, expires_at, content_hash, failure FROM rows")
        documents = tombstones = failed = digest = 0
        entries: set[tuple[int, object, int]] = set()
        live: set[int] = set()
        declared = dict(store._fields.all)
        for row, id_, epoch, seq, deleted, text, metadata, expires_at, hash_, failure in rows.fetchall():
            if deleted:
                tombstones += 1
                continue
            documents += 1
            failed += failure is not None
            live.add(row)
            assert hash_ == content_hash(text, metadata, expires_at), f"{id_}: its hash is not of its content"
            digest += _digest(id_, Version(epoch, seq), hash_)
            entries |= {(field, value, row) for field, value in field_entries(orjson.loads(metadata), declared)}
        said = (counters.documents, counters.tombstones, counters.failed, counters.digest)
        assert said == (documents, tombstones, failed, digest % DIGEST_MODULUS), "the counters are not those of the rows"
        vectors = {row for (row,) in db.execute("SELECT row FROM vectors")}
        assert vectors <= live, f"vectors without a live row: {vectors - live}"
        stored = set(db.execute("SELECT field, value, row FROM field_values"))
        assert stored == entries, "the entries of declared fields are not those of the metadata"


def _check_numbers(db: sqlite3.Connection, next_row: int) -> None:
    (last_row,) = db.execute("SELECT coalesce(max(row), 0) FROM rows").fetchone()
    (last_request,) = db.execute("SELECT coalesce(max(row), 0) FROM requests").fetchone()
    both = db.execute("SELECT count(*) FROM rows JOIN requests USING (row)").fetchone()[0]
    assert max(last_row, last_request) < next_row, "a row is numbered beyond the next number"
    assert both == 0, "a number was given twice"


def texts(path: Path) -> dict[str, str | None]:
    """Live documents of a file, straight from the table."""
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT id, text FROM rows WHERE deleted = 0"))
