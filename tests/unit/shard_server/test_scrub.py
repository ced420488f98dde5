"""Rot that nobody reads is found by the shard itself."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedding_serving.contract.admin import Unfence
from embedding_serving.shard import housekeeping
from embedding_serving.shard.store.records import Change, Identity, Op, Refused, WriteBatch
from embedding_serving.shard.store.store import Store

IDENTITY = Identity(generation=1, shard=0, shards=1, fingerprint="f", dimensions=4)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(housekeeping, "SCRUB_SECONDS", 0.001)
    monkeypatch.setattr(housekeeping, "SCRUB_ROWS", 7)
    monkeypatch.setattr(housekeeping, "CHECK_AGAIN_SECONDS", 0.01)
    opened = Store.open(tmp_path, IDENTITY)
    opened.start()
    yield opened
    opened.close()


async def write(store: Store, *changes: Change, request: str = "r") -> None:
    await store.write(WriteBatch(1, "f", request, store._writer._now_ms(), changes))


async def damage(store: Store, change: str, meet: Callable[[], object] = lambda: None) -> list[str]:
    """What housekeeping tells when the file has changed under it."""
    await store.command(Unfence(epoch=1, history=store.state.protocol.history))
    await write(store, *(Change(Op.PUT, f"d{n}", "text", vector=np.ones(4, np.float32)) for n in range(50)))
    told: list[str] = []
    found = asyncio.Event()

    def tell(detail: str) -> None:
        told.append(detail)
        found.set()

    keeping = asyncio.create_task(housekeeping.keep_house(store, tell))
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(found.wait(), 0.3)
        with closing(sqlite3.connect(store.path)) as db:
            assert db.execute(change).rowcount == 1
            db.commit()
        meet()
        await asyncio.wait_for(found.wait(), 20)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    return told


@pytest.mark.parametrize(
    "change", ["UPDATE rows SET text = 'texd' WHERE id = 'd33'", "UPDATE vectors SET vector = zeroblob(16) WHERE row = 20"]
)
async def test_a_changed_row_or_vector_that_nobody_reads_is_found(store: Store, change: str) -> None:
    assert "restore" in (await damage(store, change))[0]


async def test_damage_that_a_write_meets_is_told_though_its_caller_was_answered(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing: list[asyncio.Task[None]] = []
    monkeypatch.setattr(store.reader, "scrub", lambda above, limit: None)

    def meet() -> None:
        writing.append(asyncio.create_task(write(store, Change(Op.PATCH, "d3", metadata='{"a":1}'), request="s")))

    assert "restore" in (await damage(store, "UPDATE rows SET text = 'texd' WHERE id = 'd3'", meet))[0]
    with pytest.raises(Refused, match="restore"):
        await writing[0]
