"""Changes that share a transaction: what one of them left for the end of it, the next one finds."""

import asyncio
import sqlite3
import threading
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from embedding_serving.contract.admin import Answer, Fence
from embedding_serving.shard.store import transaction
from embedding_serving.shard.store.protocol import digest_text
from embedding_serving.shard.store.records import Change, Op, Refused
from embedding_serving.shard.store.transaction import Transaction

from .conftest import Shard, vector


@pytest.mark.parametrize("held_characters", [0, 30, transaction.HELD_CHARACTERS])
async def test_a_group_leaves_what_its_changes_would_have_left_one_by_one(
    shard: Shard, monkeypatch: pytest.MonkeyPatch, held_characters: int
) -> None:
    monkeypatch.setattr(transaction, "HELD_CHARACTERS", held_characters)
    await shard.put("old", "a bird that was there")
    await shard.put("gone", "a fish that was there")
    before = len(shard.committed)
    await _together(
        shard,
        Change(Op.PUT, "a", "first fox", vector=vector(5)),
        Change(Op.PATCH, "a", metadata='{"kind":"x"}'),
        Change(Op.PUT, "b", "first hare", vector=vector(6)),
        Change(Op.PUT, "b", "second owl", vector=vector(7)),
        Change(Op.PUT, "c", "short-lived mole", vector=vector(8)),
        Change(Op.DELETE, "c"),
        Change(Op.PUT, "old", "a crow instead", vector=vector(9)),
        Change(Op.PATCH, "old", metadata='{"kind":"y"}'),
        Change(Op.DELETE, "gone"),
    )
    assert len(shard.committed) == before + 2, "the changes did not share the transaction after the one that held them up"
    words = ("fox", "hare", "owl", "mole", "bird", "crow", "fish")
    assert {word: _found(shard, word) for word in words} == {
        "fox": ["a"], "hare": [], "owl": ["b"], "mole": [], "bird": [], "crow": ["old"], "fish": []
    }  # fmt: skip
    assert _vectors(shard) == {"a": vector(5).tolist(), "b": vector(7).tolist(), "old": vector(9).tolist()}
    _check_texts(shard)


async def test_a_fence_stands_behind_the_writes_of_its_own_transaction(shard: Shard) -> None:
    """Else the last of them are acknowledged and never drained."""
    known = shard.store.state.protocol
    fence = Fence(epoch=known.epoch + 1, history=known.history, deadline_seconds=60)
    before = len(shard.committed)
    _, answer, refused = await _at_once(
        shard,
        shard.write(Change(Op.PUT, "a", "first fox", vector=vector(5))),
        shard.store.command(fence),
        shard.write(Change(Op.PUT, "b", "first hare", vector=vector(6))),
    )
    assert len(shard.committed) == before + 2, "they did not share the transaction after the one that held them up"
    assert isinstance(refused, Refused)
    assert isinstance(answer, Answer)
    assert answer.position == shard.store.state.position
    assert answer.digest == digest_text(shard.store.state)


async def _together(shard: Shard, *changes: Change) -> None:
    await _at_once(shard, *(shard.write(change) for change in changes))


async def _at_once(shard: Shard, *work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Holds up the writer with a transaction of its own until all of them wait; answers with what came of each."""
    held, gate = threading.Event(), threading.Event()

    def hold(_: Transaction) -> None:
        held.set()
        gate.wait(10)

    holding = asyncio.create_task(shard.store._submitted(hold))
    assert await asyncio.to_thread(held.wait, 10)
    tasks = [asyncio.create_task(one) for one in work]
    await asyncio.sleep(0)
    gate.set()
    await holding
    return await asyncio.gather(*tasks, return_exceptions=True)


def _found(shard: Shard, word: str) -> list[str]:
    rows, _ = shard.store.reader.keywords(word, 10, None)
    return [document.id for document in shard.store.reader.fetch(rows.tolist()) if document]


def _vectors(shard: Shard) -> dict[str, list[float]]:
    documents = [document for document in shard.store.reader.get(["a", "b", "c", "old", "gone"]) if document]
    found = shard.store.reader.vectors_of([document.row for document in documents])
    return {document.id: np.frombuffer(found[document.row], "<f4").tolist() for document in documents}


def _check_texts(shard: Shard) -> None:
    with sqlite3.connect(shard.store.path) as connection:
        (vectors,) = connection.execute("SELECT count(*) FROM vectors").fetchone()
        connection.execute("INSERT INTO texts (texts) VALUES ('integrity-check')")
    assert vectors == shard.store.state.counters.documents
