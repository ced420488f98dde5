"""What a store says of itself, counted again from its tables."""

import sqlite3
from contextlib import closing

import orjson

from embedding_serving.filters import field_entries
from embedding_serving.shard.store.rows import COLUMNS, verified, verify_vector
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
        rows = [verified(columns) for columns in db.execute(f"SELECT {COLUMNS} FROM rows r")]  # noqa: S608 - our own names
        vectors = dict(db.execute("SELECT row, vector FROM vectors"))
        documents = tombstones = failed = digest = 0
        entries: set[tuple[int, object, int]] = set()
        live: set[int] = set()
        declared = dict(store._fields.all)
        for row in rows:
            verify_vector(row.row, row.vector_checksum, vectors.get(row.row))
            if row.deleted:
                tombstones += 1
                continue
            documents += 1
            failed += row.failure is not None
            live.add(row.row)
            hash_ = content_hash(row.text, row.metadata, row.expires_at)
            assert row.content_hash == hash_, f"{row.id}: its hash is not of its content"
            digest += _digest(row.id, row.version, row.content_hash)
            entries |= {(field, value, row.row) for field, value in field_entries(orjson.loads(row.metadata), declared)}
        said = (counters.documents, counters.tombstones, counters.failed, counters.digest)
        assert said == (documents, tombstones, failed, digest % DIGEST_MODULUS), "the counters are not those of the rows"
        assert vectors.keys() <= live, f"vectors without a live row: {vectors.keys() - live}"
        stored = set(db.execute("SELECT field, value, row FROM field_values"))
        assert stored == entries, "the entries of declared fields are not those of the metadata"
        assert _words(db, "main", "texts") == _words_again(db), "the words entered are not those of the texts"


def _check_numbers(db: sqlite3.Connection, next_row: int) -> None:
    (last_row,) = db.execute("SELECT coalesce(max(row), 0) FROM rows").fetchone()
    (last_request,) = db.execute("SELECT coalesce(max(row), 0) FROM requests").fetchone()
    both = db.execute("SELECT count(*) FROM rows JOIN requests USING (row)").fetchone()[0]
    assert max(last_row, last_request) < next_row, "a row is numbered beyond the next number"
    assert both == 0, "a number was given twice"


def _words_again(db: sqlite3.Connection) -> set[tuple[object, ...]]:
    """As a table of texts made from the rows alone would have them."""
    db.execute("CREATE VIRTUAL TABLE temp.again USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2')")
    db.execute("INSERT INTO temp.again (rowid, text) SELECT row, text FROM rows WHERE deleted = 0 AND text <> ''")
    return _words(db, "temp", "again")


def _words(db: sqlite3.Connection, schema: str, table: str) -> set[tuple[object, ...]]:
    """(word, row, place) of all that is entered."""
    db.execute(f"CREATE VIRTUAL TABLE temp.words_of_{table} USING fts5vocab ({schema}, {table}, instance)")
    return set(db.execute(f"SELECT term, doc, offset FROM temp.words_of_{table}"))  # noqa: S608 - our own names
