"""Single bits of what the file holds flip: what is read afterwards is right or refused, and the scrub finds all of it."""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_serving.contract.admin import Refusal
from embedding_serving.shard.store.reader import Reader
from embedding_serving.shard.store.records import Change, Document, Op, Refused, StoreCorrupt, StoreError
from embedding_serving.shard.store.rows import sealed
from embedding_serving.shard.store.schema import FILE
from embedding_serving.shard.store.store import Store

from .conftest import IDENTITY, Clock, Shard, vector

FLIPS = 3_000 if os.environ.get("FAULTS") == "long" else 100
DOCUMENTS = 150
ROW_PAGES = ("rows", "vectors")
INDEX_PAGES = ("sqlite_autoindex_rows_1",)
WORDS = ("one", "deux", "три", "四", "five\n")


@pytest.fixture
def draw() -> random.Random:
    seed = int(os.environ.get("FAULTS_SEED", random.randrange(1 << 32)))
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
async def sound(shard: Shard, draw: random.Random) -> Path:
    """A file with long and short texts, deletions, gaps, expiry, documents without a vector; everything in the pages."""
    for n in range(DOCUMENTS):
        text = None if n % 13 == 0 else " ".join(draw.choices(WORDS, k=draw.choice((3, 30, 3_000))))
        made = None if n % 7 == 0 else vector(n + 1)
        await shard.write(
            Change(
                Op.PUT,
                f"d{n}",
                text,
                metadata=f'{{"kind":"k{n % 5}"}}',
                vector=made,
                expires_at=shard.clock() + 50_000 if n % 11 == 0 else None,
                failure="too long" if made is None else None,
            )
        )
    for n in range(0, DOCUMENTS, 9):
        await shard.delete(f"d{n}")
    shard.store.close()
    with closing(sqlite3.connect(shard.store.path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return shard.store.path


class Rotten:
    """A copy of the file in which one bit at a time is turned, read without the check of its pages at the start."""

    def __init__(self, sound: Path, directory: Path, clock: Clock, draw: random.Random) -> None:
        self.path = directory / FILE
        shutil.copy(sound, self.path)
        self._clock = clock
        self._draw = draw
        with closing(sqlite3.connect(sound)) as db:
            self._pages = db.execute("SELECT name, pageno, pgsize FROM dbstat ORDER BY pageno").fetchall()
        self.truth = self.read_all()

    def open(self) -> Reader:
        return Reader(self.path, IDENTITY.dimensions, dict, self._clock)

    def flip(self, tables: tuple[str, ...]) -> Callable[[], None]:
        """Turns a bit of a page of these tables; what is returned turns it back."""
        number, size = self._draw.choice([(number, size) for name, number, size in self._pages if name in tables])
        place, bit = (number - 1) * size + self._draw.randrange(size), 1 << self._draw.randrange(8)

        def turn() -> None:
            with self.path.open("r+b", buffering=0) as file:
                byte = os.pread(file.fileno(), 1, place)[0]
                os.pwrite(file.fileno(), bytes([byte ^ bit]), place)

        turn()
        return turn

    def read_all(self) -> dict[str, Any]:
        """Every way to read, and what it answers: an error where it is refused."""
        ids = [f"d{n}" for n in range(DOCUMENTS)]
        ways: dict[str, Callable[[Reader], Any]] = {
            "get": lambda reader: [reader.get([id_])[0] for id_ in ids],
            "fetch": lambda reader: reader.fetch(range(DOCUMENTS + 100)),
            "scroll": lambda reader: reader.scroll(None, 500, None),
            "vectors_of": lambda reader: reader.vectors_of(range(DOCUMENTS + 100)),
            "vectors": lambda reader: [part.tolist() for part in reader.vectors(0, 500)],
            "feed": lambda reader: reader.feed("h", 0, 0, 1 << 64, with_vectors=True, limit=500),
            "feed without vectors": lambda reader: reader.feed("h", 0, 0, 1 << 64, with_vectors=False, limit=500),
        }
        return {name: self.answer(way) for name, way in ways.items()}

    def answer(self, way: Callable[[Reader], Any]) -> Any:
        with closing(self.open()) as reader:
            try:
                return way(reader)
            except StoreError as error:
                return error

    def scrub(self) -> Exception | None:
        def scrub(reader: Reader) -> None:
            reader.check()
            above: int | None = 0
            while above is not None:
                above = reader.scrub(above, 50)

        found = self.answer(scrub)
        return found if isinstance(found, Exception) else None


@pytest.fixture
def rotten(sound: Path, tmp_path: Path, clock: Clock, draw: random.Random) -> Rotten:
    directory = tmp_path / "rotten"
    directory.mkdir()
    return Rotten(sound, directory, clock, draw)


def test_a_flipped_bit_of_rows_and_vectors_is_refused_or_harmless_and_never_unnoticed(rotten: Rotten) -> None:
    refused = 0
    for _ in range(FLIPS):
        back = rotten.flip(ROW_PAGES)
        found, scrubbed = rotten.read_all(), rotten.scrub()
        for way, truth in rotten.truth.items():
            answer = found[way]
            if isinstance(answer, StoreError):
                refused += 1
                continue
            assert not_wrong(answer, truth), way
            # A page that hides a row hides it from who asks for its number: the scrub finds that.
            assert answer == truth or isinstance(scrubbed, StoreCorrupt), way
        if any(isinstance(answer, StoreCorrupt) for answer in found.values()):
            assert isinstance(scrubbed, StoreCorrupt)
        back()
    assert refused > FLIPS
    assert rotten.read_all() == rotten.truth


def not_wrong(answer: Any, truth: Any) -> bool:
    """Each document, vector and row that is answered is as it was written; one may be missing."""
    if isinstance(truth, dict):
        return bool(answer.items() <= truth.items())
    if isinstance(truth, list) and truth and isinstance(truth[0], Document | None):
        there = {one.id: one for one in truth if one is not None}
        return all(one == there.get(one.id) for one in answer if one is not None)
    return bool(answer == truth)


def test_an_id_that_does_not_lead_to_its_row_any_more_is_found_by_the_scrub(rotten: Rotten) -> None:
    wrong = 0
    for _ in range(FLIPS):
        back = rotten.flip(INDEX_PAGES)
        found, scrubbed = rotten.read_all(), rotten.scrub()
        for way, truth in rotten.truth.items():
            assert isinstance(found[way], StoreError) or not_wrong(found[way], truth), way
        if found != rotten.truth:
            wrong += 1
            assert isinstance(scrubbed, StoreCorrupt)
        back()
    assert wrong


async def rot(shard: Shard, change: str, *parameters: object) -> None:
    """Changes the file behind the store's back."""
    with closing(sqlite3.connect(shard.store.path)) as db:
        assert db.execute(change, parameters).rowcount == 1
        db.commit()


async def test_a_changed_row_is_neither_patched_nor_replaced_nor_deleted(shard: Shard) -> None:
    await shard.put("a", "one")
    await rot(shard, "UPDATE rows SET metadata = '{\"a\":1}' WHERE id = 'a'")
    for change in (Change(Op.PATCH, "a", metadata='{"b":2}'), Change(Op.PUT, "a", "two"), Change(Op.DELETE, "a")):
        with pytest.raises(Refused) as refused:
            await shard.write(change)
        assert refused.value.code is Refusal.CORRUPT
    await shard.put("b")
    assert shard.store.fault is not None
    assert shard.store.fault[0] is Refusal.CORRUPT


async def test_a_changed_vector_is_not_taken_over_by_a_patch(shard: Shard) -> None:
    await shard.put("a", "one")
    await rot(shard, "UPDATE vectors SET vector = zeroblob(16)")
    with pytest.raises(Refused) as refused:
        await shard.write(Change(Op.PATCH, "a", metadata='{"b":2}'))
    assert refused.value.code is Refusal.CORRUPT


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE vectors SET vector = zeroblob(16)",
        "DELETE FROM vectors",
        "UPDATE rows SET vector_checksum = NULL WHERE id = 'a'",
        "UPDATE rows SET deleted = 1 WHERE id = 'a'",
        "UPDATE rows SET expires_at = 1 WHERE id = 'a'",
        "UPDATE rows SET text = x'6f6e65' WHERE id = 'a'",
        "UPDATE rows SET text = CAST(x'ff' AS TEXT) WHERE id = 'a'",
        "UPDATE rows SET row = 77 WHERE id = 'a'",
        "UPDATE rows SET id = 'b' WHERE id = 'a'",
    ],
)
async def test_a_damaged_row_is_not_fed_to_a_copy_and_is_found_by_the_scrub(shard: Shard, change: str) -> None:
    await shard.put("a", "one")
    await rot(shard, change)
    history = shard.store.state.protocol.history
    with pytest.raises(StoreCorrupt, match="restore"):
        shard.store.reader.feed(history, 0, 0, 1 << 64, with_vectors=True, limit=10)
    with pytest.raises(StoreCorrupt, match="restore"):
        shard.store.reader.scrub(0, 10)
    if "vector" not in change:
        with pytest.raises(StoreCorrupt, match="restore"):
            shard.store.reader.get(["a", "b"])


async def test_copies_and_other_vectors_do_not_change_the_digest(shard: Shard, make: Callable[..., Shard]) -> None:
    other: Shard = make("b")
    await other.admit()
    for one, seed in ((shard, 1), (other, 2)):
        await one.write(Change(Op.PUT, "a", "text", vector=vector(seed)))
    assert shard.store.state.counters.digest == other.store.state.counters.digest


async def test_the_scrub_passes_over_sound_rows_some_at_a_time(shard: Shard) -> None:
    for n in range(7):
        await shard.put(f"d{n}")
    await shard.delete("d3")
    above, steps = 0, 0
    while (reached := shard.store.reader.scrub(above, 3)) is not None:
        assert reached > above
        above, steps = reached, steps + 1
    assert steps == 2


async def test_rows_that_have_a_vector_are_known_without_reading_vectors(shard: Shard) -> None:
    await shard.put("a")
    await shard.write(Change(Op.PUT, "without", "text", failure="too long"))
    await shard.put("b")
    await shard.put("c")
    await shard.delete("b")
    reader = shard.store.reader
    rows, vectors = reader.vectors(0, 10)
    assert rows.tolist() == reader.live_rows(0).tolist()
    assert vectors.dtype == np.float32
    assert [document.id for document in reader.fetch(rows.tolist()) if document] == ["a", "c"]
    assert reader.live_rows(int(rows[0])).tolist() == rows[1:].tolist()
    with closing(sqlite3.connect(shard.store.path)) as db:
        db.execute("DROP TABLE vectors")
    assert reader.live_rows(0).tolist() == rows.tolist()


def test_the_checksum_of_a_row_stays_what_it_was() -> None:
    """It is in files: a library that wrote JSON otherwise would make all of them look damaged."""
    members = (
        7,
        'ä"\\/\x00\x01\t\x7f\u2028\U0001f600',
        1,
        7,
        0,
        None,
        4_294_967_295,
        "\b\f\n\r",
        "{}",
        "日本 <&>\x1f",
        b"\x00hash",
    )
    assert sealed(*members)[-1] == 719_117_613


async def test_a_file_of_an_older_format_is_refused_by_name(shard: Shard) -> None:
    shard.store.close()
    with closing(sqlite3.connect(shard.store.path)) as db:
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreError, match="format 2 and this version reads 4"):
        Store.open(shard.directory, IDENTITY)
